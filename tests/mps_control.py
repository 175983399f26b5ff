"""A stand-in for NVIDIA's program that runs MPS, which writes down what it is told."""

import os
import time
from pathlib import Path

import psutil
import pytest

from cluster.node.mps import CONTROL
from cluster.node.processes import command_line

PROGRAM = """#!/bin/bash
pipe=$CUDA_MPS_PIPE_DIRECTORY
say() {{ echo "$*" >>{log}; }}
shares=${{CUDA_MPS_ACTIVE_THREAD_PERCENTAGE-}}
case "${{1-}}" in
-f | -d)
  say "$1 in $pipe, logs in $CUDA_MPS_LOG_DIRECTORY, sees ${{CUDA_VISIBLE_DEVICES-all}}$shares"
  {start}
  touch "$pipe/runs"
  [ "$1" = -d ] && exit 0
  while [ -e "$pipe/runs" ]; do sleep 0.05; done
  say ended ;;
*)
  read -r word
  if [ ! -e "$pipe/runs" ]; then echo "Cannot find MPS control daemon process"; exit 1; fi
  [ "$word" = quit ] || exit 0
  say "quit in $pipe"
  {quit} ;;
esac
"""


def install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, start: str = "", quits: str = 'rm "$pipe/runs"'
) -> Path:
    """Put it first on PATH.

    Args:
        folder: where it goes.
        monkeypatch: changes PATH.
        start: lines of bash that it runs when it starts.
        quits: those that it runs when it is told to quit.

    Returns:
        The file that it writes to.
    """
    log = folder / "mps.log"
    _install(folder / CONTROL, PROGRAM.format(log=log, start=start, quit=quits))
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return log


def install_nvidia_smi(folder: Path, *uuids: str, mig: str = "[N/A]") -> None:
    """The driver's program that knows the GPUs, beside it."""
    said = "\n".join(uuids)
    modes = "\n".join(mig for _ in uuids)
    script = f'#!/bin/bash\n[[ $1 == *mig* ]] && echo "{modes}" || echo "{said}"\n'
    _install(folder / "nvidia-smi", script)


def _install(program: Path, script: str) -> None:
    program.write_text(script)
    program.chmod(0o755)


def told(log: Path) -> list[str]:
    """What it wrote so far."""
    return log.read_text().splitlines() if log.exists() else []


def wait_until_ended(log: Path, within_s: float = 30.0) -> None:
    """Until a server that runs in the foreground has ended."""
    until = time.monotonic() + within_s
    while told(log)[-1:] != ["ended"]:
        assert time.monotonic() < until, told(log)
        time.sleep(0.05)


def is_running(folder: Path) -> bool:
    """Whether a process of the stand-in in a folder is there."""
    return any(str(folder / CONTROL) in command_line(process) for process in psutil.process_iter())
