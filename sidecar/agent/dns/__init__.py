"""The pod's resolver, where DNS is captured."""
