"""What the errors of the hub's client mean, in one line with the remedy.

The client speaks of a fault in several lines, by classes that differ between its versions, and
wraps what it was told. So the answer itself is looked for in what an error came from: its status
and what the hub says of it in headers.
"""

import errno
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from workers.storage import is_full_disk, is_storage_fault
from workers.trial import ErrorKind, TrialError, first_line

UNREACHABLE = "the hub at {} cannot be reached; see whether there is a network, then try again"
LOG_IN = "`hf auth login`, or set HF_TOKEN"
OF_NETWORK = (
    *("Timeout", "TimeoutException", "ConnectError", "ConnectionError", "ProtocolError"),
    *("ReadError", "WriteError", "NetworkError", "ProxyError", "OfflineModeIsEnabled"),
)
"""How the client's libraries call errors of the way to the hub."""


class HubFaultError(TrialError):
    """The hub, the way to it or its cache fails, or it refuses.

    Attributes:
        is_away: it could not be reached.
        is_about_revision: it answered that there is no such revision or repository.
        is_about_token: it knows no user of this token, or lets that one not read this.
    """

    def __init__(
        self,
        kind: ErrorKind,
        message: str,
        *,
        is_away: bool = False,
        is_about_revision: bool = False,
        is_about_token: bool = False,
    ):
        super().__init__(kind, message)
        self.is_away, self.is_about_revision = is_away, is_about_revision
        self.is_about_token = is_about_token


def explain(error: Exception, what: str, revision: str | None = None) -> HubFaultError:
    """What an error means.

    Args:
        error: as the hub's client raised it.
        what: what was wanted, as in `model.name: some/encoder`.
        revision: of it.
    """
    for cause in _chain(error):
        if isinstance(cause, HubFaultError):
            return cause
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if isinstance(status, int):
            return _of_answer(cause, status, what, revision)
    for cause in _chain(error):
        if isinstance(cause, OSError) and (fault := _of_disk(cause, what)):
            return fault
        if _is_of_network(cause):
            place = name_place(_endpoint())
            return HubFaultError("storage", f"{what}: {UNREACHABLE.format(place)}", is_away=True)
    if isinstance(error, ValueError) and "repo id" in str(error).lower():
        name = what.partition(": ")[2]
        return HubFaultError(
            "bad_data",
            f"{what}: {name!r} is no name of a repository; give one such as owner/name, or a "
            "folder that is there",
            is_about_revision=True,
        )
    return HubFaultError("storage", f"{what}: {first_line(error)[:300]}")


def name_place(place: str | Path) -> str:
    """A folder or an address, without a name or password that stands in it."""
    text = str(place)
    parts = urlsplit(text)
    if "@" not in parts.netloc:
        return text
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _of_answer(error: BaseException, status: int, what: str, revision: str | None) -> HubFaultError:
    """What the hub's answer means."""
    headers = getattr(getattr(error, "response", None), "headers", {})
    code, said = headers.get("X-Error-Code", ""), headers.get("X-Error-Message", "")
    has_token = _has_token()
    if status == 401 and has_token and code != "GatedRepo":
        return HubFaultError(
            "bad_data",
            f"{what}: the hub refuses the token (expired, wrong, or of another who may not read "
            f"it); {LOG_IN}",
            is_about_token=True,
        )
    if code == "GatedRepo" or status == 403:
        who = "the user of this token is not among those" if has_token else "no token is set"
        return HubFaultError(
            "bad_data",
            f"{what}: is open only to those whom its owner let in, and {who}; ask for access on "
            f"its page on the hub, then {LOG_IN}",
        )
    if code in ("RevisionNotFound", "EntryNotFound"):
        asked = "" if revision is None else f" {revision!r}"
        lacks = "revision" if code == "RevisionNotFound" else "file"
        return HubFaultError(
            "bad_data",
            f"{what}: the hub has no {lacks}{asked} of it; give a commit, tag or branch that is "
            "there",
            is_about_revision=True,
        )
    if status in (401, 404):
        token = "this token's user may not see it" if has_token else "is private, no token is set"
        return HubFaultError(
            "bad_data",
            f"{what}: is not on the hub, or {token}; check the name, or {LOG_IN}",
            is_about_revision=status == 404,
        )
    if status == 429:
        return HubFaultError(
            "storage", f"{what}: the hub has had too many requests; try again later"
        )
    said = f" ({said})" if said else ""
    kind: ErrorKind = "storage" if status >= 500 or status == 408 else "bad_data"
    return HubFaultError(
        kind,
        f"{what}: the hub at {name_place(_endpoint())} answers {status}{said}; try again later",
    )


def _of_disk(error: OSError, what: str) -> HubFaultError | None:
    """What an error of the cache's disk means; None for one of the network."""
    place = error.filename or "the hub's cache"
    if is_full_disk(error):
        return HubFaultError("storage", f"{what}: {place}: the disk is full; make room, then go on")
    if isinstance(error, PermissionError) or error.errno in (errno.EROFS, errno.EPERM):
        return HubFaultError(
            "storage",
            f"{what}: {place}: {error.strerror}; set HF_HOME to a folder of your own, or ask its "
            "owner",
        )
    if error.filename is not None and is_storage_fault(error):
        return HubFaultError("storage", f"{what}: {place}: {error.strerror}")
    return None


def _is_of_network(error: BaseException) -> bool:
    is_named = type(error).__name__.endswith(OF_NETWORK)
    return is_named or isinstance(error, ConnectionError | TimeoutError)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _endpoint() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT


def _has_token() -> bool:
    """Whether the hub's client has a token; it is not looked at."""
    from huggingface_hub import get_token

    return bool(get_token())
