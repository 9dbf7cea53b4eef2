"""The verbs of the command line, as thin calls into the packages: a module each for labs, rules and measuring."""
