"""What a completed trial lacks of what a sweep asks for."""

from dataclasses import replace

import pytest

from orchestrator.results.lacking import Lack, describe_lacks, find_lack, shown_beside
from tests.factories import make_robustness, make_trial_spec
from workers.trial import DonorPool, TrialSpec

SCRIPT = DonorPool(language="sw", perturbation="within_script", donors=("en", "yo"), reason=None)
OWN = DonorPool(language="sw", perturbation="within_language", donors=("sw",), reason=None)
NONE = DonorPool(language="sw", perturbation="within_family", donors=(), reason="alone")


def trial(*pools: DonorPool, kind: str = "hub", perturbed: dict | None = None, **scored):
    """A trial scored as told, with the perturbed sets of these pools."""
    spec = make_trial_spec()
    robustness = make_robustness(
        *(pool.perturbation for pool in pools), draws=2, donor_fingerprint="abc", pools=pools
    )
    return replace(
        spec,
        corpus=replace(spec.corpus, kind=kind),
        evaluation=replace(spec.evaluation, **scored),
        robustness=replace(robustness, **perturbed or {}) if pools else None,
    )


BOTH = ("validation", "test")


@pytest.mark.parametrize(
    ("asked", "stored", "of_predictions", "of_training"),
    [
        (trial(), trial(), [], []),
        (trial(splits=("test",), predictions=()), trial(), [], []),
        (trial(), trial(splits=("test",)), [], ["scores of validation"]),
        (trial(predictions=BOTH), trial(), [], ["predictions of validation"]),
        (
            trial(matching="lenient"),
            trial(),
            ["test"],
            ["lenient scores of validation"],
        ),
        (trial(matching="lenient"), trial(predictions=BOTH), ["validation", "test"], []),
        (
            trial(matching="lenient"),
            trial(predictions=()),
            [],
            ["lenient scores of validation", "lenient scores of test", "predictions of test"],
        ),
        (
            trial(languages=("en", "yo"), splits=("test",)),
            trial(languages=("en",)),
            [],
            ["zero-shot scores of test in yo"],
        ),
        (
            trial(languages=("en", "ka", "yo", "zh"), splits=("test",)),
            trial(),
            [],
            ["zero-shot scores of test in 4 languages"],
        ),
        (trial(), trial(languages=("en",)), [], []),
        (
            trial(languages=("en",), language_fingerprints=("b",), splits=("test",)),
            trial(languages=("en", "yo"), language_fingerprints=("a", "c")),
            [],
            ["zero-shot scores of test in en"],
        ),
        (
            trial(languages=("yo",), language_fingerprints=("c",)),
            trial(languages=("en", "yo"), language_fingerprints=("a", "c")),
            [],
            [],
        ),
        (
            trial(languages=("en",), matching="lenient", splits=("test",)),
            trial(languages=("en",)),
            ["test"],
            [],
        ),
        (trial(SCRIPT), trial(), [], ["robustness within_script"]),
        (trial(), trial(SCRIPT), [], []),
        (trial(SCRIPT, OWN), trial(SCRIPT), [], ["robustness within_language"]),
        (trial(SCRIPT), trial(SCRIPT, OWN), [], []),
        (
            trial(SCRIPT, perturbed={"seed": 1}),
            trial(SCRIPT),
            [],
            ["robustness within_script of seed 1"],
        ),
        (
            trial(SCRIPT, perturbed={"draws": 3}),
            trial(SCRIPT),
            [],
            ["robustness within_script of 3 draws"],
        ),
        (
            trial(SCRIPT, OWN, perturbed={"donor_split": "validation"}),
            trial(SCRIPT, OWN),
            [],
            [
                "robustness within_script from validation",
                "robustness within_language from validation",
            ],
        ),
        (trial(SCRIPT, perturbed={"draws": 1}), trial(SCRIPT), [], []),
        (
            trial(replace(SCRIPT, donors=("yo",))),
            trial(SCRIPT),
            [],
            ["robustness within_script with these donors"],
        ),
        (trial(NONE, perturbed={"seed": 1}), trial(replace(NONE, reason="other")), [], []),
        (trial(NONE, matching="lenient", splits=()), trial(NONE), [], []),
        (
            trial(SCRIPT, matching="lenient", splits=()),
            trial(SCRIPT),
            [],
            ["lenient robustness within_script"],
        ),
        (
            trial(SCRIPT, OWN, matching="lenient", splits=()),
            trial(SCRIPT, OWN, predictions=("test", "perturbed")),
            ["perturbed"],
            [],
        ),
    ],
)
def test_what_is_asked_for_and_not_stored_is_lacking(asked, stored, of_predictions, of_training):
    assert find_lack(asked, stored) == Lack(tuple(of_predictions), tuple(of_training))


@pytest.mark.parametrize(
    ("pool", "kind", "changes", "is_lacking"),
    [
        (SCRIPT, "path", {"donor_fingerprint": "other"}, True),
        (SCRIPT, "hub", {"donor_fingerprint": "other"}, False),
        (OWN, "path", {"donor_fingerprint": "other"}, False),
        (SCRIPT, "path", {}, False),
    ],
)
def test_files_of_other_donors_may_have_changed_in_a_folder_only(pool, kind, changes, is_lacking):
    asked, stored = trial(pool, kind=kind, perturbed=changes), trial(pool, kind=kind)
    assert bool(find_lack(asked, stored).of_training) == is_lacking


def test_scores_that_were_computed_from_predictions_are_not_computed_again():
    asked, stored = trial(matching="lenient", splits=("test",)), trial()
    assert find_lack(asked, stored).of_predictions == ("test",)
    assert find_lack(asked, stored, {"lenient"}) == Lack()
    assert find_lack(trial(), stored, {"lenient"}) == Lack()


EARLIER = trial(predictions=())
"""By the strict rule, on both splits."""


@pytest.mark.parametrize(
    ("asked", "shown", "of_predictions", "of_training"),
    [
        (trial(), trial(matching="lenient"), [], []),
        (trial(splits=("test",)), trial(matching="lenient"), [], []),
        (trial(SCRIPT), trial(SCRIPT, matching="lenient"), [], ["strict robustness within_script"]),
        # Computed from predictions, scores would take the place of those of validation.
        (
            trial(SCRIPT, predictions=()),
            trial(SCRIPT, matching="lenient", predictions=("perturbed",)),
            [],
            ["strict robustness within_script"],
        ),
        (
            trial(SCRIPT, predictions=()),
            trial(SCRIPT, matching="lenient", predictions=(*BOTH, "perturbed")),
            ["perturbed"],
            [],
        ),
    ],
)
def test_what_an_earlier_run_was_scored_on_is_not_lacking(
    asked, shown, of_predictions, of_training
):
    lack = find_lack(asked, shown, earlier=[EARLIER])
    assert lack == Lack(tuple(of_predictions), tuple(of_training))


@pytest.mark.parametrize(
    ("earlier", "shown", "is_shown"),
    [
        (trial(SCRIPT), trial(SCRIPT, OWN, matching="lenient"), True),
        (trial(NONE, SCRIPT), trial(NONE, SCRIPT, matching="lenient"), True),
        (trial(SCRIPT), trial(OWN, matching="lenient"), False),
        (trial(SCRIPT), trial(matching="lenient"), False),
        (trial(SCRIPT), trial(SCRIPT, matching="lenient", perturbed={"seed": 1}), False),
        (trial(SCRIPT), trial(SCRIPT, matching="lenient", perturbed={"draws": 3}), False),
        (trial(SCRIPT), trial(replace(SCRIPT, donors=("yo",)), matching="lenient"), False),
    ],
)
def test_scores_on_other_perturbed_sets_than_the_last_run_met_are_not_shown(
    earlier, shown, is_shown
):
    expected = earlier if is_shown else replace(earlier, robustness=None)
    assert shown_beside(earlier, shown) == expected


def test_what_several_trials_lack_is_counted():
    stored: TrialSpec = trial(splits=("test",), predictions=())
    lacks = [find_lack(trial(predictions=("test",)), stored), find_lack(trial(), stored)]
    assert describe_lacks(lacks) == "scores of validation (2), predictions of test (2)"
