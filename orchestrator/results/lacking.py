"""What a completed trial lacks of what a sweep asks for: scores, and predictions to be stored.

How a trained model is scored is no part of a trial's id, so a trial may be completed and yet not
have all that a later sweep asks for. Scores by the other rule of matching follow from stored
predictions; whatever else is lacking needs the model: one that was kept, or else the trial has to
be run again. What an earlier run of it was scored on by another rule stays readable, and is not
lacking.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from workers.trial import DonorPool, RobustnessSpec, TrialSpec

PERTURBED = "perturbed"
"""In `EvaluationSpec.predictions`: the perturbed test sets."""


@dataclass(frozen=True)
class Lack:
    """What the results do not have of what is asked of one trial.

    Attributes:
        of_predictions: what follows from stored predictions: splits, and `perturbed`.
        of_training: what only the model gives, a kept one or that of another run, each in words.
        is_without_model: whether the model shall be kept, and is not.
    """

    of_predictions: tuple[str, ...] = ()
    of_training: tuple[str, ...] = ()
    is_without_model: bool = False

    @property
    def needs_run(self) -> bool:
        """Whether something is lacking that predictions do not give."""
        return bool(self.of_training) or self.is_without_model


def find_lack(
    asked: TrialSpec,
    stored: TrialSpec,
    rescored: Collection[str] = (),
    earlier: Iterable[TrialSpec] = (),
) -> Lack:
    """Compare what is asked of a trial with what it was asked for when it was run.

    Args:
        asked: the trial as it is planned.
        stored: the same trial as it was run; its scores are all there.
        rescored: rules of matching by which scores were computed from its predictions since.
        earlier: earlier runs of it by other rules, see `shown_beside`.
    """
    rule, predicted = asked.evaluation.matching, stored.evaluation.predictions
    has_other_rule = rule != stored.evaluation.matching
    by_rule = {spec.evaluation.matching: spec for spec in earlier}
    before = by_rule.get(rule) if has_other_rule and rule not in rescored else None
    not_before, would_hide = set(), False
    if before is not None:
        not_before = {
            what for _, what, difference in _scored(asked, before) if difference is not None
        }
        # Scores that are computed from predictions take the place of those of the earlier run.
        would_hide = any(kind not in predicted for kind, _, _ in _scored(before, before))
    of_predictions: list[str] = []
    of_training: list[str] = []
    for kind, what, difference in _scored(asked, stored):
        if difference is not None:
            of_training.append(f"{what}{difference}")
        elif not has_other_rule or (before is not None and what not in not_before):
            continue
        elif kind not in predicted or would_hide:
            of_training.append(f"{rule} {what}")
        elif rule not in rescored:
            of_predictions.append(kind)
    for kind in asked.evaluation.predictions:
        if kind not in predicted:
            of_training.append(f"predictions of {kind}")
    return Lack(tuple(dict.fromkeys(of_predictions)), tuple(dict.fromkeys(of_training)))


def shown_beside(earlier: TrialSpec, shown: TrialSpec) -> TrialSpec:
    """What is shown of an earlier run of a trial by another rule of matching, beside a later run:
    its scores, but for perturbed sets where the later run met others, which are compared as those
    of the trial."""
    if earlier.robustness is None or shown.robustness is None:
        return replace(earlier, robustness=None)
    are_same = earlier.robustness.draws == shown.robustness.draws and all(
        _difference(pool, earlier.robustness, shown) is None for pool in earlier.robustness.pools
    )
    return earlier if are_same else replace(earlier, robustness=None)


def describe_lacks(lacks: Iterable[Lack]) -> str:
    """What trials lack that predictions do not give, with the number of trials, as in
    `robustness within_family (12), predictions of test (4), the model (2)`."""
    lacks = list(lacks)
    counts = Counter(what for lack in lacks for what in lack.of_training)
    if number := sum(lack.is_without_model for lack in lacks):
        counts["the model"] = number
    return ", ".join(f"{what} ({number:,})" for what, number in counts.items())


def _scored(asked: TrialSpec, stored: TrialSpec) -> Iterator[tuple[str, str, str | None]]:
    """Each set that is asked for: its kind in `EvaluationSpec.predictions`, what its scores are
    called, and in what way they are not those that are stored (None: they are)."""
    for split in asked.evaluation.splits:
        is_stored = split in stored.evaluation.splits
        yield split, f"scores of {split}", None if is_stored else ""
        if asked.evaluation.languages:
            yield split, f"zero-shot scores of {split}", _missing_languages(asked, stored, split)
    for pool in asked.robustness.pools if asked.robustness else ():
        assert asked.robustness is not None
        difference = _difference(pool, asked.robustness, stored)
        if difference is None and not pool.donors:
            continue  # it does not apply: stored as such, and no rule of matching changes that
        yield PERTURBED, f"robustness {pool.perturbation}", difference


def _missing_languages(asked: TrialSpec, stored: TrialSpec, split: str) -> str | None:
    """Which of the languages that a trial is to be scored on without being trained on them have no
    scores of a split, or of files that have changed; None where all have."""
    there = stored.evaluation.zero_shot if split in stored.evaluation.splits else {}
    missing = [
        code
        for code, files in asked.evaluation.zero_shot.items()
        if code not in there or there[code] != files
    ]
    if not missing:
        return None
    return f" in {', '.join(missing) if len(missing) <= 3 else f'{len(missing)} languages'}"


def _difference(pool: DonorPool, asked: RobustnessSpec, stored: TrialSpec) -> str | None:
    """In what way the perturbed sets of a pool are not among those that a trial was scored on;
    empty where there are none at all, None where they are."""
    known = stored.robustness
    same = [
        other
        for other in (known.pools if known else ())
        if (other.language, other.perturbation) == (pool.language, pool.perturbation)
    ]
    if known is None or not same:
        return ""
    if not pool.donors and not same[0].donors:
        return None  # not applicable, whatever the seed
    if known.donor_split != asked.donor_split:
        return f" from {asked.donor_split}"
    if same[0].donors != pool.donors or _have_changed(pool, asked, known, stored.corpus.kind):
        return " with these donors"
    if known.seed != asked.seed:
        return f" of seed {asked.seed}"
    return f" of {asked.draws} draws" if known.draws < asked.draws else None


def _have_changed(
    pool: DonorPool, asked: RobustnessSpec, stored: RobustnessSpec, kind: str
) -> bool:
    """Whether the donors' sentences may be others than they were.

    Only a folder's may: elsewhere the corpus' revision or seed, which is part of the trial's id,
    stands for them. One fingerprint stands for the files of all donors together, so it tells
    nothing where the donors are not the same.
    """
    if kind != "path" or set(pool.donors) <= {pool.language}:
        return False
    return (asked.donor_languages, asked.donor_fingerprint) != (
        stored.donor_languages,
        stored.donor_fingerprint,
    )
