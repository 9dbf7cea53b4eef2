"""How the kernel's rules differ from those that should be there, and how to repair that. Pure."""
