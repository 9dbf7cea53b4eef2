"""The pages of the proxy's own ports."""
