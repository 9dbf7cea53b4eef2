"""Rules into the kernel: one netlink transaction, or the iptables tools."""
