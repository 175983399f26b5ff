"""CUDA's server that lets processes compute on a GPU at the same time (MPS), for the tests.

Without it their kernels take turns. It is NVIDIA's own program and comes with the driver.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

CONTROL = "nvidia-cuda-mps-control"


def is_there() -> bool:
    """Whether this machine has the server."""
    return shutil.which(CONTROL) is not None


@contextlib.contextmanager
def shared_gpu(folder: Path) -> Iterator[dict[str, str]]:
    """A server of our own, until the block ends.

    Args:
        folder: for its pipes and logs; its path must be short, as that of a socket.

    Yields:
        The variables by which processes find it.
    """
    places = {"CUDA_MPS_PIPE_DIRECTORY": "pipe", "CUDA_MPS_LOG_DIRECTORY": "log"}
    environment = {variable: str(folder / name) for variable, name in places.items()}
    for place in environment.values():
        Path(place).mkdir(parents=True)
    env = os.environ | environment
    subprocess.run([CONTROL, "-d"], env=env, check=True, capture_output=True, timeout=60)
    try:
        yield environment
    finally:
        subprocess.run([CONTROL], env=env, input=b"quit\n", capture_output=True, timeout=60)
