"""Which commit of a repository is meant: by the hub, or by its cache on this machine.

A branch moves, a commit does not. So a revision is resolved to its commit once, where a sweep is
planned, and everything else goes by the commit. Nothing here loads torch.
"""

import errno
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from workers.hub.faults import UNREACHABLE, HubFaultError, explain, name_place
from workers.trial import TrialError
from workers.visits import visiting

ANSWERS_WITHIN_S = 3.0
"""How long a question for a commit waits for the hub."""

ASKED_AGAIN_AFTER_S = 60.0
"""For so long a hub that could not be reached is not asked again by this process."""

REMEDY = "run `sparsweep fetch SPEC` where the hub can be reached"

_COMMIT = re.compile(r"[0-9a-f]{40}")
_away: dict[str, float] = {}


@dataclass(frozen=True)
class Repository:
    """A model or a data set of the hub.

    Attributes:
        kind: which of them.
        name: as in `google-bert/bert-base-multilingual-cased`.
    """

    kind: Literal["model", "dataset"]
    name: str

    def __str__(self) -> str:
        return f"{'model' if self.kind == 'model' else 'corpus'}.name: {self.name}"

    def folder(self, cache: Path | None = None) -> Path:
        """Where the hub's client keeps it.

        Args:
            cache: the hub's cache; None: that of this user.
        """
        return (cache or hub_cache()) / f"{self.kind}s--{self.name.replace('/', '--')}"

    def snapshot(self, commit: str, cache: Path | None = None) -> Path:
        """Where the client keeps the files of a commit; see `folder`."""
        return self.folder(cache) / "snapshots" / commit


def hub_cache() -> Path:
    """The cache of the hub's client: `HF_HUB_CACHE`, else `HF_HOME/hub`."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def hub_endpoint() -> str:
    """The hub's address: `HF_ENDPOINT`, else that of Hugging Face."""
    from huggingface_hub import constants

    return constants.ENDPOINT


def is_offline() -> bool:
    """Whether this process shall ask no hub: `HF_HUB_OFFLINE` or `TRANSFORMERS_OFFLINE`."""
    from huggingface_hub import constants

    return constants.is_offline_mode()


def is_commit(revision: str | None) -> bool:
    """Whether a revision is a whole commit: 40 hexadecimal digits."""
    return revision is not None and _COMMIT.fullmatch(revision) is not None


def use_cache(folder: Path) -> None:
    """Let this process look for files of the hub in a folder, as if `HF_HUB_CACHE` had named it."""
    from huggingface_hub import constants

    os.environ["HF_HUB_CACHE"] = constants.HF_HUB_CACHE = str(folder)


def resolve(repository: Repository, revision: str, cache: Path | None = None) -> str:
    """The commit of a revision: the hub's answer, and where there is none, what the cache knows.

    Args:
        repository: whose.
        revision: a commit, which is taken as it is, or a branch or tag.
        cache: the hub's cache; None: that of this user.

    Raises:
        TrialError: kind `storage`, when neither hub nor cache answers; kind `bad_data`, when the
            hub has no such repository or revision, or shows it to others only. The message is one
            line and says what to do.
    """
    if is_commit(revision):
        return revision
    kept = cached_commit(repository, revision, cache)
    if is_offline():
        if kept is not None:
            return kept
        place = name_place(repository.folder(cache).parent)
        raise TrialError(
            "storage",
            f"{repository}: {revision} is not in the hub's cache {place}, and HF_HUB_OFFLINE is "
            f"set; {REMEDY}",
        )
    try:
        return ask_commit(repository, revision)
    except HubFaultError as fault:
        if kept is not None and not fault.is_about_revision:
            return kept
        raise


def cached_commit(repository: Repository, revision: str, cache: Path | None = None) -> str | None:
    """What a revision was when it was fetched last; None where it was not. No hub is asked.

    Raises:
        TrialError: kind `storage`, when this user may not look.
    """
    file = repository.folder(cache) / "refs" / revision
    try:
        with visiting(file):
            text = file.read_text(encoding="ascii").strip()
    except PermissionError as error:
        raise explain(error, str(repository)) from error
    except (OSError, ValueError):
        return None
    return text if is_commit(text) else None


def ask_commit(repository: Repository, revision: str) -> str:
    """The hub's answer to what a revision is now.

    Raises:
        HubFaultError: it does not answer within seconds, or refuses.
    """
    from huggingface_hub import HfApi

    since = _away.get(hub_endpoint())
    if since is not None and time.monotonic() - since < ASKED_AGAIN_AFTER_S:
        raise HubFaultError(
            "storage",
            f"{repository}: {UNREACHABLE.format(name_place(hub_endpoint()))}",
            is_away=True,
        )
    try:
        info = HfApi().repo_info(
            repository.name,
            repo_type=repository.kind,
            revision=revision,
            timeout=ANSWERS_WITHIN_S,
            expand=["sha"],  # type: ignore[arg-type]
        )
    except Exception as error:
        fault = explain(error, str(repository), revision)
        if fault.is_away:
            _away[hub_endpoint()] = time.monotonic()
        raise fault from error
    if not is_commit(info.sha):
        raise HubFaultError(
            "storage", f"{repository}: the hub says that {revision} is {info.sha!r}, no commit"
        )
    return str(info.sha)


def refuse_unreachable(repository: Repository, commit: str) -> None:
    """Ask the hub something small, before a question for which its client sets no limit of time.
    Any answer will do.

    Raises:
        HubFaultError: there is none within seconds.
    """
    try:
        ask_commit(repository, commit)
    except HubFaultError as fault:
        if fault.is_away:
            raise


def keep_revision(
    repository: Repository, revision: str, commit: str, cache: Path | None = None
) -> None:
    """Let the cache remember what a revision is, as the hub's client does: for machines without a
    network.

    Args:
        repository: whose.
        revision: a branch or tag; of a commit there is nothing to remember.
        commit: what it is now.
        cache: the hub's cache; None: that of this user.

    Raises:
        HubFaultError: it cannot be written.
    """
    if is_commit(revision):
        return
    file = repository.folder(cache) / "refs" / revision
    try:
        with visiting(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            temporary = file.with_name(f"{file.name}.{os.getpid()}.tmp")
            temporary.write_text(commit, encoding="ascii")
            temporary.replace(file)
    except OSError as error:
        raise explain(error, str(repository)) from error


def refuse_unreadable(place: Path) -> None:
    """Refuse a cache that this user may not look into.

    Raises:
        HubFaultError: kind `storage`.
    """
    if place.exists() and not os.access(place, os.R_OK | os.X_OK):
        error = PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(place))
        raise explain(error, "the hub's cache")
