"""The resolver of a pod that captures DNS."""
