"""A sidecar's configuration: makes an intent from annotations and settings; and the contract of agent and proxy."""
