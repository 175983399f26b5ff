"""A real S3 server on loopback (moto's), for tests of what is stored in an object store."""

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec

import pytest


@contextlib.contextmanager
def run_server() -> Iterator[str]:
    """Run a server in a process of its own; yields its address, http://…"""
    if find_spec("moto") is None and not os.environ.get("CI"):
        pytest.skip("moto is not installed; pip install -e '.[dev]'")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


@contextlib.contextmanager
def make_bucket(server: str) -> Iterator[str]:
    """Point AWS' environment variables at a server and make a bucket there; yields its address,
    s3://…
    """
    import boto3

    # A name of its own: pyarrow keeps file systems by bucket for as long as the process lives.
    bucket = f"results-{secrets.token_hex(4)}"
    environment = {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "an-access-key",
        "AWS_SECRET_ACCESS_KEY": "a-secret-key",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket=bucket)
        yield f"s3://{bucket}"


def _wait_for(port: int, server: subprocess.Popen[bytes], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    "moto's server did not start; try `python -m moto.server`"
                ) from None
            time.sleep(0.05)
        else:
            return
