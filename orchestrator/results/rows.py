"""From the values that a trial travels as (`TrialSpec`, `TrialResult`) to rows of the tables."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, TypedDict, cast

from orchestrator.errors import StoreError
from orchestrator.results.schema import MEASURED, PROVENANCE, SETTINGS
from workers.result import (
    EntityScore,
    PredictedSet,
    RobustnessScore,
    SentenceSet,
    TrialResult,
)
from workers.trial import RECIPE_VERSION, TrialSpec

Row = dict[str, Any]


class Circumstances(TypedDict):
    """Of one try at a trial: by which sweep, that sweep as it was asked for, with what and where,
    and when.

    `provenance` has values for some or all of the columns `provenance_*`; times have a time zone.
    """

    sweep: str
    asked_json: str
    provenance: Mapping[str, str | bool | None]
    started_at: datetime
    ended_at: datetime


@dataclass(frozen=True, kw_only=True)
class Failure:
    """How a try at a trial failed: its `workers.trial.ErrorKind`, one line, and Python's traceback
    if there is one."""

    kind: str
    message: str
    traceback: str | None

    @property
    def status(self) -> str:
        """`stopped` when somebody asked for it, else `failed`."""
        return "stopped" if self.kind == "stopped" else "failed"


Outcome = TrialResult | Failure


def check_circumstances(circumstances: Circumstances) -> None:
    """Refuse what has no column, and times that could be of any time zone.

    Raises:
        StoreError: a key of `provenance` is unknown, or a time has no time zone.
    """
    for name in ("started_at", "ended_at"):
        time = cast(datetime, circumstances[name])
        if time.tzinfo is None:
            raise StoreError(f"{name}: {time} has no time zone; give one, such as datetime.UTC")
    known = [column.name.removeprefix("provenance_") for column in PROVENANCE]
    if unknown := sorted(circumstances["provenance"].keys() - set(known)):
        raise StoreError(
            f"provenance: unknown key {', '.join(unknown)}; known are {', '.join(known)}"
        )


def trial_row(
    spec: TrialSpec,
    outcome: Outcome,
    circumstances: Circumstances,
    *,
    num_attempts: int,
    file_key: str,
) -> Row:
    """The row of `trials`.

    Args:
        spec: the trial.
        outcome: its numbers, or how it failed.
        circumstances: of the attempt that ended so.
        num_attempts: rows of the trial in `attempts`, with this attempt's.
        file_key: of the trial's files.
    """
    result = None if isinstance(outcome, Failure) else outcome
    provenance = circumstances["provenance"]
    return {
        **spec_columns(spec),
        **_try_columns(outcome, circumstances),
        **{column.name: getattr(result, column.name, None) for column in MEASURED},
        **{
            column.name: provenance.get(column.name.removeprefix("provenance_"))
            for column in PROVENANCE
        },
        "devices": [asdict(stretch) for stretch in result.devices] if result else None,
        "status": "completed" if result else "failed",
        "num_attempts": num_attempts,
        "duration_s": (circumstances["ended_at"] - circumstances["started_at"]).total_seconds(),
        "file_key": file_key,
        "languages": list(spec.languages),
        "num_scores": len(result.scores) if result else 0,
        "num_robustness_scores": len(result.robustness) if result else 0,
        "num_predictions": _num_predictions(result) if result else 0,
        "num_curve_points": len(result.curve) if result else 0,
        "num_layers": len(result.layers) if result else 0,
        "num_vocabularies": len(result.vocabulary) if result else 0,
        "spec_json": spec.to_json(),
        "asked_json": circumstances["asked_json"],
    }


def child_rows(spec: TrialSpec, result: TrialResult) -> dict[str, list[Row]]:
    """The rows of a completed trial in the tables of `schema.CHILD_TABLES`, by table."""
    key = {"trial_id": spec.trial_id(), **_grid(spec)}
    return {
        **score_rows(spec, result.scores, result.robustness),
        "predictions": [
            key | row | _zero_shot(spec, row["language"])
            for predicted in result.predictions
            for row in _prediction_rows(predicted)
        ],
        "curves": [key | asdict(point) for point in result.curve],
        "layers": [
            key | asdict(layer) | {"sparsity": layer.num_zeros / layer.num_weights}
            for layer in result.layers
        ],
        "vocabulary": [key | asdict(vocabulary) for vocabulary in result.vocabulary],
    }


def read_spec(spec_json: str, file_key: str) -> TrialSpec:
    """The trial that a row of `trials` stores.

    Raises:
        StoreError: this version cannot read it, for example since a newer one wrote it.
    """
    try:
        return TrialSpec.from_json(spec_json)
    except ValueError as error:
        raise StoreError(f"trials/{file_key}.parquet: spec_json: {error}") from error


def score_rows(
    spec: TrialSpec, scores: Iterable[EntityScore], robustness: Iterable[RobustnessScore]
) -> dict[str, list[Row]]:
    """The trial's rows in the tables of scores, by table; all by the rule of matching that the
    trial asks for."""
    key = {"trial_id": spec.trial_id(), **_grid(spec), "matching": spec.evaluation.matching}
    return {
        "scores": [key | asdict(score) | _zero_shot(spec, score.language) for score in scores],
        "robustness": [key | asdict(score) for score in robustness],
    }


def _zero_shot(spec: TrialSpec, language: str) -> Row:
    return {"is_zero_shot": language not in spec.languages}


def sentence_rows(sentences: SentenceSet) -> list[Row]:
    """The rows of `sentences` for one set, one a sentence, in the set's order."""
    names = ("tokens", "gold", "num_subwords", "num_unseen_entities", "is_seen")
    return list(_rows_of_set(sentences, names, sentences))


def _num_predictions(result: TrialResult) -> int:
    return sum(len(predicted.predicted) for predicted in result.predictions)


def _prediction_rows(predicted: PredictedSet) -> Iterator[Row]:
    names = ("predicted", "confidence", "support", "num_predicted", "num_correct")
    return _rows_of_set(predicted.sentences, names, predicted)


def _rows_of_set(
    sentences: SentenceSet, names: tuple[str, ...], values: SentenceSet | PredictedSet
) -> Iterator[Row]:
    """One row a sentence, of these lists of `values`."""
    place = {
        name: getattr(sentences, name)
        for name in ("set_id", "language", "split", "perturbation", "draw")
    }
    for number, row in enumerate(zip(*(getattr(values, name) for name in names), strict=True)):
        yield place | {"sentence": number} | dict(zip(names, row, strict=True))


def attempt_row(
    attempt_id: str,
    number: int,
    status: str,
    spec: TrialSpec,
    outcome: Outcome,
    circumstances: Circumstances,
) -> Row:
    """The row of `attempts`.

    Args:
        attempt_id: the trial's id, a dash and random digits.
        number: of the attempt, from 1.
        status: completed, failed, stopped or duplicate.
        spec: the trial.
        outcome: its numbers, or how it failed.
        circumstances: of the attempt.
    """
    return _try_columns(outcome, circumstances) | {
        "attempt_id": attempt_id,
        "trial_id": spec.trial_id(),
        "attempt": number,
        "status": status,
        "host": circumstances["provenance"].get("host"),
    }


def plan_rows(sweep: str, trials: Iterable[TrialSpec]) -> list[Row]:
    """The rows of `plans` for one sweep.

    Args:
        sweep: its name.
        trials: all that it consists of, in the order of running.
    """
    return [
        {
            "sweep": sweep,
            "position": position,
            "trial_id": spec.trial_id(),
            "cell_id": spec.cell_id(),
            **_grid(spec),
        }
        for position, spec in enumerate(trials)
    ]


def spec_columns(spec: TrialSpec, recipe: int | None = None) -> Row:
    """The columns of `trials` that a spec decides: ids, place in the grid, settings.

    Args:
        spec: the trial.
        recipe: version of the code's recipe that made its numbers; None: today's.
    """
    values = asdict(spec)
    row = {
        "trial_id": spec.trial_id(recipe),
        "cell_id": spec.cell_id(recipe),
        "dense_trial_id": spec.dense_counterpart().trial_id(recipe) if spec.pruning else None,
        "recipe_version": RECIPE_VERSION if recipe is None else recipe,
        **_grid(spec),
    }
    for column in SETTINGS:
        section, _, name = column.name.partition("_")
        value = values[section][name] if values[section] is not None else None
        row[column.name] = list(value) if isinstance(value, tuple) else value
    return row


def _grid(spec: TrialSpec) -> Row:
    names = ("regime", "language", "target_sparsity", "embedding_sparsity", "seed")
    return {name: getattr(spec, name) for name in names}


def _try_columns(outcome: Outcome, circumstances: Circumstances) -> Row:
    """What `trials` and `attempts` both say of a try."""
    failure = outcome if isinstance(outcome, Failure) else None
    return {
        "sweep": circumstances["sweep"],
        "error_kind": failure.kind if failure else None,
        "error_message": failure.message if failure else None,
        "error_traceback": failure.traceback if failure else None,
        "started_at": circumstances["started_at"],
        "ended_at": circumstances["ended_at"],
    }
