"""What people and other programs see of a run: tables, figures, the page, and exports."""
