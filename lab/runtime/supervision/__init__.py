"""The supervisor of a lab: what it starts from, what it keeps running, and which requests it answers."""
