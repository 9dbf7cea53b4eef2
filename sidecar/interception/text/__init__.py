"""Writes rules as text, for iptables-restore, for nft and for people, and reads them back. Pure."""
