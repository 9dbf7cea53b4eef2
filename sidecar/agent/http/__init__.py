"""The agent's HTTP: its server, and what it fetches from its own pod."""
