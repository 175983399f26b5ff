"""The command that brings what a sweep needs of the hub to this machine, or into a folder."""

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich import filesize
from rich.console import Console

from cluster.contract import DONE
from orchestrator.cli.shared import load_sweep, open_console
from orchestrator.errors import SweepError
from orchestrator.planning.hub import repositories, wants, with_revisions
from orchestrator.planning.plan import make_plan
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.wording import counted, duration
from workers.hub.repository import (
    hub_cache,
    is_offline,
    keep_revision,
    resolve,
)
from workers.hub.snapshots import Want, download, look, mend, show_progress
from workers.trial import TrialError


class HubAwayError(SweepError, TimeoutError):
    """The hub, the way to it or its cache fails; nothing says that the wrong was asked for."""


def fetch(args: argparse.Namespace) -> int:
    """Download what a sweep needs of the hub, look whether it is whole, and say where it lies."""
    sweep = load_sweep(args)
    found = repositories(sweep)
    console = open_console()
    if not found:
        console.print(f"{sweep.name}: needs nothing of the hub", soft_wrap=True)
        return DONE
    if is_offline():
        raise SweepError("HF_HUB_OFFLINE is set, so nothing can be fetched; unset it for `fetch`")
    cache = None if args.to is None else Path(args.to).expanduser().absolute()
    show_progress(sys.stderr.isatty())
    try:
        pinned = _pin(sweep, cache, console)
        _fetch(_wants(pinned), cache, console)
        for part, repository in found.items():
            asked, commit = getattr(sweep, part).revision, getattr(pinned, part).revision
            keep_revision(repository, asked, commit, cache)
    except TrialError as error:
        is_away = error.kind == "storage"
        raise (HubAwayError if is_away else SweepError)(str(error)) from error
    _say_where(cache, console)
    return DONE


def _pin(sweep: SweepSpec, cache: Path | None, console: Console) -> SweepSpec:
    """The sweep with the commits that its revisions are now."""
    commits = {}
    for part, repository in repositories(sweep).items():
        asked = getattr(sweep, part).revision
        commits[part] = resolve(repository, asked, cache)
        console.print(f"{repository}: {asked} is commit {commits[part]}", soft_wrap=True)
    return with_revisions(sweep, commits)


def _wants(sweep: SweepSpec) -> list[Want]:
    """What the sweep reads of the hub; a corpus in a folder need not be on this machine."""
    if sweep.corpus.kind == "hub":
        return wants(make_plan(sweep))
    model = repositories(sweep)["model"]
    return [Want(model, sweep.model.revision, init=sweep.model.init)]


def _fetch(wanted: Sequence[Want], cache: Path | None, console: Console) -> None:
    began = time.monotonic()
    num_fetched = num_bytes = num_there = bytes_there = 0
    for want in wanted:
        before = look(want, cache)
        missing = None if before is None else {file.name for file in before.missing}
        found = before if missing == set() and before else download(want, cache)
        damaged = mend(want, found, cache)
        for name in damaged:
            console.print(f"{want.repository}: {name} was damaged, and is new now", soft_wrap=True)
        for file in found.files:
            is_new = missing is None or file.name in missing or file.name in damaged
            num_fetched += is_new
            num_bytes += file.size * is_new
            num_there += not is_new
            bytes_there += file.size * (not is_new)
    there = f"; {counted(num_there, 'file')}, {filesize.decimal(bytes_there)}, were there"
    console.print(
        f"fetched {counted(num_fetched, 'file')}, {filesize.decimal(num_bytes)}, in "
        f"{duration(time.monotonic() - began)}{there if num_there else ''}; all are, to the bit, "
        "what the hub lists",
        soft_wrap=True,
    )


def _say_where(cache: Path | None, console: Console) -> None:
    """What to set where jobs run."""
    place = hub_cache() if cache is None else cache
    settings = [] if cache is None else [f"HF_HUB_CACHE={place}"]
    export = shlex.join(["export", *settings, "HF_HUB_OFFLINE=1"])
    console.print(f"They lie in {place}. Where jobs run without internet:", soft_wrap=True)
    console.print(export, soft_wrap=True)
