"""What a lab is going to run, decided before anything starts: programs, addresses, and what pods see."""
