"""Studies: programs that measure one decision each and print what they found."""
