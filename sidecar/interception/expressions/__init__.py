"""Rules of the model as the kernel's expressions, and back. Pure."""
