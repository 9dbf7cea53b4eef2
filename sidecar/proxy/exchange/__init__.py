"""One request after the other, from its head to its account."""
