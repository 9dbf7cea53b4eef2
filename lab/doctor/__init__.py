"""Whether this machine can run labs, and the cure where it cannot."""
