"""The files of a commit in the hub's cache: whether all that is needed is there, and how it gets
there.

The client of the hub downloads, holds back other processes of this machine that want the same file,
and keeps whole files only. What is in the cache is taken without a question to the hub, so that a
machine without a network waits for nothing. One exception is a commit of which the cache has no
list of files, as an earlier client left it: the hub is asked for the list, which is kept. Where it
is out of reach, which takes seconds to find out and then counts for a minute, or refuses, what is
there is taken if it looks whole.
"""

import contextlib
import hashlib
import logging
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from workers.hub.contents import (
    CARD,
    CONFIG,
    Card,
    model_files,
    read_card,
    split_files,
)
from workers.hub.faults import HubFaultError, explain, name_place
from workers.hub.repository import (
    REMEDY,
    Repository,
    ask_commit,
    hub_cache,
    is_offline,
    refuse_unreachable,
    refuse_unreadable,
    resolve,
)
from workers.trial import ModelSpec, TrialError

LONGEST_WAIT_S = 60.0
"""A hub that asks to wait longer before the next request is not waited for."""
TRIES = 3
PAUSE_S = 2.0
"""Before the second try; each pause is twice the one before it."""

Answer = TypeVar("Answer")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Want:
    """What is needed of a commit.

    Attributes:
        repository: whose.
        commit: which.
        init: of a model, pretrained or random.
        splits: of a data set, languages with their splits, as in `("sw", "train")`.
    """

    repository: Repository
    commit: str
    init: str = "pretrained"
    splits: tuple[tuple[str, str], ...] = ()

    @property
    def head(self) -> str:
        """The file that says what the others are."""
        return CARD if self.repository.kind == "dataset" else CONFIG

    def choose(self, names: Sequence[str], card: str) -> list[str]:
        """The files that are needed, the head among them where there is one.

        Args:
            names: all files of the commit.
            card: the text of its README.md.

        Raises:
            TrialError: kind `bad_data`, when the commit lacks what is wanted.
        """
        what = str(self.repository)
        if self.repository.kind == "model":
            return model_files(names, self.init, what)
        values = read_card(card, what)
        chosen = [self.head] if self.head in names else []
        for language, split in self.splits:
            chosen += split_files(names, values, language, split, what)
        return list(dict.fromkeys(chosen))


@dataclass(frozen=True)
class RemoteFile:
    """A file of a commit as the hub lists it.

    Attributes:
        name: its path in the repository.
        size: in bytes.
        algorithm: of `digest`: sha256, or git's sha1.
        digest: hexadecimal.
    """

    name: str
    size: int
    algorithm: str
    digest: str

    def is_whole(self, path: Path) -> bool:
        """Whether a file on the disk is this one, to the bit."""
        if self.algorithm == "sha256":
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == self.digest
        content = path.read_bytes()
        head = f"blob {len(content)}\0".encode()
        return hashlib.sha1(head + content, usedforsecurity=False).hexdigest() == self.digest


@dataclass(frozen=True)
class Found:
    """What the cache has of what is needed.

    Attributes:
        folder: of the commit's files.
        files: those that are needed, their sizes where the cache has the hub's list.
        missing: those of them that are not there.
    """

    folder: Path
    files: tuple[RemoteFile, ...]
    missing: tuple[RemoteFile, ...]


@dataclass(frozen=True)
class Obtained:
    """Files of a commit that are there.

    Attributes:
        folder: of the commit.
        names: their paths below it.
    """

    folder: Path
    names: Sequence[str]

    @classmethod
    def of(cls, found: Found) -> "Obtained":
        """What was looked for and found."""
        return cls(found.folder, [file.name for file in found.files])

    def card(self, what: str) -> Card:
        """What the head of the data set's README.md says; nothing where there is none.

        Args:
            what: the data set, in words.

        Raises:
            TrialError: kind `bad_data`, when it cannot be read.
        """
        file = self.folder / CARD
        text = file.read_text(encoding="utf-8", errors="replace") if CARD in self.names else ""
        return read_card(text, what)


def commit_of(model: ModelSpec) -> str | None:
    """The commit of a model of the hub; None for a folder.

    Raises:
        TrialError: as `resolve`.
    """
    if model.revision is None:
        return None
    return resolve(Repository("model", model.name), model.revision)


def load_arguments(model: ModelSpec, with_weights: bool = True) -> dict[str, Any]:
    """What transformers is told so that it loads a model's files from the cache and asks no hub.
    What is missing there comes from the hub first.

    Args:
        model: of the hub or in a folder.
        with_weights: whether weights are loaded, and not only config and tokenizer.

    Raises:
        TrialError: as `obtain`.
    """
    commit = commit_of(model)
    if commit is None:
        return {"revision": None}
    init = model.init if with_weights else "random"
    obtain(Want(Repository("model", model.name), commit, init=init))
    return {"revision": commit, "local_files_only": True}


def obtain(want: Want) -> Obtained:
    """All that is needed of a commit: from the cache, else by way of the hub.

    Raises:
        TrialError: kind `storage`, when the cache lacks something and the hub gives it not; kind
            `bad_data`, when the commit lacks it, or the hub refuses it.
    """
    found = survey(want)
    if found is None:
        old = _without_list(want)
        assert old is not None, "survey has found it"
        return old
    if found.missing:
        found = _complete(want, found, None)
    return Obtained.of(found)


def look(want: Want, cache: Path | None = None) -> Found | None:
    """What the cache has of what is needed; no hub is asked.

    Args:
        want: what is needed.
        cache: the hub's cache; None: that of this user.

    Returns:
        None where the cache has no list of the commit's files: what is missing cannot be told.

    Raises:
        TrialError: kind `bad_data`, when the commit lacks what is wanted; kind `storage`, when this
            user may not look.
    """
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    refuse_unreadable(want.repository.folder(cache))
    try:
        tree = get_cached_repo_tree(
            want.repository.name,
            repo_type=want.repository.kind,
            revision=want.commit,
            cache_dir=cache or hub_cache(),
        )
    except CachedRepoTreeNotFoundError:
        return None
    return _compare(want, [_remote_file(file) for file in tree], cache)


def show_progress(is_shown: bool) -> None:
    """Whether the hub's client shows bars while it downloads."""
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

    (enable_progress_bars if is_shown else disable_progress_bars)()


def list_files(want: Want) -> list[RemoteFile]:
    """All files of the commit, as the hub lists them.

    Raises:
        HubFaultError: the hub does not answer, or refuses.
    """
    refuse_unreachable(want.repository, want.commit)
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    def call() -> list[RemoteFile]:
        tree = HfApi().list_repo_tree(
            want.repository.name,
            recursive=True,
            revision=want.commit,
            repo_type=want.repository.kind,
        )
        return [_remote_file(entry) for entry in tree if isinstance(entry, RepoFile)]

    return _patiently(call, str(want.repository), want.commit)


def survey(want: Want) -> Found | None:
    """What the cache has of what is needed; the hub is asked where the cache lacks something, and
    its list and the head of the commit are kept.

    Returns:
        None where all seems to be there, the cache has no list, and the hub gives none.

    Raises:
        TrialError: as `obtain`.
    """
    found = look(want)
    if found is not None and not found.missing:
        return found
    is_old = found is None and _without_list(want) is not None
    fault = None
    if not is_offline():
        show_progress(False)
        try:
            if is_old:  # then a hub that is busy or refuses is not waited for
                ask_commit(want.repository, want.commit)
            return _survey_at_hub(want, None)
        except HubFaultError as error:
            fault = error
    if is_old:
        return None
    if fault is not None and not fault.is_away:
        raise fault
    why = "HF_HUB_OFFLINE is set" if fault is None else "the hub cannot be reached"
    raise TrialError("storage", f"{describe_lack(want, found)}, and {why}; {REMEDY}") from fault


def _survey_at_hub(want: Want, cache: Path | None) -> Found:
    """What the cache has of what the hub lists; the head is there then."""
    files = list_files(want)  # first, since the client hides why it got no list
    if any(file.name == want.head for file in files):
        _pull(want, [want.head], cache)
    return _compare(want, files, cache)


def download(want: Want, cache: Path | None = None) -> Found:
    """Get what is missing of a commit from the hub into its cache. Whole files that are there stay
    and are not asked for again.

    Args:
        want: what is needed.
        cache: the hub's cache; None: that of this user.

    Raises:
        HubFaultError: the hub, the way to it or the disk fails, or the hub refuses.
        TrialError: kind `bad_data`, when the commit lacks what is wanted.
    """
    return _complete(want, _survey_at_hub(want, cache), cache)


def _complete(want: Want, found: Found, cache: Path | None) -> Found:
    """Get what is missing."""
    if found.missing:
        _refuse_no_room(found)
        _pull(want, [file.name for file in found.missing], cache)
    missing = tuple(file for file in found.files if not (found.folder / file.name).is_file())
    found = Found(found.folder, found.files, missing)
    if missing:
        lack = describe_lack(want, found, cache)
        raise HubFaultError("storage", f"{lack}, though the hub lists them; try again later")
    return found


def mend(want: Want, found: Found, cache: Path | None = None) -> list[str]:
    """Compare each file with what the hub says of it, and get those again that differ.

    Returns:
        Names of files that were damaged.

    Raises:
        HubFaultError: as `download`; or a file is damaged once more.
    """
    damaged = [file for file in found.files if not file.is_whole(found.folder / file.name)]
    for file in damaged:
        path = found.folder / file.name
        try:
            path.resolve().unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        except OSError as error:
            raise explain(error, str(want.repository)) from error
    if damaged:
        _pull(want, [file.name for file in damaged], cache)
    for file in damaged:
        if not file.is_whole(found.folder / file.name):
            raise HubFaultError(
                "storage",
                f"{want.repository}: {file.name} came damaged from the hub, twice; try again later",
            )
    return [file.name for file in damaged]


def describe_lack(want: Want, found: Found | None, cache: Path | None = None) -> str:
    """What the cache lacks, in words."""
    place = name_place(cache or hub_cache())
    if found is None:
        return f"{want.repository} at {want.commit[:12]} is not in the hub's cache {place}"
    first = found.missing[0].name
    number = f"{len(found.missing)} of {len(found.files)} files, first {first},"
    are = "are" if len(found.missing) > 1 else "is"
    return f"{want.repository} at {want.commit[:12]}: {number} {are} not in the hub's cache {place}"


def _compare(want: Want, files: Sequence[RemoteFile], cache: Path | None) -> Found:
    """What is needed of the listed files, and what of it is not in the cache."""
    folder = want.repository.snapshot(want.commit, cache)
    by_name = {file.name: file for file in files}
    head = folder / want.head
    if want.head in by_name and not head.is_file():
        return Found(folder, (by_name[want.head],), (by_name[want.head],))
    is_card = want.head == CARD and want.head in by_name
    card = head.read_text(encoding="utf-8", errors="replace") if is_card else ""
    needed = tuple(by_name[name] for name in want.choose(list(by_name), card))
    missing = tuple(file for file in needed if not (folder / file.name).is_file())
    return Found(folder, needed, missing)


def _without_list(want: Want) -> Obtained | None:
    """What the cache has of a commit of which it has no list, as an earlier client left it, where
    what is there looks whole."""
    folder = want.repository.snapshot(want.commit)
    if not folder.is_dir():
        return None
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    card = folder / want.head
    text = card.read_text(encoding="utf-8", errors="replace") if want.head in names else ""
    try:
        return Obtained(folder, want.choose(names, text if want.head == CARD else ""))
    except TrialError:
        return None


def _remote_file(entry: Any) -> RemoteFile:
    if entry.lfs is not None:
        return RemoteFile(entry.path, entry.lfs.size or entry.size, "sha256", entry.lfs.sha256)
    return RemoteFile(entry.path, entry.size, "sha1", entry.blob_id)


def _pull(want: Want, names: Sequence[str], cache: Path | None) -> None:
    """Have the client download these files, several at a time."""
    from huggingface_hub import snapshot_download

    def call() -> None:
        snapshot_download(
            want.repository.name,
            repo_type=want.repository.kind,
            revision=want.commit,
            cache_dir=cache or hub_cache(),
            allow_patterns=[name.replace("[", "[[]") for name in names],
        )

    if names:
        _patiently(call, str(want.repository), want.commit)


def _refuse_no_room(found: Found) -> None:
    """Refuse a download that does not fit on the disk."""
    needed = sum(file.size for file in found.missing)
    place = next(path for path in (found.folder, *found.folder.parents) if path.exists())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise HubFaultError(
            "storage",
            f"{place}: {needed / 1e6:,.0f} MB are to come, {free / 1e6:,.0f} MB are free; make "
            "room, or set HF_HOME to a folder on another disk",
        )


def _patiently(call: Callable[[], Answer], what: str, revision: str) -> Answer:
    """What a call of the client gives, which is tried again where the hub is busy or fails.

    Raises:
        HubFaultError: it goes on like that, or fails in another way.
    """
    pause = PAUSE_S
    for last in (*[False] * (TRIES - 1), True):
        try:
            with _with_short_waits():
                return call()
        except TrialError:
            raise
        except Exception as error:
            fault = explain(error, what, revision)
            status, asked = _busy(error)
            if last or status is None:
                raise fault from error
            time.sleep(pause if asked is None else asked)
            pause *= 2
    raise AssertionError("the last try returns or raises")


def _busy(error: BaseException | None) -> tuple[int | None, float | None]:
    """The status of an answer that another try may change, and how long the hub asks to wait."""
    while error is not None:
        response = getattr(error, "response", None)
        status = getattr(response, "status_code", None)
        if status == 429 or (isinstance(status, int) and status >= 500):
            return status, _asked_wait(response)
        error = error.__cause__ or error.__context__
    return None, None


def _asked_wait(response: Any) -> float | None:
    """Seconds that the hub asks to wait before the next request; None where it does not say."""
    after = response.headers.get("Retry-After", "").strip()
    if after.isdigit():
        return float(after)
    reset = re.search(r";\s*r=0\s*;\s*t=(\d+)", response.headers.get("RateLimit", ""))
    return float(reset[1]) if reset else None


@contextlib.contextmanager
def _with_short_waits() -> Iterator[None]:
    """While the block runs, the client neither waits for long when the hub asks it to, nor for an
    answer without a limit, nor warns of each try."""
    from huggingface_hub import get_session

    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    # The client's session is that of all threads: each adds the hooks for itself, and takes away
    # as many.
    hooks = get_session().event_hooks
    ours = (("request", _limit_wait), ("response", _refuse_long_wait))
    for event, hook in ours:
        hooks[event].append(hook)
    try:
        yield
    finally:
        for event, hook in ours:
            hooks[event].remove(hook)
        logger.setLevel(level)


def _limit_wait(request: Any) -> None:
    """The client asks for lists of files without a limit of time, and waits for ever."""
    from huggingface_hub import constants

    for step, limit in request.extensions.get("timeout", {}).items():
        if limit is None:
            request.extensions["timeout"][step] = constants.HF_HUB_DOWNLOAD_TIMEOUT


def _refuse_long_wait(response: Any) -> None:
    """The client would sleep for as long as the hub says."""
    wait = _asked_wait(response) if response.status_code >= 400 else None
    if wait is not None and wait > LONGEST_WAIT_S:
        raise HubFaultError(
            "storage",
            f"the hub has had too many requests and asks to wait {wait:,.0f} s; try again then "
            "(what has been fetched stays)",
        )
