"""What the samples show: estimates, verdicts, gates and the answer; pure, from files and tables alone."""
