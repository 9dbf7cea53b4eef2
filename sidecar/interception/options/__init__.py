"""The options of istio-iptables, and how its flags and variables are read. Pure."""
