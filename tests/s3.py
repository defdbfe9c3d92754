"""A real S3 server on this machine: moto's, of `.venv-s3`.

It has an environment of its own, since it is larger than all other tools of the tests:
`make test-slow` makes it (`python scripts/setup.py s3`)."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow.fs as pafs
import pytest

from labkit.paths import REPO


@contextmanager
def serving(*buckets: str) -> Iterator[pafs.S3FileSystem]:
    """The server, with these buckets, as AWS_ENDPOINT_URL; skips where there is none."""
    program = REPO / ".venv-s3" / "bin" / "moto_server"
    if not program.is_file():
        pytest.skip(f"no {program}: run python scripts/setup.py s3")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running = subprocess.Popen([program, "-p", str(port)], **quiet)  # type: ignore[call-overload]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "nobody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        try:
            deadline = time.monotonic() + 30
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    assert time.monotonic() < deadline and running.poll() is None
                    time.sleep(0.1)
            there = pafs.S3FileSystem(
                endpoint_override=f"127.0.0.1:{port}", scheme="http", allow_bucket_creation=True
            )
            for bucket in buckets:
                there.create_dir(bucket)
            yield there
        finally:
            running.kill()
            running.wait()
