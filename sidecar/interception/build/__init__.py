"""Options become rules, in the order of istio-iptables. Pure."""
