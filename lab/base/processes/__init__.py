"""Child processes: make them die with their parent, and stop them."""
