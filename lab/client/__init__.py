"""A lab from outside: started, found, entered, asked and ended."""
