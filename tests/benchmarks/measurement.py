"""What a benchmark yields, and where it goes: a table to read and a CSV file to keep."""

import contextlib
import csv
import ctypes
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
from rich.box import SIMPLE_HEAD
from rich.table import Table

COLUMNS = ("benchmark", "what", "median", "low", "high", "repeats", "unit", "target", "measured_at")
ROOT = Path(__file__).parents[2]
VERSIONS = (
    "torch",
    "numba",
    "triton",
    "numpy",
    "transformers",
    "ray",
    "accelerate",
    "neural-compressor",
)


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One figure, measured once or several times in the same run, and what its median should be."""

    what: str
    values: tuple[float, ...]
    unit: str  # s, MiB, GB/s, weights; x: a ratio of two things measured side by side
    at_most: float | None = None
    at_least: float | None = None

    @property
    def median(self) -> float:
        """The figure that is stated."""
        return statistics.median(self.values)

    @property
    def target(self) -> str:
        """What the median should be, in words; empty for a figure that only informs."""
        if self.at_most is not None:
            return f"at most {self.at_most:g}"
        return "" if self.at_least is None else f"at least {self.at_least:g}"

    @property
    def is_missed(self) -> bool:
        """Whether it is not what it should be."""
        too_high = self.at_most is not None and not self.median <= self.at_most
        return too_high or (self.at_least is not None and not self.median >= self.at_least)


def timed(action: Callable[[], object]) -> float:
    """Seconds that it takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def sparsweep(*words: str) -> str:
    """Run the command as a person does; returns what it prints.

    Raises:
        RuntimeError: it failed.
    """
    return run([str(Path(sys.executable).with_name("sparsweep")), *words])


def set_words(*overrides: str) -> list[str]:
    """The words that set these on a command line of `sparsweep`."""
    return [word for override in overrides for word in ("--set", override)]


def in_own_process(module: str, *words: str) -> Any:
    """What a module reports as JSON in its last line; in a process of its own its memory is its
    own.

    Raises:
        RuntimeError: it failed.
    """
    return json.loads(run([sys.executable, "-m", module, *words], cwd=ROOT).splitlines()[-1])


def run(command: list[str], **options: Any) -> str:
    """Run a command to its end; returns its standard output.

    Raises:
        RuntimeError: it failed; with the last line that it wrote.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise RuntimeError(said[-1] if said else f"exit code {done.returncode}")
    return done.stdout


def side_by_side(
    actions: dict[str, Callable[[], object]], repeats: int
) -> dict[str, tuple[float, ...]]:
    """Seconds of each action, in turns, so that what disturbs hits all; one round is unused."""
    rounds = [{name: timed(action) for name, action in actions.items()} for _ in range(1 + repeats)]
    return {name: tuple(one[name] for one in rounds[1:]) for name in actions}


def ratios(numerators: Iterable[float], denominators: Iterable[float]) -> tuple[float, ...]:
    """Quotients of what was measured in the same round."""
    return tuple(one / other for one, other in zip(numerators, denominators, strict=True))


def peak_extra_mib(action: Callable[[], object]) -> float:
    """Largest resident memory of the action above that before it; NaN where not on Linux."""
    if not Path("/proc/self/clear_refs").exists():
        return float("nan")
    gc.collect()
    # Free memory that the process keeps would hide a need for it.
    with contextlib.suppress(AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _resident_mib("VmRSS")
    action()
    return max(0.0, _resident_mib("VmHWM") - before)


def _resident_mib(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) / 1024


def device_name() -> str:
    """The GPU's name, or the processor's and how many of its threads torch uses."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {torch.get_num_threads()} threads"


GPU_STATE = {
    "driver": "driver_version",
    "clock_mhz": "clocks.sm",
    "max_clock_mhz": "clocks.max.sm",
    "memory_clock_mhz": "clocks.mem",
    "power_limit_w": "power.limit",
    "mig": "mig.mode.current",
    "compute_mode": "compute_mode",
}
"""Columns on the GPU's state, and what nvidia-smi calls it."""


def gpu_state() -> dict[str, str]:
    """What a GPU's speed depends on beside its name, of the first visible one; empty texts where
    there is none. `mps` says whether processes share it through CUDA's server for that."""
    state = dict.fromkeys((*GPU_STATE, "mps"), "")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    query = f"--query-gpu={','.join(GPU_STATE.values())}"
    command = ["nvidia-smi", f"--id={visible}", query, "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return state
    values = [value.strip() for value in done.stdout.split(",")]
    if done.returncode == 0 and len(values) == len(GPU_STATE):
        state |= dict(zip(GPU_STATE, values, strict=True))
        names = {process.info["name"] for process in psutil.process_iter(["name"])}
        # Linux keeps 15 characters of a name.
        state["mps"] = str(any((name or "").startswith("nvidia-cuda-mps") for name in names))
    return state


def write_csv(file: Path, measured: list[tuple[str, Measurement]]) -> None:
    """One row a measurement; the file is new, and where it is is said."""
    versions = {name: _version(name) for name in VERSIONS}
    told = {
        "device": device_name(),
        "num_cpus": os.cpu_count(),
        "python": platform.python_version(),
        **versions,
        **gpu_state(),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow([*COLUMNS, *told])
        for benchmark, one in measured:
            figures = [f"{value:.6g}" for value in (one.median, min(one.values), max(one.values))]
            moment = datetime.now(UTC).isoformat(timespec="seconds")
            row = [benchmark, one.what, *figures, len(one.values), one.unit, one.target, moment]
            writer.writerow([*row, *told.values()])
    print(f"written to {file}")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def make_table(measured: list[tuple[str, Measurement]]) -> Table:
    """All figures, those that miss their target in red."""
    versions = f"Python {platform.python_version()}, torch {_version('torch')}"
    table = Table(
        box=SIMPLE_HEAD,
        pad_edge=False,
        caption=f"{datetime.now(UTC):%Y-%m-%d}, {device_name()}, {versions}",
    )
    for title in ("measured", "median", "from … to", "target"):
        table.add_column(title, justify="left" if title == "measured" else "right", no_wrap=True)
    for _, one in measured:
        spread = f"{min(one.values):.3g} … {max(one.values):.3g}" if len(one.values) > 1 else ""
        style = "red" if one.is_missed else None
        table.add_row(one.what, f"{one.median:.3g} {one.unit}", spread, one.target, style=style)
    return table


def exit_code(measured: list[tuple[str, Measurement]]) -> int:
    """1 when a target is missed, which is also said."""
    missed = [one.what for _, one in measured if one.is_missed]
    if missed:
        sys.stderr.write(f"missed: {'; '.join(missed)}\n")
    return int(bool(missed))
