"""The cluster's name server: its zone, its answers, and the process that serves them."""
