"""Places where arms stand while they are measured."""
