"""Where the sweep of a round keeps its files: in a folder, on a small disk, in an object store."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from pyarrow.fs import FileSelector, FileSystem, LocalFileSystem

from tests.chaos.store import FailingWay
from tests.s3_server import make_bucket

DISK_MIB = 24
"""Size of the small disk: what a sweep of a round needs ten times over."""


@dataclass(frozen=True)
class File:
    """A file that sparsweep wrote; `kind` is the table or what else it belongs to."""

    kind: str
    name: str
    filesystem: FileSystem
    path: str

    def read(self) -> bytes:
        with self.filesystem.open_input_stream(self.path) as stream:
            return bytes(stream.read())

    def write(self, data: bytes) -> None:
        with self.filesystem.open_output_stream(self.path) as stream:
            stream.write(data)

    def delete(self) -> None:
        self.filesystem.delete_file(self.path)


@dataclass
class Place:
    """Where results and the cache are.

    Attributes:
        results: what the sweep file says.
        cache: the folder of the cache.
        home: the user's folder, in which jobs are recorded.
        environment: variables by which the results are found.
        disk: the small disk that both are on, if they are.
        way: the way to the object store that holds the results, if one does.
    """

    results: str
    cache: Path
    home: Path
    environment: dict[str, str] = field(default_factory=dict)
    disk: "Disk | None" = None
    way: FailingWay | None = None
    filesystem: FileSystem = field(default_factory=LocalFileSystem)

    def files(self) -> list[File]:
        """All that sparsweep wrote there, sorted by name."""
        results = _files_below(self.filesystem, self.results.removeprefix("s3://"))
        cached = _files_below(LocalFileSystem(), str(self.cache))
        recorded = _files_below(LocalFileSystem(), str(self.home))
        found = [
            *results,
            *(replace(file, kind="cache") for file in cached),
            *(replace(file, kind="jobs") for file in recorded if "sparsweep" in file.name),
        ]
        return sorted(found, key=lambda file: (file.kind, file.name))

    def half_written(self) -> list[str]:
        """Names of files that a writer began and did not end."""
        return [file.name for file in self.files() if file.name.endswith(".tmp")]


class Disk:
    """A small disk of its own, which root can mount."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True)
        options = f"size={DISK_MIB}m,mode=700"
        _run("mount", "-t", "tmpfs", "-o", options, "sparsweep-chaos", str(folder))

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """No byte is free inside the block."""
        ballast = self.folder / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        try:
            yield
        finally:
            ballast.unlink()

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        """Nothing can be written inside the block.

        Raises:
            OSError: somebody writes just now.
        """
        _run("mount", "-o", "remount,ro", str(self.folder))
        try:
            yield
        finally:
            _run("mount", "-o", "remount,rw", str(self.folder))

    def unmount(self) -> None:
        _run("umount", "--lazy", str(self.folder))


def why_no_disk(folder: Path) -> str | None:
    """Why no disk can be mounted here; None if one can."""
    if os.geteuid() != 0:
        return "only root can mount one"
    try:
        Disk(folder).unmount()
    except OSError as error:
        return str(error)
    return None


@contextlib.contextmanager
def in_a_folder(folder: Path) -> Iterator[Place]:
    yield Place(str(folder / "results"), folder / "cache", folder / "home")


@contextlib.contextmanager
def on_a_small_disk(folder: Path) -> Iterator[Place]:
    disk = Disk(folder / "disk")
    try:
        inside = disk.folder
        yield Place(str(inside / "results"), inside / "cache", inside / "home", disk=disk)
    finally:
        disk.unmount()


@contextlib.contextmanager
def in_an_object_store(folder: Path, server: str) -> Iterator[Place]:
    with FailingWay(server) as way, make_bucket(server) as bucket:
        yield Place(
            f"{bucket}/results",
            folder / "cache",
            folder / "home",
            {"AWS_ENDPOINT_URL": way.address, "AWS_EC2_METADATA_DISABLED": "true"},
            way=way,
            filesystem=FileSystem.from_uri(bucket)[0],
        )


def _files_below(filesystem: FileSystem, root: str) -> list[File]:
    infos = filesystem.get_file_info(FileSelector(root, recursive=True, allow_not_found=True))
    names = [(info.path.removeprefix(f"{root}/"), info.path) for info in infos if info.is_file]
    return [
        File(name.partition("/")[0], name, filesystem, path)
        for name, path in names
        if not name.endswith(".lock")
    ]


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        raise OSError(" ".join(done.stderr.split()))
