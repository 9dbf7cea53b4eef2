"""What the samples say: estimates, verdicts, gates and the answer; pure, from files and tables alone."""
