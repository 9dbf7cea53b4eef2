"""Turns options into rules, in the order of istio-iptables. Pure."""
