"""What a fork server imports before it forks an engine's process: see `fork_server`."""

from labkit.engines import fork_server

fork_server.import_for_good(fork_server.CORE)
