"""Clusters, their hosts, and the connections to them."""
