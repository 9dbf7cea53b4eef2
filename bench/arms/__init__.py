"""Arms as they can be measured: their pods, the programs that stand for images in them, and what those spend."""
