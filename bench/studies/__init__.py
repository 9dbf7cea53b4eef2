"""Studies: programs that each measure the ground for one decision and print the result."""
