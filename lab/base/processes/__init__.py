"""Child processes: that they die with their parent, and how they are stopped."""
