"""Envoy's configuration, made from an intent like istiod's. Pure, except for writing its files."""
