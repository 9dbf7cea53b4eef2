"""The rules as one value, from which all other forms are derived. Pure."""
