"""What a cluster is to its pods: Services with their endpoints, names, and what a pod can read about itself."""
