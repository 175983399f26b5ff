"""The stored rows that are compared, read once for all tables: those of one recipe.

A recipe is a version of how the code makes a trial's numbers (`workers.trial.RECIPE_VERSION`). Rows
of two recipes never meet in a comparison. Those that are left out stay in the results as they are,
and the notes of what is computed count them, as they count pairs of sparse and dense trial that
were computed on different devices.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.analysis.inputs.comparable import SETTINGS_READ
from orchestrator.results.columns import TEXT
from orchestrator.results.store import ResultStore
from orchestrator.wording import counted
from workers.tags import WIKIANN, TagSet, union_of
from workers.trial import RECIPE_VERSION

PERTURBED_SETS = tuple(
    f"robustness_{name}" for name in ("seed", "draws", "donor_fingerprint", "donor_split")
)
"""Settings that decide which sentences a perturbation makes of a language's test split."""

TRIALS_READ = [
    *("trial_id", "cell_id", "dense_trial_id", "recipe_version", "sweep"),
    *("regime", "language", "target_sparsity", "embedding_sparsity", "seed", "languages"),
    *("status", "error_kind", "error_message", "started_at"),
    *(
        "num_train_sentences",
        "num_steps",
        "selected_step",
        "overall_sparsity",
        "num_parameters",
        "num_prunable",
        "num_predictions",
        "devices",
    ),
    *("evaluation_predictions", "robustness_perturbations", *PERTURBED_SETS),
    *SETTINGS_READ,
]
"""Columns of `trials` that comparisons need."""

SCORES_READ = [
    *("trial_id", "language", "split", "subset", "entity_type", "matching", "f1"),
    *("support", "num_predicted", "num_sentences"),
]
"""Columns of `scores` that comparisons need."""

VOCABULARY_READ = [
    *("trial_id", "language", "num_words", "num_subwords", "num_unknown", "num_pieces"),
    *("num_weights", "num_zeros"),
]
"""Columns of `vocabulary` that topics need."""


@dataclass(frozen=True, kw_only=True)
class StoredRows:
    """Rows of one recipe.

    Attributes:
        trials: rows of `trials` with the columns `TRIALS_READ`.
        scores: the rows of `scores` of these trials, with the columns `SCORES_READ`.
        plans: rows of `plans`, without the plans of sweeps that were run with another recipe.
        num_left_out: trials of the other recipes, by the recipe's version.
        num_pairs: sparse trials whose dense trial has run, too.
        num_across: those of them that other models of device computed than their dense trial.
        is_same_device: these are not compared with it; their `dense_trial_id` is null.
        described: what sweeps say of languages, see `find_described`.
    """

    trials: pa.Table
    scores: pa.Table
    plans: pa.Table
    num_left_out: Mapping[int, int]
    num_pairs: int = 0
    num_across: int = 0
    is_same_device: bool = False
    described: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def notes(self) -> list[str]:
        """One line on the trials that are not compared, and one on pairs of different devices; none
        where there are none."""
        return [*self._recipe_notes, *self._device_notes]

    @property
    def _device_notes(self) -> list[str]:
        if not self.num_across:
            return []
        across = counted(self.num_across, "pair")
        found = (
            f"{across} of sparse and dense trial (of {self.num_pairs:,}): computed on different "
        )
        if self.is_same_device:
            return [f"{found}models of device, left out."]
        return [
            f"{found}models of device, which may change F1 as another seed does; --same-device "
            "leaves them out."
        ]

    @property
    def _recipe_notes(self) -> list[str]:
        if not self.num_left_out:
            return []
        parts = [
            f"{counted(number, 'trial')} of recipe {version}"
            for version, number in sorted(self.num_left_out.items())
        ]
        verb = "is" if sum(self.num_left_out.values()) == 1 else "are"
        return [f"{' and '.join(parts)} {verb} kept and not compared."]


def read_rows(store: ResultStore, same_device: bool = False) -> StoredRows:
    """Read what is compared in a results location.

    Args:
        store: the results.
        same_device: compare a sparse trial with its dense one only where the same models of device
            computed both.

    Raises:
        StoreError: a file cannot be read.
    """
    tables = store.read_together(
        {"trials": [*TRIALS_READ, "asked_json"], "scores": SCORES_READ, "plans": None}
    )
    described = find_described(tables["trials"])
    tables["trials"] = tables["trials"].select(TRIALS_READ)
    return replace(_with_pairs(of_one_recipe(**tables), same_device), described=described)


def find_described(trials: pa.Table) -> dict[str, dict[str, str]]:
    """What the sweeps in a results location say of languages (`SweepSpec.language_table`).

    Args:
        trials: all rows of `trials` with the columns `started_at` and `asked_json`.

    Returns:
        By code, the facts that are given, by the names of `orchestrator.spec.languages.Language`.
        Of two sweeps that differ the one counts whose trial began last.
    """
    rows = trials.select(["started_at", "asked_json"])
    rows = rows.filter(pc.match_substring(rows["asked_json"], '"language_table":{"'))
    asked_when = rows.group_by("asked_json").aggregate([("started_at", "max")])
    described: dict[str, dict[str, str]] = {}
    for asked in asked_when.sort_by("started_at_max")["asked_json"].to_pylist():
        for code, facts in json.loads(asked)["language_table"].items():
            described[code] = {name: fact for name, fact in facts.items() if fact is not None}
    return described


def _with_pairs(rows: StoredRows, same_device: bool) -> StoredRows:
    """The rows with what is known of the devices of pairs."""
    names = ("trial_id", "dense_trial_id", "devices")
    columns = [rows.trials[name].to_pylist() for name in names]
    devices = {
        trial_id: {stretch["name"] for stretch in stretches}
        for trial_id, _, stretches in zip(*columns, strict=True)
        if stretches is not None
    }
    pairs = [
        (trial_id, dense_id)
        for trial_id, dense_id, _ in zip(*columns, strict=True)
        if trial_id in devices and dense_id in devices
    ]
    across = {trial_id for trial_id, dense_id in pairs if devices[trial_id] != devices[dense_id]}
    trials = rows.trials
    if same_device:
        dense_ids = [
            None if one in across else other for one, other, _ in zip(*columns, strict=True)
        ]
        place = trials.schema.get_field_index("dense_trial_id")
        trials = trials.set_column(place, trials.schema.field(place), pa.array(dense_ids, TEXT))
    return replace(
        rows,
        trials=trials,
        num_pairs=len(pairs),
        num_across=len(across),
        is_same_device=same_device,
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


def tags_of(trials: pa.Table) -> TagSet:
    """The tags of all corpora of some trials together.

    Args:
        trials: rows of `trials` with the column `corpus_entity_types`.
    """
    listed = {
        None if one is None else tuple(one) for one in trials["corpus_entity_types"].to_pylist()
    }
    sets = [WIKIANN if one is None else TagSet(one) for one in listed]
    return union_of(sorted(sets, key=lambda one: one.entity_types))


def choose_recipe(versions: Iterable[int]) -> int:
    """The recipe whose rows are compared: the running code's if it has any, else the newest."""
    there = set(versions)
    return RECIPE_VERSION if RECIPE_VERSION in there else max(there, default=RECIPE_VERSION)


def _without(rows: pa.Table, name: str, values: set[str]) -> pa.Table:
    is_kept = [value not in values for value in rows[name].to_pylist()]
    return rows.filter(pa.array(is_kept, pa.bool_()))
