"""The rules as text: for iptables-restore, for nft, and for people; and read back from it. Pure."""
