"""Sockets on the event loop: listeners, streams, deadlines, and how much each source may buffer."""
