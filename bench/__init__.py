"""What interception costs: plans, arms, rounds, samples, statistics, verdicts, figures and reports."""
