"""The server by which tests share a GPU is started for itself alone, and ended."""

import os

from tests.workers.mps import CONTROL, is_there, shared_gpu

PROGRAM = """#!/bin/sh
[ "$1" = -d ] && said=started || read said
echo "$said in $CUDA_MPS_PIPE_DIRECTORY" >> {log}
"""


def test_the_server_has_its_own_pipes_and_is_told_to_quit(tmp_path, monkeypatch):
    program, log = tmp_path / CONTROL, tmp_path / "log.txt"
    program.write_text(PROGRAM.format(log=log))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert is_there()
    pipes = f"{tmp_path}/mps/pipe"
    with shared_gpu(tmp_path / "mps") as environment:
        assert environment["CUDA_MPS_PIPE_DIRECTORY"] == pipes
        assert log.read_text() == f"started in {pipes}\n"
    assert log.read_text() == f"started in {pipes}\nquit in {pipes}\n"
