"""Loads rules into the kernel: by one netlink transaction, or by the iptables tools."""
