"""Decides where a connection or a request goes. Pure."""
