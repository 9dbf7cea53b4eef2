"""Places where arms run while they are measured."""
