"""Files in a local folder or an object store, behind one value: `Location`.

Checkpoints and results are written through it, always as a whole: a reader sees the old content or
the new, never a part. A location is text that gets stored and shown, so it must not contain
credentials; those come from the environment (`AWS_ACCESS_KEY_ID` …, a profile, a service account),
and so may the endpoint (`AWS_ENDPOINT_URL`). What the files hold is not known here.
"""

import contextlib
import errno
import fcntl
import io
import logging
import os
import re
import secrets
import stat
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeVar, cast
from urllib.parse import parse_qsl, urlsplit

from workers.leftovers import remove_leftovers, temporary_beside
from workers.visits import ANSWERS_WITHIN_S, visiting

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

Answer = TypeVar("Answer")

ACCEPTED = "give a folder, s3://bucket/folder or gs://bucket/folder"
OPTIONS = {
    "s3": ("region", "scheme", "endpoint_override", "tls_ca_file_path"),
    "gs": ("scheme", "endpoint_override", "project_id", "retry_limit_seconds"),
}
"""What may follow the `?` of an object store's address; pyarrow gives them their meaning."""

GOOGLE_TRIES_S = 20
"""How long Google's library goes on trying; its own default is 15 minutes."""

FIRST_ANSWER_S = ANSWERS_WITHIN_S
"""How long an object store may take to list a folder for the first time; one that is not there may
be silent for ever."""

PARQUET_DAMAGE = (OSError, ValueError, LookupError, TypeError, MemoryError)
"""What pyarrow raises of a damaged Parquet file besides errors of its own: OSError for pages,
ValueError for names that are no text, and MemoryError for lengths that are none."""

LONGEST_REASON = 300
"""Characters of what an object store's library says of a failure."""

TRY_LATER = "check the address and the network, or try again later"

_OF_THE_STORE = re.compile(
    r"HTTP status 5\d\d|NETWORK_CONNECTION|SLOW_DOWN|THROTTLING|INTERNAL_FAILURE|REQUEST_TIMEOUT|"
    r"UNAVAILABLE|DEADLINE_EXCEEDED"
)
"""What the libraries of S3 and Google say where a store, or the way to it, fails."""

log = logging.getLogger(__name__)


class StoreFailedError(OSError):
    """An object store, or the way to it, fails; nothing says that it was asked for the wrong."""


class Entry(NamedTuple):
    """A file in a folder: name, size in bytes, and time of the last change in ns since 1970."""

    name: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Location:
    """A file or folder, there or not. Make one with `parse`, go down with `/`.

    `scheme` is "" for local paths; `path` is absolute, or bucket/key in an object store; `options`
    is the part after the `?`, such as `region=eu-west-1`.
    """

    scheme: str
    path: str
    options: str = ""

    @classmethod
    def parse(cls, text: str) -> "Location":
        """Read a path or an address; nothing is opened yet.

        Args:
            text: a path, in which ~ stands for the home folder, or an address of s3 or gs.

        Raises:
            ValueError: it is empty, contains credentials, or is of a kind or has an option that is
                not known.
        """
        if "\0" in text:
            raise ValueError(f"{text!r}: a location cannot contain a null character; {ACCEPTED}")
        if not text.strip():
            raise ValueError(f"{text!r}: a location is empty; {ACCEPTED}")
        if not re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/|(s3|gs):", text):
            try:
                expanded = Path(text).expanduser()
            except RuntimeError as error:  # no such user, or no home
                raise ValueError(f"{text!r}: no home folder is known for it; {ACCEPTED}") from error
            return cls("", os.path.abspath(expanded))  # noqa: PTH100, absolute keeps ..
        scheme, netloc, path, options, _ = urlsplit(text, allow_fragments=False)
        where = f"{scheme}://{netloc.rpartition('@')[2]}{path}"
        if "@" in netloc:
            raise ValueError(
                f"{where}: the location contains credentials, which would be stored with the "
                "results; give them in the environment, for example AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY"
            )
        if scheme not in OPTIONS or not netloc:
            raise ValueError(f"{where}: not a location that is known; {ACCEPTED}")
        for option, _value in parse_qsl(options, keep_blank_values=True):
            if option not in OPTIONS[scheme]:
                raise ValueError(
                    f"{where}: unknown option {option!r}; "
                    f"{scheme} takes {', '.join(OPTIONS[scheme])}"
                )
        return cls(scheme, netloc + path.rstrip("/"), options)

    def __truediv__(self, name: str) -> "Location":
        return replace(self, path=f"{self.path.rstrip('/')}/{name}")

    def __str__(self) -> str:
        if self.is_local:
            return self.path
        return f"{self.scheme}://{self.path}" + (f"?{self.options}" if self.options else "")

    @property
    def is_local(self) -> bool:
        """Whether it is on a file system of this machine, mounted ones included."""
        return not self.scheme

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def folder(self) -> "Location":
        """What it lies in."""
        return replace(self, path=self.path.rpartition("/")[0])

    def read_bytes(self) -> bytes:
        """The whole content.

        Raises:
            FileNotFoundError: there is no such file.
            OSError: it cannot be read.
        """

        def read() -> bytes:
            with self._filesystem.open_input_stream(self.path) as stream:
                return bytes(stream.read())

        return self._asked(read)

    def write_atomic(self, data: bytes | memoryview, mode: int = 0o666) -> None:
        """Put `data` there as a whole, in place of what was there, so that it survives a power cut.

        Folders on the way are made.

        Args:
            data: the whole content.
            mode: of the new file, less what the umask takes away; an object store has none.

        Raises:
            OSError: it cannot be written; what was there is as before.
        """
        if self.is_local:
            self.write_atomic_by(lambda file: file.write(data), mode)
            return

        def write() -> None:
            # Not `with`: that would publish what was written so far when the block raises.
            stream = self._filesystem.open_output_stream(self.path)
            stream.write(data)
            stream.close()

        self._asked(write)

    def write_atomic_by(self, write: Callable[[BinaryIO], object], mode: int = 0o666) -> None:
        """`write_atomic` of what `write` writes into a file, which need not be in its order.

        In a local folder it is never in memory as a whole.

        Raises:
            OSError: as of `write_atomic`.
        """
        self.prepare_by(write, mode).publish()

    def prepare_by(self, write: Callable[[BinaryIO], object], mode: int = 0o666) -> "Prepared":
        """The first half of `write_atomic_by`, which takes long: readers do not see it yet.

        Raises:
            OSError: as of `write_atomic`.
        """
        if self.is_local:
            with visiting(self):
                return Prepared(self, _write_beside(Path(self.path), write, mode))
        buffer = io.BytesIO()
        write(buffer)
        return Prepared(self, buffer)

    def is_file(self) -> bool:
        """Whether there is such a file.

        Raises:
            OSError: nobody can tell.
        """
        return bool(self._asked(lambda: self._filesystem.get_file_info(self.path)).is_file)

    def entries(self) -> list[Entry]:
        """The files of a folder, sorted by name, without hidden ones.

        Returns:
            Nothing where there is no such folder.

        Raises:
            OSError: the folder cannot be read.
        """
        from pyarrow.fs import FileSelector

        folder = FileSelector(self.path, allow_not_found=True)
        try:
            infos = self._asked(lambda: self._filesystem.get_file_info(folder), FIRST_ANSWER_S)
        except FileNotFoundError:
            # Arrow looks whether the folder can be read, then whether it is there: between both,
            # another process has made it.
            infos = self._asked(lambda: self._filesystem.get_file_info(folder))
        return sorted(
            Entry(info.base_name, info.size, info.mtime_ns or 0)
            for info in infos
            if info.is_file and not info.base_name.startswith(".")
        )

    def names(self) -> list[str]:
        """Like `entries`, the names only and unsorted: much faster in a large local folder."""
        if not self.is_local:
            return [entry.name for entry in self.entries()]
        with visiting(self), contextlib.suppress(FileNotFoundError):
            return [name for name in os.listdir(self.path) if not name.startswith(".")]  # noqa: PTH208, it is fast
        return []

    def delete(self) -> None:
        """Remove the file, and what writers that were killed left of it.

        It is no error when there is no such file.

        Raises:
            OSError: it cannot be removed.
        """
        if self.is_local:
            with visiting(self):
                remove_leftovers(Path(self.path).parent, Path(self.path).name)
        with contextlib.suppress(FileNotFoundError):
            self._asked(lambda: self._filesystem.delete_file(self.path))

    def remove_leftovers(self) -> None:
        """Remove what writers that were killed left in this local folder."""
        if self.is_local:
            with visiting(self):
                remove_leftovers(Path(self.path))

    def check_writable(self) -> None:
        """Write a small file into this folder, read it back and remove it.

        Raises:
            OSError: that failed; one line that says why.
        """
        probe = self / f".probe-{secrets.token_hex(4)}"
        content = probe.name.encode()
        try:
            probe.write_atomic(content)
            if probe.read_bytes() != content:
                raise OSError("what was read back is not what was written")
            probe.delete()
        except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
            if may_pass(error):
                raise  # another place is not what helps
            reason = " ".join(str(error).split())
            raise OSError(
                f"{self}: cannot be written ({reason}); give a place where you may write"
            ) from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of a local folder, which is made, waiting for whoever holds it.

        An object store has no lock; there, this does nothing.

        Raises:
            OSError: the lock's file cannot be written.
        """
        # Not filelock, which asks twenty times a second where this waits, and leaves a file that
        # outlives a killed process on file systems without locks.
        if not self.is_local:
            yield
            return
        folder = Path(self.path)
        with visiting(self):
            folder.mkdir(parents=True, exist_ok=True)
            opened = (folder / ".lock").open("a")
        with opened as file:  # closing it, or dying, releases the lock
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError as error:
                if error.errno not in (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK):
                    raise
                log.warning(
                    "%s: this file system has no locks (%s); run one driver at a time on it",
                    self,
                    error,
                )
            yield

    def _asked(self, call: Callable[[], Answer], limit_s: float | None = None) -> Answer:
        """What a call to the file system gives.

        Args:
            call: asks it.
            limit_s: of an object store that this process has not heard of yet: how long it may
                take to answer.

        Raises:
            TimeoutError: it did not answer in that time.
            StoreFailedError: it, or the way to it, fails.
            OSError: it failed; of an object store, in words that fit on a line.
        """
        with visiting(self):
            return call() if self.is_local else self._asked_store(call, limit_s)

    def _asked_store(self, call: Callable[[], Answer], limit_s: float | None) -> Answer:
        store = (self.scheme, self.path.partition("/")[0], self.options)
        try:
            answer = interruptible(call, None if store in _HEARD else limit_s)
            _HEARD.add(store)
            return answer
        except TimeoutError as error:
            raise TimeoutError(
                f"{self}: does not answer within {limit_s:.0f} s; check the address, the network, "
                "and the credentials in the environment"
            ) from error
        except FileNotFoundError:
            raise
        except OSError as error:
            said = " ".join(str(error).split())
            what = said if len(said) <= LONGEST_REASON else said[:LONGEST_REASON] + " ..."
            if _OF_THE_STORE.search(said):
                raise StoreFailedError(f"{self}: {what}; {TRY_LATER}") from error
            raise OSError(f"{self}: {what}") from error

    @property
    def _filesystem(self) -> "FileSystem":
        return _open_filesystem(self.scheme, self.path.partition("/")[0], self.options)


class Prepared:
    """A file that is written and has not its name yet, from `Location.prepare_by`.

    Attributes:
        num_bytes: of the file.
    """

    def __init__(self, location: Location, content: "Path | io.BytesIO"):
        self._location, self._content = location, content
        if isinstance(content, Path):
            self.num_bytes = content.stat().st_size
        else:
            self.num_bytes = content.getbuffer().nbytes

    def publish(self) -> None:
        """Put it there as a whole, in place of what was there.

        Raises:
            OSError: it cannot be written; what was there is as before.
        """
        if isinstance(self._content, Path):
            with visiting(self._location):
                _rename(self._content, Path(self._location.path))
        else:
            self._location.write_atomic(self._content.getbuffer())

    def discard(self) -> None:
        """Remove what was written."""
        if isinstance(self._content, Path):
            self._content.unlink(missing_ok=True)


LEFT_WAITING: list[int] = []
"""An entry for each call that was left behind. A process with one does not end by itself while the
call waits: pyarrow stops S3 at the end, which waits for it."""

_HEARD: set[tuple[str, str, str]] = set()
"""Object stores that have answered."""


def interruptible(call: Callable[[], Answer], limit_s: float | None = None) -> Answer:
    """What a call gives that may wait in foreign code, where Python does not hear a Ctrl-C.

    In the main thread, which alone gets signals, the call is left to another, which is left behind
    where a signal or the limit ends the waiting.

    Raises:
        TimeoutError: it takes longer than `limit_s` seconds.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    answers: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()

    def ask() -> None:
        try:
            answers.put((call(), None))
        except BaseException as error:
            answers.put((None, error))

    threading.Thread(target=ask, daemon=True, name="storage").start()
    try:
        answer, error = answers.get(timeout=limit_s)
    except Empty:
        LEFT_WAITING.append(1)
        raise TimeoutError from None
    except BaseException:
        LEFT_WAITING.append(1)
        raise
    if error is not None:
        raise error
    return cast(Answer, answer)


@cache
def _open_filesystem(scheme: str, bucket: str, options: str) -> "FileSystem":
    from pyarrow.fs import FileSystem, LocalFileSystem

    if not scheme:
        return LocalFileSystem()
    if scheme == "gs" and "retry_limit_seconds" not in options:
        options = "&".join(filter(None, (options, f"retry_limit_seconds={GOOGLE_TRIES_S}")))
    if scheme == "s3":  # one PUT for an object under 10 MB, not create, upload and complete
        options = "&".join(filter(None, (options, "allow_delayed_open=true")))
    return FileSystem.from_uri(f"{scheme}://{bucket}?{options}")[0]


class NotOwnError(OSError):
    """A file that belongs to another user, or that others may write to."""


def read_own(path: Path, owners: Collection[int], folder: int | None = None) -> bytes:
    """The content of a file that only its owner can write to; a link is not followed.

    Args:
        path: the file.
        owners: users who may be its owner.
        folder: a descriptor of its folder; the file is then found there by its name.

    Raises:
        NotOwnError: it belongs to somebody else, or others may write to it.
        OSError: it cannot be read.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe would wait
    with visiting(path):
        opened = os.open(path if folder is None else path.name, flags, dir_fd=folder)
        with open(opened, "rb") as file:  # noqa: PTH123, it is a descriptor
            refuse_others(path, opened, owners)
            if not stat.S_ISREG(os.fstat(opened).st_mode):
                raise NotOwnError(f"{path}: not a file")
            return file.read()


def refuse_others(path: Path, opened: int, owners: Collection[int]) -> None:
    """Look at a file or folder as it was opened, so that nobody can exchange it in between.

    Raises:
        NotOwnError: it belongs to none of `owners`, or others may write to it.
    """
    state = os.fstat(opened)
    if state.st_uid not in owners:
        raise NotOwnError(f"{path}: belongs to another user, so it is not used")
    if state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise NotOwnError(
            f"{path}: others may write to it, so it is not used; if nobody has, `chmod go-w`"
        )


def is_full_disk(error: BaseException) -> bool:
    """Whether an error says that there is no room, or none that this user may take."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


FAULTS = frozenset(
    getattr(errno, name)
    for name in (
        *("EIO", "ESTALE", "EREMOTEIO", "EUCLEAN"),
        *("ENOTCONN", "ETIMEDOUT", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH"),
        *("ECONNREFUSED", "ECONNRESET", "ECONNABORTED"),
    )
    if hasattr(errno, name)
)
"""What a system says where a disk or the way to it fails, whatever lies there."""

_OF_RUST = re.compile(r"\(os error (\d+)\)")


def may_pass(error: BaseException) -> bool:
    """Whether an error is no fault of what was asked for: the disk is full, or it or the way to it
    fails, or does not answer."""
    known = isinstance(error, TimeoutError | StoreFailedError)
    return known or is_full_disk(error) or is_storage_fault(error)


def is_storage_fault(error: BaseException) -> bool:
    """Whether an error says that a disk or the way to it fails.

    Args:
        error: also one of a library in Rust, such as safetensors, which has the number in its text.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in FAULTS
    found = _OF_RUST.search(str(error))
    return found is not None and int(found[1]) in FAULTS


def _write_beside(path: Path, write: Callable[[BinaryIO], object], mode: int) -> Path:
    """Write a new file beside an old one; it is on the disk when this returns."""
    temporary = temporary_beside(path)
    opened = _open_new(temporary, mode)
    try:
        with open(opened, "wb") as file:  # noqa: PTH123, it is a descriptor
            write(file)
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        _give_up(temporary, path, error)
        raise
    return temporary


def _open_new(path: Path, mode: int) -> int:
    """A new file's descriptor; its folder is made where this is its first file."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.open(path, flags, mode)
    except (FileNotFoundError, NotADirectoryError):
        path.parent.mkdir(parents=True, exist_ok=True)  # or says what is in the way
    return os.open(path, flags, mode)


def _rename(temporary: Path, path: Path) -> None:
    """Put a file that is on the disk in the place of another, so that it survives a power cut."""
    try:
        temporary.replace(path)
    except BaseException as error:
        _give_up(temporary, path, error)
        raise

    # The new name is in the folder, which has to be on the disk, too.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot do that to a folder
            raise
    finally:
        os.close(folder)


def _give_up(temporary: Path, path: Path, error: BaseException) -> None:
    temporary.unlink(missing_ok=True)
    if isinstance(error, OSError) and error.filename is None:  # a full disk names no file
        error.filename = str(path)
