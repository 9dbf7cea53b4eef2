"""The instrument tested with known truth."""
