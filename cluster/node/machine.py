"""What of this machine we may really use: CPU cores and memory, as limited by affinity and cgroups
(v1 and v2), and GPUs, as CUDA_VISIBLE_DEVICES names them.

A batch system or a container gives a process a part of the machine; `os.cpu_count()` and the
machine's memory tell of the whole. Every limit between the process's own cgroup and the root
counts, since the tightest one is enforced.
"""

import os
import subprocess
from collections.abc import Iterator, Mapping
from itertools import takewhile
from pathlib import Path

NO_GPU = ("", "-1", "none", "void", "nodevfiles")
"""Names in CUDA_VISIBLE_DEVICES that stand for no GPU; `NoDevFiles` is Slurm's, `void` and `none`
are those of NVIDIA's containers."""


def usable_cpus(root: Path = Path("/")) -> int:
    """Whole CPU cores that this process may keep busy, at least 1.

    Args:
        root: folder that holds `proc` and `sys`.
    """
    allowed = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return max(1, int(min([allowed, *_cpu_limits(root)])))


def usable_memory_bytes(root: Path = Path("/")) -> int:
    """Bytes of memory that this process and its children may fill before the kernel stops them.

    Args:
        root: folder that holds `proc` and `sys`.
    """
    return min([_physical_memory_bytes(root), *_memory_limits(root)])


def available_memory_bytes(root: Path = Path("/")) -> int:
    """Bytes of memory that new processes may fill now, beside those that run already.

    Args:
        root: folder that holds `proc` and `sys`.
    """
    return max(0, min([_unused_memory_bytes(root), *_room_in_cgroups(root)]))


def visible_gpus(environ: Mapping[str, str]) -> list[str] | None:
    """The GPUs that CUDA_VISIBLE_DEVICES names; as CUDA reads it, a name of none ends the list.

    Args:
        environ: variables of a process.

    Returns:
        Their names; None where the variable is not set, and so all are visible.
    """
    value = environ.get("CUDA_VISIBLE_DEVICES")
    if value is None:
        return None
    names = [name.strip() for name in value.split(",")]
    return list(takewhile(lambda name: name.lower() not in NO_GPU, names))


def smallest_gpu_bytes() -> int | None:
    """Memory of the smallest GPU of this machine, as its driver's nvidia-smi says; None: not
    known."""
    try:
        return min(int(mib) for mib in ask_gpus("memory.total")) * 2**20
    except ValueError:
        return None


def ask_gpus(what: str) -> list[str]:
    """What the driver's nvidia-smi says of each GPU of this machine, in the order of their numbers;
    nothing where it does not answer.

    Args:
        what: its name for that, such as `uuid`.
    """
    command = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return []
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()]


def _cpu_limits(root: Path) -> Iterator[float]:
    """CPU time a cgroup may use per wall-clock time, for each cgroup with a limit."""
    for cgroup in _cgroups(root, controller=""):
        quota, period = (_read(cgroup / "cpu.max") or "max 100000").split()
        if quota != "max":
            yield int(quota) / int(period)
    for cgroup in _cgroups(root, controller="cpu"):
        quota, period = (
            _read(cgroup / "cpu.cfs_quota_us") or "-1",
            _read(cgroup / "cpu.cfs_period_us") or "100000",
        )
        if quota != "-1":
            yield int(quota) / int(period)


def _memory_limits(root: Path) -> Iterator[int]:
    for cgroup in _cgroups(root, controller=""):
        limit = _read(cgroup / "memory.max")
        if limit and limit != "max":
            yield int(limit)
    for cgroup in _cgroups(root, controller="memory"):
        limit = _read(cgroup / "memory.limit_in_bytes")
        if limit:  # no limit reads as a number beyond any machine's memory
            yield int(limit)


def _room_in_cgroups(root: Path) -> Iterator[int]:
    """What each cgroup with a limit may still take; of files that the kernel keeps in memory it can
    drop those that were not used for long."""
    for controller, of_limit, of_usage, of_files in (
        ("", "memory.max", "memory.current", "inactive_file"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        for cgroup in _cgroups(root, controller):
            limit, usage = _read(cgroup / of_limit), _read(cgroup / of_usage)
            if limit and usage and limit != "max":
                files = _field(_read(cgroup / "memory.stat"), of_files) or 0
                yield int(limit) - int(usage) + files


def _cgroups(root: Path, controller: str) -> Iterator[Path]:
    """Folders of this process's cgroup and of all above it; the controller "" stands for cgroup v2.

    In a container the path in /proc may be that of the host, of which only the upper end is
    mounted: folders that do not exist are simply without limits.
    """
    mount = root / "sys/fs/cgroup" / controller
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            own = mount / path.lstrip("/")
            yield own
            yield from (parent for parent in own.parents if parent.is_relative_to(mount))


def _physical_memory_bytes(root: Path) -> int:
    kib = _field(_read(root / "proc/meminfo"), "MemTotal:")  # the kernel's "kB" are KiB
    if kib is not None:
        return kib * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # no /proc: macOS


def _unused_memory_bytes(root: Path) -> int:
    kib = _field(_read(root / "proc/meminfo"), "MemAvailable:")
    return _physical_memory_bytes(root) if kib is None else kib * 1024


def _field(text: str | None, name: str) -> int | None:
    """The number behind a name at the beginning of a line."""
    for line in (text or "").splitlines():
        first, _, rest = line.partition(" ")
        if first == name:
            return int(rest.split()[0])
    return None


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
