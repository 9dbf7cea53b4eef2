"""Envoy's configuration, made from an intent as istiod makes it. Pure, but for the writing of its files."""
