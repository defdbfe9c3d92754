"""What comes back, and where it is kept."""
