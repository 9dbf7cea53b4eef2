"""HTTP/1.1: heads, bodies and paths as bytes and values. Pure."""
