"""What will be measured: plans, their arms, and the order of requests; values, valid once they exist."""
