"""The output of a run for people and other programs: tables, figures, the page, and exports."""
