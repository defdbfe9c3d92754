"""Run a command with no network but loopback: `unshare -rn python tests/offline.py COMMAND…`."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import sys

SIOCSIFFLAGS, IFF_UP, IFF_RUNNING = 0x8914, 0x1, 0x40

if __name__ == "__main__":
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        flags = struct.pack("16sh", b"lo", IFF_UP | IFF_RUNNING)
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, flags)
    try:
        socket.create_connection(("192.0.2.1", 80), timeout=2).close()
    except OSError as refused:
        print(f"no network: {refused}", flush=True)
    else:
        sys.exit("There is a network here.")
    os.execvp(sys.argv[1], sys.argv[1:])
