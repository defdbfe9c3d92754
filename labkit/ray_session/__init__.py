"""Ray: up, quiet, large enough, put back; the one door to its private parts."""
