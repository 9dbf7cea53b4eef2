"""The files of a run: how they are written and read back, with the machine that it was measured on."""
