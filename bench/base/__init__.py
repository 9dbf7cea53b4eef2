"""What all stages of a benchmark share: columns of samples, caveats, bounded reading of files, interruption."""
