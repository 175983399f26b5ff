"""Identity of trials: what changes it, what does not, and that it never changes by accident."""

import json
from dataclasses import asdict, dataclass, fields, is_dataclass, replace

import pyarrow.parquet as pq
import pytest

from tests.factories import PRUNING, make_robustness, make_trial_spec
from tests.golden_results import GOLDEN
from workers.trial import (
    AS_BEFORE,
    RECIPE_VERSION,
    SCORED_AS_BEFORE,
    DonorPool,
    TrainingSpec,
    TrialError,
    TrialSpec,
    canonical_json,
    combine_fingerprints,
    digest,
    with_settings_as_before,
    without_settings_as_before,
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
    robustness = make_robustness("within_script", donor_fingerprint="abc", pools=(pool,))
    return make_trial_spec(
        regime="multilingual", languages=("sw", "yo"), robustness=robustness, **changes
    )


def test_spec_of_several_languages_with_perturbations_survives_json():
    spec = perturbed_trial(pruning=replace(PRUNING, n_of_m=(2, 4), include=("attention", "output")))
    assert TrialSpec.from_json(spec.to_json()) == spec


def test_donors_of_several_pools_are_those_of_other_languages():
    assert perturbed_trial().robustness.donor_languages == ["yo"]


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


OF_SCORING = {
    ("evaluation", name)
    for name in (
        *("splits", "batch_size", "matching", "predictions", "select_after"),
        *("languages", "language_fingerprints"),
    )
} | {
    ("robustness", name)
    for name in ("perturbations", "draws", "seed", "donor_fingerprint", "donor_split")
}  # fmt: skip


@pytest.mark.parametrize("path", leaves(perturbed_trial()), ids=".".join)
def test_every_setting_but_places_and_scoring_is_part_of_the_identity(path):
    spec = perturbed_trial()
    is_same = changed(spec, path).trial_id() == spec.trial_id()
    assert is_same == (path == ("corpus", "path") or path in OF_SCORING)


@pytest.mark.parametrize(("name", "is_same"), [
    ("matching", False), ("batch_size", False), ("splits", True), ("predictions", True),
    ("select_after", False),
])  # fmt: skip
def test_what_chooses_the_best_epoch_is_part_of_the_identity(name, is_same):
    evaluation = replace(make_trial_spec().evaluation, selection="best_epoch")
    spec = make_trial_spec(evaluation=evaluation)
    assert (changed(spec, ("evaluation", name)).trial_id() == spec.trial_id()) == is_same


def test_what_is_perturbed_is_no_part_of_the_identity():
    spec = perturbed_trial()
    pool = replace(spec.robustness.pools[0], donors=("af",), reason="because")
    others = replace(spec.robustness, pools=(pool,))
    ids = {replace(spec, robustness=asked).trial_id() for asked in (None, spec.robustness, others)}
    assert ids == {spec.trial_id()}


# Ids that users have stored: an id that changes makes all of their trials run again.


def test_ids_never_change():
    dense = make_trial_spec(target_sparsity=0.0)
    pruning = replace(
        PRUNING,
        sparsity_schedule="linear",
        scope="layer",
        saliency="movement",
        granularity="block",
        block_shape=(4, 4),
        semantics="dense_shadow",
        embedding_sparsity=0.25,
        include=("attention",),
        exclude=("output",),
        prune_head=True,
    )
    everything = perturbed_trial(
        pruning=pruning,
        training=replace(dense.training, sampling="temperature", sampling_temperature=2.0),
        evaluation=replace(dense.evaluation, matching="lenient", selection="best_epoch"),
    )
    assert dense.trial_id() == "25a0aa03d5b5fa4f"
    assert make_trial_spec().trial_id() == "75458d30797fbe7a"
    # Those of the recipes before, by which stored results are known.
    assert dense.trial_id(recipe=3) == "bb94846406ee6ad8"
    assert make_trial_spec().trial_id(recipe=3) == "c18d4327ebaddc61"
    assert dense.trial_id(recipe=2) == "676da4c215bedb0f"
    assert make_trial_spec().trial_id(recipe=2) == "b41f1ad027e3d3aa"
    assert everything.trial_id(recipe=2) == "d73a698562614757"
    assert make_trial_spec().cell_id(recipe=2) == "985834b6d553c285"


def test_a_number_of_updates_is_of_the_identity_and_none_leaves_it_alone():
    asked = make_trial_spec(pruning=replace(PRUNING, update_every_steps=None, num_updates=20))
    other = make_trial_spec(pruning=replace(PRUNING, update_every_steps=None, num_updates=40))
    assert len({spec.trial_id() for spec in (make_trial_spec(), asked, other)}) == 3
    assert "num_updates" not in make_trial_spec().identity()["pruning"]
    assert TrialSpec.from_json(asked.to_json()) == asked

    stored = json.loads(make_trial_spec().to_json())
    del stored["pruning"]["num_updates"]
    assert TrialSpec.from_json(canonical_json(stored)) == make_trial_spec()


def test_scoring_with_the_defaults_is_what_the_identity_has_in_its_place():
    spec = make_trial_spec()
    assert id_before(spec) == spec.trial_id(recipe=2)
    asked = json.loads(spec.to_json())["evaluation"]
    younger = {path.partition(".")[2]: value for path, value in AS_BEFORE.items()}
    as_before = {name: younger[name] for name in asked.keys() & younger.keys()}
    expected = as_before | SCORED_AS_BEFORE["evaluation"] | {"selection": "last"}
    assert canonical_json(asked) == canonical_json(expected)


def id_before(spec: TrialSpec, recipe: int = 2) -> str:
    """The id as it was until schema version 4, when how a trial is scored was part of it."""
    parts = {"corpus": spec.corpus.identity(), "model": spec.model.identity(), "recipe": recipe}
    identity = asdict(spec) | parts
    if spec.robustness:
        pools = [[pool.language, pool.perturbation, pool.donors] for pool in spec.robustness.pools]
        identity["robustness"] = asdict(spec.robustness) | {"pools": pools}
    return digest(without_settings_as_before(identity, AS_BEFORE))


def test_specs_stored_by_an_earlier_version_hash_to_their_ids():
    trials = pq.read_table(GOLDEN / "paper-mini" / "trials.parquet")
    rows = trials.select(["trial_id", "spec_json"]).to_pylist()
    specs = [TrialSpec.from_json(row["spec_json"]) for row in rows]
    assert [id_before(spec) for spec in specs] == [row["trial_id"] for row in rows]
    today = sorted(spec.trial_id(recipe=2) for spec in specs)
    assert (len(set(today)), digest(today)) == (89, "d190590818202911")


def test_stored_trials_have_the_id_of_their_own_recipe():
    spec = make_trial_spec()
    assert spec.trial_id(RECIPE_VERSION) == spec.trial_id()
    for recipe in range(1, RECIPE_VERSION):
        assert spec.trial_id(recipe) == id_before(spec, recipe) != spec.trial_id()
        assert spec.cell_id(recipe) != spec.cell_id()


# Settings that are younger than what is stored


@dataclass(frozen=True, kw_only=True)
class YoungerTrainingSpec(TrainingSpec):
    """With a setting that a later version might add."""

    label_smoothing: float = 0.0


YOUNGER = AS_BEFORE | {"training.label_smoothing": 0.0, "is_quick": False}


def test_a_setting_at_the_value_as_before_leaves_the_id_alone():
    spec = make_trial_spec()
    younger = YoungerTrainingSpec(**vars(spec.training))
    identity = replace(spec, training=younger).identity() | {"is_quick": False}
    assert digest(identity) != spec.trial_id(), "the setting is there"
    assert digest(without_settings_as_before(identity, YOUNGER)) == spec.trial_id()


@pytest.mark.parametrize("is_quick", [False, True])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_a_setting_at_another_value_makes_another_id(label_smoothing, is_quick):
    spec = make_trial_spec()
    younger = YoungerTrainingSpec(
        **vars(spec.training) | {"label_smoothing": label_smoothing}
    )  # fmt: skip
    identity = replace(spec, training=younger).identity() | {"is_quick": is_quick}
    left = without_settings_as_before(identity, YOUNGER)
    assert ("label_smoothing" in left["training"], "is_quick" in left) == (
        label_smoothing > 0,
        is_quick,
    )


def test_settings_of_a_part_that_a_trial_does_not_have_are_left_alone():
    as_before = {"pruning.rewind": 0, "robustness.noise": 0.0}
    identity = make_trial_spec(target_sparsity=0.0).identity()
    assert without_settings_as_before(identity, as_before) == identity
    assert with_settings_as_before(identity, as_before) == identity


def test_a_stored_spec_without_a_younger_setting_is_read_as_before():
    stored = json.loads(make_trial_spec().to_json())
    read = with_settings_as_before(stored, YOUNGER)
    assert read == stored | {
        "training": stored["training"] | {"label_smoothing": 0.0},
        "is_quick": False,
    }
    kept = with_settings_as_before(stored | {"is_quick": True}, YOUNGER)
    assert kept["is_quick"], "what is stored is not replaced"


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "not a trial spec: corpus is missing; give the JSON"),
        ("[]", r"not a trial spec: \[\] is no JSON object"),
        ('{"corpus": {}}', "not a trial spec: corpus.kind is missing"),
        ('{"corpus": 3}', "not a trial spec: corpus is 3, not an object"),
        ("no json", "not a trial spec: no JSON"),
    ],
)
def test_what_is_no_spec_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        TrialSpec.from_json(text)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"seed":0,"target', '"sede":0,"target', "sede is unknown, did you mean seed; a newer"),
        (
            '"lr":',
            '"lrr":',
            r"training.lrr is unknown, did you mean lr; a newer sparsweep",
        ),
        ('"lr":', '"dropout":0,"lr":', r"training.dropout is unknown; a newer .* this is \d"),
        ('"draws":1,', "", r"robustness.draws is missing; give the JSON"),
        ('"reason":', '"grund":', r"robustness.pools.grund is unknown"),
        ('"seed":0,"target', '"target', "not a trial spec: seed is missing"),
    ],
)
def test_a_stored_spec_with_other_fields_is_refused(old, new, message):
    text = perturbed_trial().to_json()
    assert old in text
    with pytest.raises(ValueError, match=message):
        TrialSpec.from_json(text.replace(old, new))


def test_canonical_json_refuses_what_json_cannot_say():
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"lr": float("nan")})


def test_trial_error_survives_pickling():
    import pickle

    error = pickle.loads(pickle.dumps(TrialError("bad_data", "tag 7")))
    assert (error.kind, str(error)) == ("bad_data", "tag 7")
