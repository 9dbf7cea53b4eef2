"""The cluster as its pods see it: Services with their endpoints, names, and what a pod can read about itself."""
