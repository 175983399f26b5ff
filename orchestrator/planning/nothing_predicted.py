"""Tells an F1 of 0 of a model that predicts no entity at all from one that is merely bad, and says
what may help: a model that is trained too briefly learns first that most words are in no entity."""

from collections.abc import Collection, Iterable, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.planning.few_steps import MIN_DENSE_STEPS
from orchestrator.results.rows import Row
from orchestrator.wording import counted
from workers.trial import MICRO

TRIALS_READ = ("trial_id", "dense_trial_id", "target_sparsity", "languages", "num_steps")
"""Columns of `trials` that are looked at."""

SCORES_READ = (
    *("trial_id", "language", "split", "subset", "entity_type", "matching"),
    *("support", "num_predicted"),
)
"""Columns of `scores` that are looked at."""


def find_silent(scores: pa.Table, split: str) -> set[tuple[str, str]]:
    """Trials and languages in which there are entities and not one was predicted, by any rule of
    matching that they are scored by: one that predicts I- tags alone predicts none by `strict` and
    some by `lenient`.

    Args:
        scores: rows of `scores` with the columns `SCORES_READ`.
        split: validation or test.

    Returns:
        Pairs of trial id and language.
    """
    for name, value in (("split", split), ("subset", "all"), ("entity_type", MICRO)):
        scores = scores.filter(pc.equal(scores[name], value))
    is_there = pc.greater(scores["num_predicted"], 0)
    is_missed = pc.and_(pc.invert(is_there), pc.greater(scores["support"], 0))
    return _trials_and_languages(scores.filter(is_missed)) - _trials_and_languages(
        scores.filter(is_there)
    )


def _trials_and_languages(scores: pa.Table) -> set[tuple[str, str]]:
    return set(zip(scores["trial_id"].to_pylist(), scores["language"].to_pylist(), strict=True))


def describe_silent(
    trials: pa.Table, scores: pa.Table, split: str, trial_ids: Collection[str] | None = None
) -> list[str]:
    """At most two lines on trials that predict no entity in a language that they are trained on;
    nothing, as a rule.

    Args:
        trials: rows of `trials` with the columns `TRIALS_READ`.
        scores: rows of `scores` with the columns `SCORES_READ`.
        split: validation or test.
        trial_ids: the trials that are looked at; None: all.
    """
    silent = find_silent(scores, split)
    if not silent:
        return []
    rows = {row["trial_id"]: row for row in trials.select(TRIALS_READ).to_pylist()}
    found: dict[str, list[str]] = {}
    for trial_id, language in sorted(silent):
        if language in (rows.get(trial_id, {}).get("languages") or ()):
            found.setdefault(trial_id, []).append(language)

    scored = set(scores["trial_id"].to_pylist())
    if trial_ids is not None:
        scored &= set(trial_ids)
    dense: list[Row] = []
    beside: list[Row] = []
    pruned: list[Row] = []
    num_dense = num_sparse = 0
    for trial_id in scored & rows.keys():
        row = rows[trial_id]
        is_sparse = row["target_sparsity"] > 0
        num_sparse += is_sparse
        num_dense += not is_sparse
        if trial_id in found:
            is_beside = is_sparse and row["dense_trial_id"] in found
            (beside if is_beside else pruned if is_sparse else dense).append(row)
    lines = []
    if dense or beside:
        lines.append(_on_dense(dense, beside, num_dense, found))
    if pruned:
        sparsities = ", ".join(f"{one:g}" for one in sorted({r["target_sparsity"] for r in pruned}))
        lines.append(
            f"no entity is predicted in {_of(len(pruned), num_sparse, 'sparse trial')}, at "
            f"sparsity {sparsities} ({_languages(pruned, found)}): F1 is 0 for that, while their "
            "dense trials predict some or are not there; a smaller pruning.end or more steps let "
            "them recover"
        )
    return lines


def _on_dense(
    dense: list[Row], beside: list[Row], num_dense: int, found: Mapping[str, list[str]]
) -> str:
    """The line on dense trials, and on sparse ones whose dense trial predicts nothing either."""
    steps = sorted({row["num_steps"] for row in dense or beside})
    after = f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}"
    parts = [_of(len(dense), num_dense, "dense trial")] if dense else []
    parts += [f"{counted(len(beside), 'sparse trial')} beside such ones"] if beside else []
    remedy = (
        f"set training.num_steps={MIN_DENSE_STEPS} or more"
        if steps[0] < MIN_DENSE_STEPS
        else "try another training.lr, or training.warmup=0.1"
    )
    return (
        f"no entity is predicted in {' and '.join(parts)}, after {after} steps "
        f"({_languages([*dense, *beside], found)}): F1 is 0 for that, and tells nothing of what "
        f"pruning does; {remedy}"
    )


def _of(number: int, total: int, what: str) -> str:
    return f"{number:,} of {counted(total, what)}"


def _languages(rows: Iterable[Row], found: Mapping[str, list[str]]) -> str:
    return ", ".join(sorted({code for row in rows for code in found[row["trial_id"]]}))
