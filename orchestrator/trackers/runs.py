"""What a tracker is given of a trial: settings, curve and numbers, from committed rows alone.

Names of numbers are those of all trackers: `train/loss` and the like follow the steps; `test/f1` is
the micro F1 on all test sentences, and `test/f1-PER`, `test/f1-unseen` and `test/f1-lenient` are
those of an entity type, of a subset, and by a rule of matching that is not the sweep's.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import groupby
from statistics import fmean
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.results.schema import SETTINGS
from orchestrator.results.store import ResultStore
from workers.trial import describe_place, digest

FORMAT = 1
"""Raise it where the same rows make another run: runs that are there are then replaced."""

PLACE = ("language", "target_sparsity", "embedding_sparsity", "seed")
"""Columns that tell a sweep's trials apart."""

CHOSEN = tuple(
    column.name for column in SETTINGS if not column.name.endswith(("fingerprint", "fingerprints"))
)
"""Settings that are shown: those that somebody chose."""

MEASURED = (
    *("achieved_sparsity", "achieved_embedding_sparsity", "overall_sparsity", "train_s"),
    *("evaluate_s", "subwords_per_s", "peak_memory_gib", "peak_gpu_memory_gib"),
)
"""Numbers of `trials` that are shown, under their own names."""

FACTS = ("sweep", "status", "recipe_version", "device_name", "provenance_commit", "error_message")
"""What else is told of a trial, where a tracker has room for words."""

OF_TRIALS = (
    *("trial_id", "regime", "languages", "started_at", "ended_at", "load_s"),
    *("num_steps", *PLACE, *CHOSEN, *MEASURED, *FACTS),
)
CURVE = ("loss", "lr", "sparsity", "grad_norm")
MEASURES = ("f1", "precision", "recall")
OF_SCORES = ("trial_id", "language", "split", "subset", "entity_type", "matching", *MEASURES)
OF_ROBUSTNESS = ("trial_id", "language", "perturbation", "entity_type", "matching", "f1")

Setting = str | bool | int | float
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Point:
    """Numbers of a training step.

    Attributes:
        step: optimizer steps done.
        time_s: about when, in seconds since 1970.
        values: by name.
    """

    step: int
    time_s: float
    values: Mapping[str, float]


@dataclass(frozen=True)
class TrackedRun:
    """A trial as a tracker keeps it.

    Attributes:
        trial_id: the trial.
        name: what it is, for people.
        started_s: when it began, in seconds since 1970.
        ended_s: when it ended.
        is_completed: or it failed.
        last_step: optimizer steps of the whole training; 0 of a failed trial.
        settings: by the names that they have in a sweep file, with its section.
        curve: in the order of steps.
        numbers: of the end, by name.
        facts: words by name.
    """

    trial_id: str
    name: str
    started_s: float
    ended_s: float
    is_completed: bool
    last_step: int
    settings: Mapping[str, Setting]
    curve: Sequence[Point] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits, which are others where anything of the run is."""
        return digest([FORMAT, asdict(self)])


def read_runs(store: ResultStore) -> Iterator[TrackedRun]:
    """Every trial that has ended, in the order of the table `trials`.

    Raises:
        StoreError: a file is damaged, or of a later version.
    """
    tables = store.read_together(
        {
            "trials": OF_TRIALS,
            "curves": ("trial_id", "step", *CURVE),
            "scores": OF_SCORES,
            "robustness": (*OF_ROBUSTNESS, "status"),
        }
    )
    trials, robustness = tables["trials"], tables["robustness"]
    curves, scores = _by_trial(tables["curves"]), _by_trial(tables["scores"])
    perturbed = _by_trial(robustness.filter(pc.field("status") == "scored"))
    for row in trials.to_pylist():
        trial_id = row["trial_id"]
        parts = (rows.get(trial_id, trials[:0]) for rows in (curves, scores, perturbed))
        yield _make_run(row, *(part.to_pylist() for part in parts))


def _by_trial(rows: pa.Table) -> dict[str, pa.Table]:
    """The rows of each trial, in the order that they have."""
    rows = rows.sort_by("trial_id")  # rows of one trial stay in their order
    parts, start = {}, 0
    for trial_id, same in groupby(rows["trial_id"].to_pylist()):
        length = len(list(same))
        parts[trial_id] = rows.slice(start, length)
        start += length
    return parts


def _make_run(
    row: Row, curve: Sequence[Row], scores: Sequence[Row], perturbed: Sequence[Row]
) -> TrackedRun:
    measured = {name: row[name] for name in MEASURED if row[name] is not None}
    numbers = _score_numbers(row, scores) | _robustness_numbers(row, perturbed)
    return TrackedRun(
        trial_id=row["trial_id"],
        name=describe_place(*(row[name] for name in PLACE)),
        started_s=row["started_at"].timestamp(),
        ended_s=row["ended_at"].timestamp(),
        is_completed=row["status"] == "completed",
        last_step=row["num_steps"] or 0,
        settings=_settings(row),
        curve=_curve(row, curve),
        numbers=numbers | measured,
        facts={name: str(row[name]) for name in FACTS if row[name] is not None},
    )


def _settings(row: Row) -> dict[str, Setting]:
    """Lists are told in words; what does not apply is left out."""
    settings = {}
    for name in ("regime", *PLACE, *CHOSEN):
        value = row[name]
        if isinstance(value, list):
            value = ", ".join(map(str, value))
        if value is not None:
            settings[name] = value
    return settings


def _curve(row: Row, points: Sequence[Row]) -> list[Point]:
    """Rows have no times: the steps are spread evenly over the time after loading."""
    start_s = row["started_at"].timestamp() + (row["load_s"] or 0.0)
    span_s = max(row["ended_at"].timestamp() - start_s, 0.0)
    num_steps = row["num_steps"] or 1
    return [
        Point(
            step=point["step"],
            time_s=start_s + span_s * point["step"] / num_steps,
            values={f"train/{name}": point[name] for name in CURVE},
        )
        for point in sorted(points, key=lambda point: point["step"])
    ]


def _score_numbers(row: Row, scores: Sequence[Row]) -> dict[str, float]:
    """Precision and recall only of all entities and sentences by the sweep's rule."""
    found: dict[str, dict[str, float]] = {}
    for score in scores:
        usual = {"subset": "all", "entity_type": "micro", "matching": row["evaluation_matching"]}
        marks = "".join(f"-{score[name]}" for name in usual if score[name] != usual[name])
        for measure in MEASURES[:1] if marks else MEASURES:
            if score[measure] is not None:
                by_language = found.setdefault(f"{score['split']}/{measure}{marks}", {})
                by_language[score["language"]] = score[measure]
    return _over_languages(row, found)


def _robustness_numbers(row: Row, scores: Sequence[Row]) -> dict[str, float]:
    """Micro F1 by the sweep's rule, as the mean over draws."""
    draws: dict[str, dict[str, list[float]]] = {}
    for score in scores:
        is_usual = (score["entity_type"], score["matching"]) == (
            "micro",
            row["evaluation_matching"],
        )
        if is_usual and score["f1"] is not None:
            of_name = draws.setdefault(f"{score['perturbation']}/f1", {})
            of_name.setdefault(score["language"], []).append(score["f1"])
    return _over_languages(
        row,
        {name: {code: fmean(f1s) for code, f1s in of.items()} for name, of in draws.items()},
    )


def _over_languages(row: Row, found: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """A number's mean over the languages that the trial was trained on, so that all trials have it
    under one name; and those of each language where the trial was scored on several."""
    numbers = {}
    for name, by_language in found.items():
        trained = [by_language[code] for code in row["languages"] if code in by_language]
        if trained:
            numbers[name] = fmean(trained)
        if set(by_language) != set(row["languages"]) or len(by_language) > 1:
            numbers |= {f"{name}/{code}": value for code, value in by_language.items()}
    return numbers
