"""What a sidecar is told: annotations and settings in, an intent out; and the contract between agent and proxy."""
