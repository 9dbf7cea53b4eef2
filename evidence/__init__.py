"""What really happened to a request: which rules counted it, how conntrack saw it, and which program answered."""
