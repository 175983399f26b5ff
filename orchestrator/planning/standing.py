"""How a sweep stands against its results: what is done, what a completed trial lacks, and what is
kept of another recipe."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.planning.plan import PlannedTrial
from orchestrator.planning.pools import merge_robustness
from orchestrator.results.lacking import Lack, describe_lacks, find_lack
from orchestrator.results.rows import read_spec
from orchestrator.results.store import ResultStore
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.wording import counted, size_in_words
from workers.trial import RECIPE_VERSION, SPLITS, TrialSpec

READ = (
    "trial_id",
    "status",
    "recipe_version",
    "spec_json",
    "file_key",
    "model_digest",
    "model_bytes",
)
"""Columns of trials that are looked at."""


@dataclass(frozen=True)
class Standing:
    """A sweep beside its results.

    Attributes:
        statuses: `completed` or `failed`, of each trial there is, those of other sweeps included.
        lacks: what completed trials of the sweep lack, by id; only those that lack something.
        stored: these trials as they were run, by id.
        other_recipes: how many trials of the sweep were run with another recipe, by its version.
        models: digests of the models that are kept of completed trials of the sweep, by id.
        models_bytes: of all these together.
    """

    statuses: dict[str, str]
    lacks: dict[str, Lack] = field(default_factory=dict)
    stored: dict[str, TrialSpec] = field(default_factory=dict)
    other_recipes: dict[int, int] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)
    models_bytes: int = 0

    def lack(self, trial: PlannedTrial) -> Lack:
        """What a trial of the sweep lacks; nothing where it is not completed."""
        return self.lacks.get(trial.trial_id, Lack())

    def to_rescore(self, planned: Iterable[PlannedTrial]) -> list[PlannedTrial]:
        """Trials with scores to be computed from stored predictions."""
        return [trial for trial in planned if self.lack(trial).of_predictions]

    def to_run_again(
        self, planned: Iterable[PlannedTrial], only_scored: bool = False
    ) -> list[PlannedTrial]:
        """Trials that lack what predictions do not give, as they have to be run: scored on all that
        is asked for and on all that they were scored on before.

        Args:
            planned: trials of the sweep.
            only_scored: only those whose model is kept, so that nothing is trained.
        """
        again = []
        for trial in planned:
            has_model = trial.trial_id in self.models
            if not self.lack(trial).needs_run or (only_scored and not has_model):
                continue
            spec = with_scoring_of(trial.spec, self.stored[trial.trial_id])
            if has_model:
                trial = replace(trial, cost=trial.cost_without(1.0), num_trained=0.0)
            again.append(replace(trial, spec=spec))
        return again

    def lines(self, taken_up: Iterable[str] = ()) -> list[str]:
        """What is to be said beside the counts; nothing, as a rule.

        Args:
            taken_up: ids of completed trials that are about to be scored or to run again.
        """
        lines, taken = [], set(taken_up)
        if self.models:
            kept = counted(len(self.models), "model")
            lines.append(f"{kept} kept, {size_in_words(self.models_bytes)}")
        lacks = self.lacks.values()
        if number := sum(bool(lack.of_predictions) for lack in lacks):
            lines.append(f"{counted(number, 'trial')} to score from stored predictions")
        with_model = [self.lacks[trial_id] for trial_id in self.lacks if trial_id in self.models]
        if number := sum(lack.needs_run for lack in with_model):
            then = "" if self.models.keys() & taken else "; `sparsweep score` does that"
            lines.append(
                f"{counted(number, 'trial')} to score from kept models, lacking: "
                f"{describe_lacks(with_model)}{then}"
            )
        without = [self.lacks[trial_id] for trial_id in self.lacks if trial_id not in self.models]
        if number := sum(lack.needs_run for lack in without):
            are = "trial is" if number == 1 else "trials are"
            then = "give --rerun-lacking to run them again"
            if taken - self.models.keys():
                then = "it runs again" if number == 1 else "they run again"
            lines.append(f"{number:,} {are} completed but lack: {describe_lacks(without)}; {then}")
        for recipe, number in sorted(self.other_recipes.items()):
            are = "is" if number == 1 else "are"
            lines.append(
                f"{counted(number, 'trial')} of recipe {recipe} {are} kept and not compared"
            )
        return lines


def find_standing(
    planned: Sequence[PlannedTrial],
    store: ResultStore,
    rows: Sequence[Mapping[str, Any]] | None = None,
    keeps_models: bool = False,
) -> Standing:
    """Compare a sweep's trials with the results.

    Args:
        planned: the sweep's trials.
        store: the results.
        rows: all rows of `trials`, with the columns `READ` and maybe others, where they have been
            read; None: they are read here.
        keeps_models: whether the sweep asks for the models of its trials.

    Raises:
        StoreError: results are damaged or of a newer version.
    """
    if rows is None:
        rows = store.read("trials", READ).to_pylist()
    statuses = {row["trial_id"]: row["status"] for row in rows}
    other_recipes = _count_other_recipes(planned, rows)
    completed = {row["trial_id"]: row for row in rows if row["status"] == "completed"}
    done = [trial for trial in planned if trial.trial_id in completed]
    if not done:
        return Standing(statuses, other_recipes=other_recipes)

    rescored = store.rescored()
    models = _find_models(done, completed, store)
    lacking = {}
    for trial in done:
        trial_id = trial.trial_id
        spec = read_spec(completed[trial_id]["spec_json"], completed[trial_id]["file_key"])
        is_without = keeps_models and trial_id not in models
        if is_without or find_lack(trial.spec, spec, rescored.get(trial_id, ())) != Lack():
            lacking[trial_id] = (trial.spec, spec)

    lacks, stored = {}, {}
    earlier = store.earlier_runs() if lacking else {}  # which may have it; asked only when needed
    for trial_id, (asked, spec) in lacking.items():
        known = (rescored.get(trial_id, ()), earlier.get(trial_id, ()))
        lack = find_lack(asked, spec, *known)
        lack = replace(lack, is_without_model=keeps_models and trial_id not in models)
        if lack != Lack():
            lacks[trial_id], stored[trial_id] = lack, spec
    models_bytes = sum(completed[trial_id].get("model_bytes") or 0 for trial_id in models)
    return Standing(statuses, lacks, stored, other_recipes, models, models_bytes)


def _find_models(
    done: Iterable[PlannedTrial], rows: Mapping[str, Mapping[str, Any]], store: ResultStore
) -> dict[str, str]:
    """Digests of the models that rows name and that are there, by the id of the trial."""
    digests = {
        trial.trial_id: digest
        for trial in done
        if (digest := rows[trial.trial_id].get("model_digest")) is not None
    }
    there = store.model_ids() if digests else set()
    return {trial_id: digest for trial_id, digest in digests.items() if trial_id in there}


def known_fingerprints(sweep: SweepSpec, store: ResultStore) -> set[str | None]:
    """Those of the data that results are of, where the sweep's data lie in a folder; see
    `make_plan`.

    Raises:
        StoreError: results are damaged or of a newer version.
    """
    if sweep.corpus.kind != "path":
        return set()
    return set(store.read("trials", ["corpus_fingerprint"])["corpus_fingerprint"].to_pylist())


def describe_unused_checkpoints(
    sweep_name: str, planned: Iterable[PlannedTrial], store: ResultStore
) -> list[str]:
    """A line on checkpoints that no sweep here goes on from; nothing, as a rule.

    A checkpoint is found by the id of its trial and does not say of which settings it is. So one of
    an earlier version that computed another id cannot be told to be a trial of today.

    Args:
        sweep_name: of the sweep.
        planned: its trials.
        store: the results. Trials of other sweeps that were run there may have checkpoints, too.

    Raises:
        StoreError: results are damaged or of a newer version.
    """
    unused = store.checkpoint_ids() - {trial.trial_id for trial in planned}
    if unused:
        plans = store.read("plans", ["sweep", "trial_id"]).to_pylist()
        unused -= {row["trial_id"] for row in plans if row["sweep"] != sweep_name}
    if not unused:
        return []
    is_or_are, it_or_them = ("is", "it") if len(unused) == 1 else ("are", "them")
    files = ", ".join(str(store.checkpoint(trial_id)) for trial_id in sorted(unused))
    return [
        f"{counted(len(unused), 'checkpoint')} {is_or_are} of no trial of {sweep_name} as it is "
        "now: left by an earlier version, whose trials had other ids, or by an earlier state of "
        f"the sweep; not used; to remove {it_or_them}, delete {files}"
    ]


def _count_other_recipes(
    planned: Iterable[PlannedTrial], rows: Iterable[Mapping[str, object]]
) -> dict[int, int]:
    """Completed rows of the sweep's trials as another recipe makes them, by its version."""
    by_recipe: dict[int, set[str]] = {}
    for row in rows:
        if row["recipe_version"] != RECIPE_VERSION and row["status"] == "completed":
            by_recipe.setdefault(int(str(row["recipe_version"])), set()).add(str(row["trial_id"]))
    counts: Counter[int] = Counter()
    for recipe, ids in by_recipe.items():
        counts[recipe] = sum(trial.spec.trial_id(recipe) in ids for trial in planned)
    return {recipe: number for recipe, number in counts.items() if number}


def with_scoring_of(asked: TrialSpec, stored: TrialSpec) -> TrialSpec:
    """The trial that is asked for, scored also on what it was scored on before, so that nothing is
    lost when its results take the place of the stored ones.

    The rule of matching, the seed of perturbed sets and their donors are those that are asked for.
    """
    evaluation = asked.evaluation
    splits = {*evaluation.splits, *stored.evaluation.splits}
    predictions = {*evaluation.predictions, *stored.evaluation.predictions}
    zero_shot = stored.evaluation.zero_shot | evaluation.zero_shot
    languages = tuple(sorted(zero_shot))
    prints = tuple(files for code in languages if (files := zero_shot[code]) is not None)
    return replace(
        asked,
        evaluation=replace(
            evaluation,
            splits=tuple(split for split in SPLITS if split in splits),
            languages=languages,
            language_fingerprints=prints,
            predictions=tuple(kind for kind in (*SPLITS, "perturbed") if kind in predictions),
        ),
        robustness=merge_robustness(asked, stored),
    )
