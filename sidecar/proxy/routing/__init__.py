"""Where a connection or a request goes. Pure."""
