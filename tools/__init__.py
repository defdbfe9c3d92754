"""What belongs to the repository: bundles, executed notebooks, measured times, its own map."""
