"""The node's addresses, from which the kubelet's part asks pods; apart, because every agent and proxy imports them."""

NODE_IPV4 = "10.244.0.1"
NODE_IPV6 = "fd00:10:244::1"

# Every pod's next hop: nobody answers for it, it is a permanent neighbour. The scheme, and the MAC, are Calico's.
GATEWAY_IPV4 = "169.254.1.1"
GATEWAY_IPV6 = "fe80::1"
GATEWAY_MAC = "ee:ee:ee:ee:ee:ee"

ADDRESSES = (NODE_IPV4, NODE_IPV6, GATEWAY_IPV4, GATEWAY_IPV6)
"""What a connection from the node may come from."""
