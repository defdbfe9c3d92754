"""The verbs: configure, run, write, sweep, serve, doctor."""
