"""What a sweep needs of the hub: which commits its revisions are, which files of them, and what of
these is not in the hub's cache yet.

A revision is resolved once, here, and the commit takes its place in the sweep: so it is part of
every trial's identity, and a job loads what was planned, whatever a branch has become since. There
are two exceptions. Trials of earlier versions were stored under the name of a branch; where results
hold such trials, and nothing says that they loaded another commit, the sweep goes on under that
name. And where neither the hub nor its cache answers, a sweep whose results are all of one commit
is one of that commit.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich import filesize

from orchestrator.errors import SpecError
from orchestrator.planning.plan import PlannedTrial
from orchestrator.results.store import ResultStore
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.wording import counted, duration
from workers.hub.repository import (
    Repository,
    hub_cache,
    is_commit,
    is_offline,
    resolve,
    use_cache,
)
from workers.hub.snapshots import Found, Want, survey
from workers.model.folder import is_folder_name
from workers.trial import TrialError, TrialSpec

if TYPE_CHECKING:
    from cluster.profile_fields import ClusterProfile

log = logging.getLogger(__name__)

Part = Literal["model", "corpus"]

BITS_PER_S = 100e6
"""What a download is told to take is told at this rate."""

READ = (
    *("status", "model_name", "model_revision", "model_commit"),
    *("corpus_name", "corpus_revision"),
)
"""Columns of trials that are looked at."""


@dataclass(frozen=True)
class Pinned:
    """A sweep whose revisions are commits.

    Attributes:
        sweep: with commits in place of the revisions that could be resolved.
        notes: what is to be said of it.
    """

    sweep: SweepSpec
    notes: tuple[str, ...] = ()


def pin(sweep: SweepSpec, store: ResultStore | None, *, goes_on: bool = False) -> Pinned:
    """Resolve the revisions of a sweep's corpus and model to commits.

    Args:
        sweep: as it was written.
        store: its results; None: they are not looked at.
        goes_on: whether a revision that the hub does not have or show is taken as one of which
            it says nothing, and that is logged.

    Raises:
        SpecError: the hub has no such repository or revision, or does not show it.
        StoreError: results are damaged or of a newer version.
    """
    of_hub = {
        part: repository
        for part, repository in repositories(sweep).items()
        if not is_commit(_asked(sweep, part))
    }
    if not of_hub:
        return Pinned(sweep)
    rows = store.read("trials", READ).to_pylist() if store is not None else []
    commits: dict[Part, str] = {}
    notes = []
    for part, repository in of_hub.items():
        known = _known(rows, part, repository.name)
        try:
            commit, said = _choose(part, repository, _asked(sweep, part), known)
        except SpecError as error:
            if not goes_on:
                raise
            commit, said = _choose_refused(part, _asked(sweep, part), known, str(error))
        notes += said
        if commit is not None:
            commits[part] = commit
    return Pinned(with_revisions(sweep, commits), tuple(notes))


def with_revisions(sweep: SweepSpec, commits: Mapping[Part, str]) -> SweepSpec:
    """The sweep with these commits in place of its revisions."""
    changes: dict[str, Any] = {
        part: getattr(sweep, part).model_copy(update={"revision": commit})
        for part, commit in commits.items()
    }
    return sweep.model_copy(update=changes)


def repositories(sweep: SweepSpec) -> dict[Part, Repository]:
    """The repositories of the hub that a sweep names."""
    found: dict[Part, Repository] = {}
    name = sweep.model.name
    if not name.startswith("builtin:") and not is_folder_name(name):
        found["model"] = Repository("model", name)
    if sweep.corpus.kind == "hub":
        found["corpus"] = Repository("dataset", sweep.corpus.name)
    return found


def wants(planned: Sequence[PlannedTrial]) -> list[Want]:
    """What trials read of the hub.

    Raises:
        TrialError: a trial goes by the name of a branch, and neither hub nor cache knows it.
    """
    models: dict[tuple[str, str], str] = {}
    corpora: dict[tuple[str, str], dict[tuple[str, str], None]] = {}
    for spec in (trial.spec for trial in planned):
        if spec.model.revision is not None:
            models[spec.model.name, spec.model.revision] = spec.model.init
        if spec.corpus.kind == "hub":
            key = (str(spec.corpus.name), str(spec.corpus.revision))
            corpora.setdefault(key, {}).update(dict.fromkeys(_splits(spec)))
    found = []
    for (name, revision), init in models.items():
        repository = Repository("model", name)
        found.append(Want(repository, resolve(repository, revision), init=init))
    for (name, revision), splits in corpora.items():
        repository = Repository("dataset", name)
        commit = resolve(repository, revision)
        found.append(Want(repository, commit, splits=tuple(sorted(splits))))
    return found


def files_lacking(planned: Sequence[PlannedTrial]) -> list[tuple[Want, Found]]:
    """What trials read of the hub and the hub's cache on this machine lacks.

    Raises:
        SpecError: that cannot be told, or the hub refuses it, in a line that says what to do.
    """
    try:
        surveyed = [(want, survey(want)) for want in wants(planned)]
    except TrialError as error:  # bad input for a job: one that comes back would find no more
        raise SpecError(str(error)) from error
    return [(want, found) for want, found in surveyed if found is not None and found.missing]


def look_where_jobs_do(profile: "ClusterProfile") -> None:
    """Let this process look for files of the hub where jobs of a cluster do, if it sees the
    folder."""
    if profile.shares_files and profile.hub_cache is not None:
        use_cache(Path(profile.hub_cache))


def say_what_lacks(
    planned: Sequence[PlannedTrial], name: str, profile: "ClusterProfile", fetch: str
) -> list[str]:
    """What is to be said of files of the hub before trials go to a cluster.

    Args:
        planned: the trials.
        name: what the user calls the cluster.
        profile: the cluster; this process looks where its jobs do.
        fetch: the command that brings what lacks.

    Raises:
        SpecError: the jobs would find no such files; or what lacks cannot be told, or the hub
            refuses it.
    """
    if not profile.shares_files:
        return _say_unseen(planned, name, profile, fetch)
    lacking = files_lacking(planned)
    if not lacking:
        return []
    if profile.offline:
        raise SpecError(
            f"{name}: its nodes have no internet (offline), and {hub_cache()}, where they look, "
            f"lacks {describe_files(lacking)}; run `{fetch}` first"
        )
    return [
        f"not in the hub's cache yet: {describe_files(lacking)}; the job fetches it where its "
        f"nodes reach the hub, else run `{fetch}` before it starts"
    ]


def _say_unseen(
    planned: Sequence[PlannedTrial], name: str, profile: "ClusterProfile", fetch: str
) -> list[str]:
    """As `say_what_lacks`, of a cluster whose folders are not seen from here."""
    try:
        wanted = wants(planned)
    except TrialError as error:
        raise SpecError(str(error)) from error
    if not wanted or not profile.offline:
        return []
    names = " and ".join(want.repository.name for want in wanted)
    if profile.hub_cache is None:
        raise SpecError(
            f"{name}: its nodes have no internet (offline), and the profile does not say where "
            f"they find {names}; copy what `{fetch}` brings to where they see it, and set "
            "hub_cache to that folder"
        )
    return [
        f"{name}: its nodes have no internet, and whether they find {names} in {profile.hub_cache} "
        f"is not seen from here; `{fetch}` brings what belongs there"
    ]


def describe_files(lacking: Sequence[tuple[Want, Found]]) -> str:
    """How much is to be fetched, and how long that takes."""
    parts = []
    num_bytes = 0
    for want, found in lacking:
        size = sum(file.size for file in found.missing)
        number = counted(len(found.missing), "file")
        parts.append(f"{number}, {filesize.decimal(size)} of {want.repository.name}")
        num_bytes += size
    takes = duration(8 * num_bytes / BITS_PER_S)
    return f"{' and '.join(parts)} ({takes} at {BITS_PER_S / 1e6:.0f} Mbit/s)"


def _splits(spec: TrialSpec) -> list[tuple[str, str]]:
    """Languages with their splits that a trial reads."""
    scored, robustness = spec.evaluation.splits, spec.robustness
    splits = [(code, split) for code in spec.languages for split in ("train", *scored)]
    splits += [(code, split) for code in spec.evaluation.languages for split in scored]
    if robustness is not None:
        donors = {code for pool in robustness.pools for code in pool.donors}
        splits += [(code, split) for code in donors for split in robustness.donor_splits]
    return splits


def _asked(sweep: SweepSpec, part: Part) -> str:
    return sweep.model.revision if part == "model" else sweep.corpus.revision


def _known(
    rows: Sequence[Mapping[str, Any]], part: Part, name: str
) -> dict[str, dict[str | None, int]]:
    """Completed trials on a repository: by the revision that they are stored under, the commits
    that they loaded, and how many did."""
    known: dict[str, dict[str | None, int]] = {}
    for row in rows:
        revision = row[f"{part}_revision"]
        if row["status"] != "completed" or row[f"{part}_name"] != name or revision is None:
            continue
        loaded = row["model_commit"] if part == "model" else None
        counts = known.setdefault(revision, {})
        counts[loaded] = counts.get(loaded, 0) + 1
    return known


def _choose(
    part: Part,
    repository: Repository,
    asked: str,
    known: Mapping[str, Mapping[str | None, int]],
) -> tuple[str | None, list[str]]:
    """The commit of a revision, or None where it stays as it was written; and what is to be said.

    Raises:
        SpecError: the hub has no such repository or revision, or does not show it.
    """
    try:
        commit = resolve(repository, asked)
    except TrialError as error:
        if error.kind != "storage":
            raise SpecError(str(error)) from error
        return _choose_unasked(part, asked, known)
    before = known.get(asked, {})
    if before and set(before) <= {commit, None}:
        return None, []
    here = f"{part}.revision: {asked} of {repository.name} is commit {commit} now"
    return commit, [f"{here}; {other}" for other in _others(part, asked, commit, known)]


def _choose_unasked(
    part: Part, asked: str, known: Mapping[str, Mapping[str | None, int]]
) -> tuple[str | None, list[str]]:
    """As `_choose`, where neither hub nor cache answers."""
    commit = _commit_of_results(asked, known)
    if commit is None:
        return None, []
    silent = "HF_HUB_OFFLINE is set" if is_offline() else "the hub does not answer"
    note = f"{part}.revision: {asked} is taken as {commit}, of which the results are ({silent})"
    return commit, [note]


def _choose_refused(
    part: Part, asked: str, known: Mapping[str, Mapping[str | None, int]], fault: str
) -> tuple[str | None, list[str]]:
    """As `_choose`, where the hub refuses, for who only asks how trials stand."""
    commit = _commit_of_results(asked, known)
    taken = f"{commit}, of which the results are"
    if commit is None:
        taken = "it is written, so that trials may count as new, and the sweep as changed"
    log.warning("%s; %s.revision: %s is taken as %s", fault, part, asked, taken)
    return commit, []


def _commit_of_results(asked: str, known: Mapping[str, Mapping[str | None, int]]) -> str | None:
    """The commit that all results are of; None where there is no such one."""
    commits = [revision for revision in known if is_commit(revision)]
    return None if asked in known or len(commits) != 1 else commits[0]


def _others(
    part: Part, asked: str, commit: str, known: Mapping[str, Mapping[str | None, int]]
) -> list[str]:
    """What completed trials on another commit are, in words."""
    lines = []
    for revision, loaded in known.items():
        if is_commit(revision) and revision != commit:
            number = counted(sum(loaded.values()), "completed trial")
            lines.append(
                f"{number} on commit {revision} are others: set {part}.revision={revision} to go "
                "on with them"
            )
    for other, number_of in known.get(asked, {}).items():
        if other not in (commit, None):
            number = counted(number_of, "completed trial")
            lines.append(f"{number} of an earlier version loaded commit {other} and are others")
    return lines
