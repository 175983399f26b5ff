"""The stored rows that are compared, read once for all tables: those of one recipe.

A recipe is a version of how the code makes a trial's numbers (`workers.trial.RECIPE_VERSION`). Rows
of two recipes never meet in a comparison. Those that are left out stay in the results as they are,
and the notes of what is computed count them.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa

from orchestrator.analysis.comparable import SETTINGS_READ
from orchestrator.results.store import ResultStore
from orchestrator.wording import counted
from workers.trial import RECIPE_VERSION

PERTURBED_SETS = ("robustness_seed", "robustness_draws", "robustness_donor_fingerprint")
"""Settings that decide which sentences a perturbation makes of a language's test split."""

TRIALS_READ = [
    *("trial_id", "cell_id", "dense_trial_id", "recipe_version", "sweep"),
    *("regime", "language", "target_sparsity", "embedding_sparsity", "seed", "languages"),
    *("status", "error_kind", "error_message", "started_at"),
    *("num_train_sentences", "num_predictions"),
    *("robustness_perturbations", *PERTURBED_SETS),
    *SETTINGS_READ,
]
"""Columns of `trials` that comparisons need."""

SCORES_READ = ["trial_id", "language", "split", "subset", "entity_type", "matching", "f1"]
"""Columns of `scores` that comparisons need."""


@dataclass(frozen=True, kw_only=True)
class StoredRows:
    """Rows of one recipe.

    Attributes:
        trials: rows of `trials` with the columns `TRIALS_READ`.
        scores: the rows of `scores` of these trials, with the columns `SCORES_READ`.
        plans: rows of `plans`, without the plans of sweeps that were run with another recipe.
        num_left_out: trials of the other recipes, by the recipe's version.
    """

    trials: pa.Table
    scores: pa.Table
    plans: pa.Table
    num_left_out: Mapping[int, int]

    @property
    def notes(self) -> list[str]:
        """One line on the trials that are not compared; none where all are."""
        if not self.num_left_out:
            return []
        parts = [
            f"{counted(number, 'trial')} of recipe {version}"
            for version, number in sorted(self.num_left_out.items())
        ]
        verb = "is" if sum(self.num_left_out.values()) == 1 else "are"
        return [f"{' and '.join(parts)} {verb} kept and not compared."]


def read_rows(store: ResultStore) -> StoredRows:
    """Read what is compared in a results location.

    Raises:
        StoreError: a file cannot be read.
    """
    return of_one_recipe(
        trials=store.read("trials", TRIALS_READ),
        scores=store.read("scores", SCORES_READ),
        plans=store.read("plans"),
    )


def of_one_recipe(*, trials: pa.Table, scores: pa.Table, plans: pa.Table) -> StoredRows:
    """Leave out all rows but those of one recipe: the running code's, or else the newest there is.

    Args:
        trials: rows of `trials` with the columns `TRIALS_READ`.
        scores: rows of `scores` with the columns `SCORES_READ`.
        plans: all rows of `plans`.
    """
    versions = dict(
        zip(trials["trial_id"].to_pylist(), trials["recipe_version"].to_pylist(), strict=True)
    )
    compared = choose_recipe(versions.values())
    num_left_out = Counter(version for version in versions.values() if version != compared)
    if not num_left_out:
        return StoredRows(trials=trials, scores=scores, plans=plans, num_left_out={})

    # A plan is written at once by one version of the code. So one trial that ran with another
    # recipe dates its whole plan, also the trials that never ran and whose recipe no row tells.
    left_out = {trial_id for trial_id, version in versions.items() if version != compared}
    planned = zip(plans["sweep"].to_pylist(), plans["trial_id"].to_pylist(), strict=True)
    sweeps = {sweep for sweep, trial_id in planned if trial_id in left_out}
    return StoredRows(
        trials=_without(trials, "trial_id", left_out),
        scores=_without(scores, "trial_id", left_out),
        plans=_without(plans, "sweep", sweeps),
        num_left_out=num_left_out,
    )


def choose_recipe(versions: Iterable[int]) -> int:
    """The recipe whose rows are compared: the running code's if it has any, else the newest."""
    there = set(versions)
    return RECIPE_VERSION if RECIPE_VERSION in there else max(there, default=RECIPE_VERSION)


def _without(rows: pa.Table, name: str, values: set[str]) -> pa.Table:
    is_kept = [value not in values for value in rows[name].to_pylist()]
    return rows.filter(pa.array(is_kept, pa.bool_()))
