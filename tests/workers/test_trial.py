"""Identity of trials: what changes it, what does not, and that it never changes by accident."""

from dataclasses import fields, is_dataclass, replace

import pytest

from tests.factories import PRUNING, make_trial_spec
from workers.trial import (
    DonorPool,
    RobustnessSpec,
    TrialError,
    TrialSpec,
    canonical_json,
    combine_fingerprints,
)


def test_spec_survives_json():
    spec = make_trial_spec()
    assert TrialSpec.from_json(spec.to_json()) == spec
    dense = spec.dense_counterpart()
    assert TrialSpec.from_json(dense.to_json()) == dense


def test_places_on_a_disk_are_no_part_of_the_identity():
    spec = make_trial_spec()
    corpus = replace(spec.corpus, kind="path", path="/laptop/wikiann", fingerprint="same")
    model = replace(spec.model, name="/laptop/mbert", fingerprint="same")
    here = replace(spec, corpus=corpus, model=model)
    there = replace(
        spec,
        corpus=replace(corpus, path="/cluster/wikiann"),
        model=replace(model, name="/cluster/mbert"),
    )
    assert here.trial_id() == there.trial_id()
    assert here.trial_id() != replace(here, corpus=replace(corpus, fingerprint="other")).trial_id()
    assert here.trial_id() != replace(here, model=replace(model, fingerprint="other")).trial_id()


def perturbed_trial(**changes) -> TrialSpec:
    """With every part that a trial may have; of several languages, since of one the regime is no
    free choice."""
    pool = DonorPool(language="sw", perturbation="within_script", donors=("yo",), reason=None)
    robustness = RobustnessSpec(
        perturbations=("within_script",), draws=1, seed=0, donor_fingerprint="abc", pools=(pool,)
    )
    return make_trial_spec(
        regime="multilingual", languages=("sw", "yo"), robustness=robustness, **changes
    )


def test_spec_of_several_languages_with_perturbations_survives_json():
    spec = perturbed_trial(pruning=replace(PRUNING, n_of_m=(2, 4), include=("attention", "output")))
    assert TrialSpec.from_json(spec.to_json()) == spec


def test_why_a_pool_is_empty_is_no_part_of_the_identity():
    spec = perturbed_trial()

    def with_pool(**changes) -> TrialSpec:
        pools = (replace(spec.robustness.pools[0], **changes),)
        return replace(spec, robustness=replace(spec.robustness, pools=pools))

    assert with_pool(reason="because").trial_id() == spec.trial_id()
    assert with_pool(donors=("af",)).trial_id() != spec.trial_id()
    assert spec.robustness.donor_languages == ["yo"]


@pytest.mark.parametrize(
    ("regime", "languages"), [("monolingual", ("sw", "yo")), ("multilingual", ("yo", "sw"))]
)
def test_languages_that_do_not_fit_the_regime_are_refused(regime, languages):
    with pytest.raises(
        ValueError, match=r"languages: \['[a-z]+', '[a-z]+'\].*(exactly one|sorted)"
    ):
        make_trial_spec(regime=regime, languages=languages)


def test_language_of_a_trial_on_several_is_multilingual():
    assert (perturbed_trial().language, make_trial_spec().language) == ("multilingual", "sw")


@pytest.mark.parametrize(
    ("fingerprints", "expected"),
    [({"sw": "a"}, "a"), ({"sw": None, "yo": None}, None), ({"sw": "a", "yo": "a"}, "a")],
)
def test_data_of_one_kind_keep_their_fingerprint(fingerprints, expected):
    assert combine_fingerprints(fingerprints) == expected


def test_data_of_several_languages_have_a_fingerprint_of_their_own():
    first = combine_fingerprints({"sw": "a", "yo": "b"})
    assert first == combine_fingerprints({"yo": "b", "sw": "a"})
    assert len({first, combine_fingerprints({"sw": "b", "yo": "a"}), "a", "b"}) == 4


def leaves(spec: TrialSpec, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Paths of all fields that hold plain values."""
    found = []
    for field in fields(spec):
        value = getattr(spec, field.name)
        if field.name == "pools":  # a list of specs, looked at above
            continue
        found += (
            leaves(value, (*path, field.name)) if is_dataclass(value) else [(*path, field.name)]
        )
    return found


def changed(spec: TrialSpec, path: tuple[str, ...]) -> TrialSpec:
    """The same with another value in one place."""
    name, *rest = path
    value = getattr(spec, name)
    if rest:
        return replace(spec, **{name: changed(value, tuple(rest))})
    number = isinstance(value, int | float)
    return replace(
        spec,
        **{
            name: value / 2 + 0.01
            if number
            else ("other",)
            if isinstance(value, tuple)
            else "other"
        },
    )


@pytest.mark.parametrize("path", leaves(perturbed_trial()), ids=".".join)
def test_every_setting_but_places_is_part_of_the_identity(path):
    spec = perturbed_trial()
    assert (changed(spec, path).trial_id() == spec.trial_id()) == (path == ("corpus", "path"))


def test_cell_leaves_out_the_seed_only():
    spec = make_trial_spec()
    assert spec.cell_id() == replace(spec, seed=99).cell_id()
    assert spec.cell_id() != replace(spec, target_sparsity=0.123).cell_id()


def test_dense_trials_do_not_depend_on_how_others_are_pruned():
    one = make_trial_spec()
    other = replace(one, target_sparsity=0.9, pruning=replace(one.pruning, scope="layer", end=0.5))
    assert one.dense_counterpart().trial_id() == other.dense_counterpart().trial_id()


def test_pruning_settings_belong_to_pruned_trials_exactly():
    spec = make_trial_spec()
    with pytest.raises(ValueError, match="target_sparsity: 0.5 with pruning off"):
        replace(spec.dense_counterpart(), target_sparsity=0.5)
    with pytest.raises(ValueError, match="target_sparsity: 0.0 with pruning on"):
        replace(spec, target_sparsity=0.0)


@pytest.mark.parametrize("text", ["{}", "[]", '{"corpus": {}}', "no json"])
def test_what_is_no_spec_is_refused(text):
    with pytest.raises(ValueError, match="not a trial spec|Expecting value"):
        TrialSpec.from_json(text)


def test_unknown_field_is_refused():
    text = make_trial_spec().to_json().replace('"seed":', '"sede":')
    with pytest.raises(ValueError, match="sede"):
        TrialSpec.from_json(text)


def test_canonical_json_refuses_what_json_cannot_say():
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"lr": float("nan")})


def test_trial_error_survives_pickling():
    import pickle

    error = pickle.loads(pickle.dumps(TrialError("bad_data", "tag 7")))
    assert (error.kind, str(error)) == ("bad_data", "tag 7")
