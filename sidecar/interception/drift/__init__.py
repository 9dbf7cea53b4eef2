"""How the rules of the kernel differ from those that should be there, and how that is mended. Pure."""
