"""The verbs of the command line, each with what its help says and what it prints; thin calls."""
