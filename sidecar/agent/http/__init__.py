"""The agent's HTTP: its server, and its client for ports of its own pod."""
