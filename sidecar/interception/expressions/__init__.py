"""Converts rules of the model to the kernel's expressions, and back. Pure."""
