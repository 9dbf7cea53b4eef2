"""Arms ready to be measured: their pods, the programs that stand for images in them, and what those consume."""
