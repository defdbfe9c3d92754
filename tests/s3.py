"""A real S3 server on this machine: moto's, from PATH or $MOTO_SERVER.

It has an environment of its own, since it is larger than all other tools of the tests:
`python -m venv .venv-s3 && .venv-s3/bin/pip install --require-hashes -r locks/s3.txt`, then
`MOTO_SERVER=.venv-s3/bin/moto_server make test-slow`."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow.fs as pafs
import pytest


@contextmanager
def serving(*buckets: str) -> Iterator[pafs.S3FileSystem]:
    """The server, with these buckets, as AWS_ENDPOINT_URL; skips where there is none."""
    program = os.environ.get("MOTO_SERVER") or shutil.which("moto_server")
    if not program:
        pytest.skip("no moto_server on PATH or in MOTO_SERVER: see tests/s3.py")
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
