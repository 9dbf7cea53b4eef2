"""What keeps a lab apart from the machine and its pods from each other: namespaces, mounts, system calls."""
