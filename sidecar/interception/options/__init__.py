"""What istio-iptables can be told, and how its flags and variables are read. Pure."""
