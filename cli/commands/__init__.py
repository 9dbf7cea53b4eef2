"""The verbs of the command line, each with its help and its output; thin calls."""
