"""A kept model that somebody asks for: its trial, its weights and its tokenizer; and whether those
that rows name are there and whole."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from orchestrator.errors import SweepError
from orchestrator.results.schema import TABLES
from orchestrator.results.store import ResultStore
from orchestrator.results.verify import Problem
from workers.trial import BUILTIN_MODEL, TrialError

if TYPE_CHECKING:
    from workers.model.kept_model import KeptModel

MANY = ("spec_json", "asked_json", "error_traceback")
"""Columns of `trials` that nobody asks for here."""


@dataclass(frozen=True)
class OpenedModel:
    """A model that was kept.

    Attributes:
        row: of its trial in `trials`.
        kept: what its file holds.
        model: Hugging Face's own class, on a CPU, in evaluation mode.
        tokenizer: that of its encoder.
    """

    row: Mapping[str, Any]
    kept: "KeptModel"
    model: Any
    tokenizer: Any

    @property
    def tags(self) -> tuple[str, ...]:
        """What the model tells apart, by label."""
        return self.kept.spec.corpus.tags.tags


def open_model(store: ResultStore, trial: str, base: str | None = None) -> OpenedModel:
    """Load the model that a trial left.

    Args:
        store: the results.
        trial: the beginning of the trial's id, as long as it takes to tell which one.
        base: a folder with the encoder that it came from, where it is no more where it was.

    Raises:
        SweepError: there is no such trial, it left no model, or that is damaged; or its encoder is
            not there, or another one.
        StoreError: a file of the results is damaged, or of a later version.
    """
    row = find_trial(store, trial)
    kept = _read(store, row["trial_id"], row["model_digest"])
    from workers.data.tokenizer import load_tokenizer
    from workers.model.kept_model import load_kept_model

    spec = kept.spec.model if base is None else replace(kept.spec.model, name=base)
    try:
        model = load_kept_model(kept, base=base)
        tokenizer = load_tokenizer(spec, kept.spec.corpus)
    except TrialError as error:
        hint = "" if base or spec.name == BUILTIN_MODEL else "; --base FOLDER says where it is now"
        raise SweepError(f"{error}{hint}") from error
    return OpenedModel(row, kept, model, tokenizer)


def find_trial(store: ResultStore, trial: str) -> dict[str, Any]:
    """The row of a completed trial in `trials`, but for `MANY`.

    Args:
        store: the results.
        trial: the beginning of its id.

    Raises:
        SweepError: there is none, or more than one.
    """
    names = [name for name in TABLES["trials"].arrow_schema.names if name not in MANY]
    rows = store.read("trials", names).to_pylist()
    matching = [row for row in rows if trial and row["trial_id"].startswith(trial)]
    if len(matching) != 1:
        known = f"{len(matching)} trials" if matching else "no trial"
        raise SweepError(
            f"{trial!r}: {known} of {store.location}; give the id of one, or its beginning: "
            "`trials` of the results lists them, and so does `sparsweep plan SPEC --json`"
        )
    row: dict[str, Any] = matching[0]
    if row["status"] != "completed":
        raise SweepError(
            f"{row['trial_id']}: failed ({row['error_message']}), so it has no model; give another "
            "trial, or run it again with `sparsweep run SPEC --retry-failed`"
        )
    return row


def find_faulty_models(store: ResultStore, trial_ids: Iterable[str]) -> list[Problem]:
    """Read the models that the rows of these trials name, one after the other.

    Args:
        store: the results.
        trial_ids: the trials, by which problems are ordered.

    Returns:
        Models that are gone, damaged, or others than those that the scores are of; then, as no
        fault, the files that no row of the whole results names. Each says what to do. Of a trial
        whose row is damaged nothing is said.
    """
    asked, kept = list(trial_ids), store.model_ids()
    named = store.named_models({*asked, *kept})
    faults = ((trial_id, _fault(store, trial_id, named.get(trial_id))) for trial_id in asked)
    orphans = sorted(trial_id for trial_id in kept if named.get(trial_id, "") is None)
    return [
        *(Problem(trial_id, fault) for trial_id, fault in faults if fault is not None),
        *(Problem(trial_id, _orphan(store, trial_id), is_fault=False) for trial_id in orphans),
    ]


def _fault(store: ResultStore, trial_id: str, digest: str | None) -> str | None:
    """What is wrong with a model that a row names by its digest."""
    if digest is None:
        return None
    try:
        _read(store, trial_id, digest).refuse_other_recipe()
    except (SweepError, TrialError) as error:
        return str(error)
    return None


def _orphan(store: ResultStore, trial_id: str) -> str:
    return (
        f"{store.model(trial_id)}: no completed trial of these results names this model; where no "
        "driver is running, remove the file"
    )


def _read(store: ResultStore, trial_id: str, digest: str | None) -> "KeptModel":
    from workers.model.kept_model import REMEDY, read_model_of

    location = store.model(trial_id)
    try:
        if digest is None and not location.is_file():
            raise SweepError(
                f"{location}: no model of trial {trial_id} was kept; set models.keep in the sweep "
                "file (final, or best with selection best_epoch), then `sparsweep run SPEC "
                "--rerun-lacking` trains it again"
            )
        return read_model_of(location, trial_id, digest)
    except TrialError as error:
        raise SweepError(str(error)) from error
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split()).removeprefix(f"{location}: ")
        raise SweepError(
            f"{location}: the kept model cannot be read ({reason}); mend that, or {REMEDY}"
        ) from error
