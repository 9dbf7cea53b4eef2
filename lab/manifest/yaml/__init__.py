"""Manifests as YAML: text to values and back, strictly."""
