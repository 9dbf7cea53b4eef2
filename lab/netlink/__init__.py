"""All that is said to the kernel over netlink: links and routes, connection tracking, sockets, nftables."""
