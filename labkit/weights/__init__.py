"""Which model, from where, how large."""
