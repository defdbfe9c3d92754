"""Set-up and locks, with nothing but Python itself."""
