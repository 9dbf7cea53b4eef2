"""Text that comes from elsewhere: read as editors write it, and escaped before it is shown."""
