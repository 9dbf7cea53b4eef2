"""What a run leaves on disk and how it is read back, with the machine that it was measured on."""
