"""NVIDIA's MPS, by which processes that share a GPU compute on it at the same time: a server of the
job's own on a node, with pipes that nobody else can reach.

Without it their kernels take turns. Numbers are the same with and without, so a node that cannot
have it goes on without: whoever waited in a queue for that node gains nothing from a job that ends.
It divides nothing: a share of a GPU's processors for each process would change how products are
computed, and their last bits.

    python -m cluster.node.mps FOLDER         runs one until its standard input ends
    python -m cluster.node.mps --stay FOLDER  starts one that lasts as long as a container

What ends is standard input, so that the server does not outlive a process that was killed.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from cluster.node.machine import ask_gpus, visible_gpus
from cluster.node.processes import descendants, kill

CONTROL = "nvidia-cuda-mps-control"
PIPES, LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
VISIBLE = "CUDA_VISIBLE_DEVICES"

LONGEST_FOLDER = 64
"""Bytes of a path; a socket's may have 107, and NVIDIA's names below the folder are not ours."""

STARTS_WITHIN_S = 60.0
ANSWERS_WITHIN_S = 30.0
QUITS_WITHIN_S = 10.0
LOOKS_EVERY_S = 0.1

TAKE_TURNS = "trials that share a GPU take turns there, with the same numbers"
STARTED = "started"


class NoMpsError(Exception):
    """MPS does not run here, why, and what to do; a line."""

    def __str__(self) -> str:
        return f"mps: {super().__str__()}; until then {TAKE_TURNS}"


class Mps:
    """A server that runs, until it is closed or this process ends, whatever ends it.

    Args:
        folder: for its pipes and logs; made by this, in a place that only the user can enter.
        environ: variables of the processes that will share GPUs; they say which.

    Attributes:
        environment: what these processes have beside `environ`.

    Raises:
        NoMpsError: it did not start.
    """

    def __init__(self, folder: Path, environ: Mapping[str, str]):
        self.environment = shared_environment(folder, environ)
        self._keeper = subprocess.Popen(
            [sys.executable, "-P", "-m", "cluster.node.mps", str(folder)],
            env=_of_server({**environ, **self.environment}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,  # whoever reads ours may wait for its end
            text=True,
            errors="replace",
            start_new_session=True,
        )
        assert self._keeper.stdout is not None
        said = self._keeper.stdout.readline().strip()
        if said != STARTED:
            lines = [said, *self._keeper.stdout.read().split("\n")]  # a traceback has several
            self.close()
            raise NoMpsError(next((line for line in reversed(lines) if line), "it ended"))

    def close(self) -> None:
        """End the server; processes that still compute through it fail, so they are ended first."""
        for stream in (self._keeper.stdin, self._keeper.stdout):
            if stream is not None:
                stream.close()
        self._keeper.wait()


def shared_environment(folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Variables by which processes share GPUs through a server in a folder.

    The server numbers the GPUs that it sees anew, from 0, so GPUs are named by what stays: where a
    batch system gives 2 and 3, a process that asks for 2 would get none.

    Args:
        folder: of the server's pipes and logs.
        environ: variables of these processes.

    Raises:
        NoMpsError: these GPUs cannot be shared so.
    """
    if len(os.fsencode(folder)) > LONGEST_FOLDER:
        raise NoMpsError(
            f"the path of {folder} has more than {LONGEST_FOLDER} bytes, too many for a socket; "
            "set TMPDIR or temp_root to a shorter folder"
        )
    environment = {PIPES: str(folder / "pipe"), LOGS: str(folder / "log")}
    names = visible_gpus(environ)
    if names == []:
        raise NoMpsError("no GPU is given to this node; ask for one in the profile")
    if any(name.startswith("MIG") for name in names or ()) or "Enabled" in ask_gpus(
        "mig.mode.current"
    ):
        raise NoMpsError("a GPU here is divided already (MIG); take whole ones, or leave mps out")
    if names is not None:
        uuids = ask_gpus("uuid")
        try:
            of_number = {name: uuids[int(name)] for name in names if name.isdecimal()}
        except IndexError:
            raise NoMpsError(
                f"nvidia-smi does not name the GPUs {', '.join(names)} ({VISIBLE}); look at it on "
                "the node"
            ) from None
        environment[VISIBLE] = ",".join(of_number.get(name, name) for name in names)
    return environment


def does_answer(environ: Mapping[str, str]) -> bool:
    """Whether a server runs where these variables, or NVIDIA's default, say.

    Raises:
        OSError: its program cannot be run.
    """
    return _tell("get_server_list", environ)


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module."""
    *options, folder = sys.argv[1:] if arguments is None else arguments
    try:
        if options == ["--stay"]:
            return _stay(Path(folder))
        return _keep(Path(folder))
    except NoMpsError as error:
        _tell_container(str(error))
        return 0


def _keep(folder: Path) -> int:
    """Run the server until standard input ends. The first line of output tells whether it runs."""
    # What a batch system or a terminal sends to all processes of a job is for trials to hear.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    _make_folders(folder)
    output = folder / "log" / "output"
    try:
        with output.open("w") as log:
            server = subprocess.Popen(
                [CONTROL, "-f"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
    except OSError as error:
        print(_not_there(error), flush=True)
        return 1
    try:
        until = time.monotonic() + STARTS_WITHIN_S
        while not does_answer(os.environ):
            if server.poll() is not None or time.monotonic() > until:
                lines = output.read_text(errors="replace").split("\n")
                said = next((line for line in reversed(lines) if line.strip()), "it says nothing")
                print(f"{CONTROL} did not start ({said.strip()}); see {folder}/log", flush=True)
                return 1
            time.sleep(LOOKS_EVERY_S)
        print(STARTED, flush=True)
        sys.stdin.buffer.read()
    finally:
        _end(server)
    return 0


def _stay(folder: Path) -> int:
    """Start a server in the background of a container, whose end is its end, too.

    Nothing is visible there but its own GPUs, so they are numbered from 0 already.
    """
    environ = {name: value for name, value in os.environ.items() if name != VISIBLE}
    environ |= shared_environment(folder, environ)
    try:
        _make_folders(folder)
        done = subprocess.run(
            [CONTROL, "-d"],
            env=_of_server(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=STARTS_WITHIN_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoMpsError(_not_there(error)) from error
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise NoMpsError(f"{CONTROL} did not start ({said or 'it says nothing'}); see {folder}/log")
    return 0


def _tell_container(line: str) -> None:
    """What a hook of a container prints is lost, unless it goes to the container's log."""
    with contextlib.suppress(OSError), Path("/proc/1/fd/2").open("w") as log:
        log.write(f"{line}\n")


def _make_folders(folder: Path) -> None:
    for place in (folder, folder / "pipe", folder / "log"):
        place.mkdir(mode=0o700, exist_ok=True)


def _not_there(error: Exception) -> str:
    return (
        f"{CONTROL} cannot be run ({error}); it comes with NVIDIA's driver, and into a container "
        "with the driver capability compute"
    )


def _of_server(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables of the server: without those by which it would divide a GPU."""
    kept = (PIPES, LOGS)
    return {
        name: value
        for name, value in environ.items()
        if name in kept or not name.startswith("CUDA_MPS_")
    }


def _tell(command: str, environ: Mapping[str, str]) -> bool:
    """Say a word to the server; whether it was heard.

    Raises:
        OSError: its program cannot be run.
    """
    try:
        done = subprocess.run(
            [CONTROL],
            env=environ,
            input=f"{command}\n".encode(),
            capture_output=True,
            timeout=ANSWERS_WITHIN_S,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0 and b"Cannot find" not in done.stdout + done.stderr


def _end(server: "subprocess.Popen[bytes]") -> None:
    """Have it quit, as NVIDIA's manual says; what does not is killed."""
    below = descendants(server.pid)
    with contextlib.suppress(OSError):
        _tell("quit", os.environ)
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(timeout=QUITS_WITHIN_S)
    for process in below:
        kill(process)
    server.kill()
    server.wait()


if __name__ == "__main__":
    sys.exit(main())
