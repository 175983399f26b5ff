"""From sweep to trials: the grid, its order, what is left, and what is refused before anything
runs."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.errors import SpecError
from orchestrator.planning.plan import (
    describe_replaced_head,
    describe_unfindable,
    describe_unknown_languages,
    make_plan,
    plan_digest,
    trials_left,
)
from orchestrator.spec.languages import XTREME
from orchestrator.spec.sweep_spec import SweepSpec, load_sweep_spec
from workers.data.corpus import fingerprint_folder, fingerprint_language, fingerprints_before
from workers.trial import PERTURBATIONS, TrialSpec


def sweep(**changes) -> SweepSpec:
    fields = {
        "name": "tiny",
        "results": "out",
        "languages": ["en", "ka"],
        "sparsities": [0.0, 0.5],
        "seeds": [0, 1],
        "corpus": {"kind": "synthetic"},
        "model": {"name": "builtin:small-bert", "init": "random"},
    }
    return SweepSpec(**fields | changes)


def make_corpus(folder, num_train: int) -> None:
    for split, size in (("train", num_train), ("validation", 3), ("test", 3)):
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(
            pa.table({"tokens": [["a"]] * size, "ner_tags": [[0]] * size}),
            folder / f"{split}.parquet",
        )


def test_plan_is_the_whole_grid_longest_first():
    planned = make_plan(sweep(languages=["ka", "en"]))
    grid = [(trial.spec.language, trial.spec.target_sparsity, trial.spec.seed) for trial in planned]
    assert grid[:4] == [("en", 0.0, 0), ("en", 0.0, 1), ("en", 0.5, 0), ("en", 0.5, 1)]
    assert len(set(grid)) == 8
    costs = [trial.cost for trial in planned]
    assert costs == sorted(costs, reverse=True)


def test_cost_counts_training_and_a_third_for_scoring():
    trial = make_plan(
        sweep(languages=["ka"], sparsities=[0.0], seeds=[0], training={"num_epochs": 3})
    )[0]
    assert trial.cost == pytest.approx(3 * 100 + 100 / 3)
    steps = {"training": {"num_steps": 5, "batch_size": 4}, "evaluation": {"splits": ["test"]}}
    trial = make_plan(sweep(languages=["ka"], sparsities=[0.0], seeds=[0], **steps))[0]
    assert trial.cost == pytest.approx(20 + 100 / 3)


def test_cost_counts_each_perturbed_set_that_there_is():
    robustness = {
        "perturbations": ["within_language", "within_script"],
        "draws": 2,
    }  # Georgian has no script partner
    settings = {"training": {"num_steps": 5, "batch_size": 4}, "evaluation": {"splits": ["test"]}}
    trial = make_plan(
        sweep(languages=["ka"], sparsities=[0.0], seeds=[0], robustness=robustness, **settings)
    )[0]
    assert trial.cost == pytest.approx(20 + (100 + 2 * 100) / 3)


def test_cost_counts_the_passes_over_validation_that_choose_the_best_epoch():
    """Georgian has 100 sentences to train on, 4 steps of 32, and 100 in each other split. Of 28
    steps pruning ends with the 17th: the epochs that end with steps 20, 24 and 28 are candidates.
    """
    settings = {
        "training": {"num_epochs": 7},
        "pruning": {"end": 0.6},
        "evaluation": {"splits": ["test", "validation"], "selection": "best_epoch"},
    }
    planned = make_plan(sweep(languages=["ka"], seeds=[0], **settings))
    assert {trial.cost for trial in planned} == {7 * 100 + (200 + 3 * 100) / 3}


def test_adding_a_language_a_seed_or_a_sparsity_leaves_the_other_trials_as_they_are():
    before = {trial.trial_id for trial in make_plan(sweep())}
    more = make_plan(
        sweep(languages=["en", "ka", "zh"], seeds=[0, 1, 2], sparsities=[0.0, 0.5, 0.9])
    )
    assert before < {trial.trial_id for trial in more}


def test_epochs_do_not_matter_where_steps_are_given():
    def ids(**training):
        return [trial.trial_id for trial in make_plan(sweep(training=training))]

    assert ids(num_steps=5, num_epochs=3) == ids(num_steps=5, num_epochs=4)
    assert ids(num_epochs=3) != ids(num_epochs=4)


def test_what_is_left_is_the_plan_minus_the_results():
    planned = make_plan(sweep())
    statuses = {
        planned[0].trial_id: "completed",
        planned[1].trial_id: "failed",
        "another sweep's": "completed",
    }
    assert trials_left(planned, statuses) == planned[2:]
    assert trials_left(planned, statuses, retry_failed=True) == planned[1:]


def test_digest_tells_plans_of_other_trials_apart_and_nothing_else():
    planned = make_plan(sweep())
    assert (
        plan_digest(planned)
        == plan_digest(planned[::-1])
        == plan_digest(make_plan(sweep(name="renamed")))
    )
    assert re.fullmatch("[0-9a-f]{16}", plan_digest(planned))
    assert (
        len(
            {
                plan_digest(plan)
                for plan in (planned, planned[1:], make_plan(sweep(seeds=[0, 2])), [])
            }
        )
        == 4
    )


def test_corpus_folder_may_move(tmp_path):
    def ids(path):
        model = {"name": "some/encoder"}
        return [
            t.trial_id
            for t in make_plan(sweep(corpus={"kind": "path", "path": str(path)}, model=model))
        ]

    for place in ("here", "there"):
        for language in ("en", "ka"):
            make_corpus(tmp_path / place / language, num_train=5)
    assert ids(tmp_path / "here") == ids(tmp_path / "there")


def test_limits_lower_the_cost(tmp_path):
    make_corpus(tmp_path / "en", num_train=50)
    corpus = {
        "kind": "path",
        "path": str(tmp_path),
        "max_train_sentences": 10,
        "max_eval_sentences": 1,
    }
    trial = make_plan(sweep(languages=["en"], corpus=corpus, model={"name": "some/encoder"}))[0]
    assert trial.cost == pytest.approx(10 * 10 + 1 / 3)


def test_unknown_languages_are_refused():
    with pytest.raises(SpecError, match="'xx'"):
        make_plan(sweep(languages=["xx"], corpus={"kind": "hub"}, model={"name": "some/encoder"}))
    with pytest.raises(SpecError, match="'sw' is not in the synthetic corpus"):
        make_plan(sweep(languages=["sw"]))


def test_what_strict_matching_cannot_find_is_said_in_one_line(tmp_path):
    make_corpus(tmp_path / "en", num_train=5)
    make_corpus(tmp_path / "ka", num_train=5)
    table = pa.table({"tokens": [["a", "b"]], "ner_tags": [[2, 0]]})
    pq.write_table(table, tmp_path / "ka" / "test.parquet")
    of_folder = {
        "corpus": {"kind": "path", "path": str(tmp_path)},
        "model": {"name": "some/encoder"},
    }
    strict = make_plan(sweep(**of_folder, evaluation={"matching": "strict"}))
    assert describe_unfindable(strict) == [
        "no B- tag in ka test: strict matching finds no entity there, so F1 is undefined; "
        "set corpus.scheme=iob1 or io, if that is how entities are marked, or "
        "evaluation.matching=lenient"
    ]
    assert describe_unfindable(make_plan(sweep(**of_folder, languages=["en"]))) == []
    lenient = make_plan(sweep(**of_folder, evaluation={"matching": "lenient"}))
    assert describe_unfindable(lenient) == []


@pytest.mark.parametrize(
    ("config", "task"),
    [
        ({"architectures": ["BertForTokenClassification"]}, "BertForTokenClassification"),
        ({"architectures": ["XLMRobertaForQuestionAnswering"]}, "XLMRobertaForQuestionAnswering"),
        ({"architectures": ["BertForMaskedLM"]}, None),
        ({"architectures": ["XLMWithLMHeadModel"]}, None),
        ({"architectures": ["T5EncoderModel"]}, None),
        ({"architectures": []}, None),
        ({"architectures": 5}, None),
        ({}, None),
    ],
)
def test_head_that_is_replaced_is_named(tmp_path, config, task):
    (tmp_path / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "model.safetensors"):
        (tmp_path / name).write_text("x")
    line = f"model.name: {tmp_path} is a {task}; its head is replaced by one that seeds decide"
    model = {"name": str(tmp_path)}
    assert describe_replaced_head(make_plan(sweep(model=model))) == ([line] if task else [])
    assert describe_replaced_head(make_plan(sweep(model=model | {"init": "random"}))) == []


def test_no_head_is_replaced_in_a_model_without_a_folder():
    assert describe_replaced_head([]) == []
    assert describe_replaced_head(make_plan(sweep())) == []
    on_hub = {"corpus": {"kind": "hub"}, "model": {"name": "some/encoder"}}
    assert describe_replaced_head(make_plan(sweep(**on_hub, languages=["sw"]))) == []


def test_bad_corpus_is_refused_at_planning(tmp_path):
    corpus = {"kind": "path", "path": str(tmp_path)}
    with pytest.raises(SpecError, match="'en' has no folder in"):
        make_plan(sweep(corpus=corpus, model={"name": "some/encoder"}))
    make_corpus(tmp_path / "en", num_train=0)
    with pytest.raises(SpecError, match=r"train.parquet.*(no sentences|expected a list)"):
        make_plan(sweep(corpus=corpus, model={"name": "some/encoder"}))


@pytest.mark.parametrize(
    ("files", "init", "message"),
    [
        ([], "pretrained", "has no config.json"),
        (["config.json"], "pretrained", "has no tokenizer; expected tokenizer.json or"),
        # As CANINE is published, which reads characters.
        (
            ["config.json", "tokenizer_config.json", "special_tokens_map.json"],
            "pretrained",
            "has no tokenizer; .*; models of characters or bytes, such as CANINE and ByT5, have",
        ),
        (
            ["config.json", "tokenizer.json"],
            "pretrained",
            "has no weights .* set model.init=random",
        ),
    ],
)
def test_incomplete_model_folder_is_refused(tmp_path, files, init, message):
    for name in files:
        (tmp_path / name).write_text("{}")
    with pytest.raises(SpecError, match=message):
        make_plan(sweep(corpus={"kind": "hub"}, model={"name": str(tmp_path), "init": init}))


@pytest.mark.parametrize("name", ["spm.model", "sentencepiece.bpe.model"])
def test_a_tokenizer_that_nothing_here_reads_is_refused_by_name(tmp_path, monkeypatch, name):
    """As mDeBERTa is published."""
    for file in ("config.json", name, "model.safetensors"):
        (tmp_path / file).write_text("{}")
    asked = sweep(corpus={"kind": "hub"}, model={"name": str(tmp_path)})
    monkeypatch.setattr("workers.model.folder.can_read_sentencepiece", lambda: False)
    message = f"has its tokenizer as {name} only; install the package sentencepiece where"
    with pytest.raises(SpecError, match=message):
        make_plan(asked)
    monkeypatch.setattr("workers.model.folder.can_read_sentencepiece", lambda: True)
    (first, *_) = make_plan(asked)
    (tmp_path / name).write_text("another")
    assert make_plan(asked)[0].spec.model.fingerprint != first.spec.model.fingerprint


def test_a_file_of_sentencepiece_beside_another_tokenizer_leaves_trials_as_they_were(tmp_path):
    for file in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / file).write_text("{}")
    asked = sweep(corpus={"kind": "hub"}, model={"name": str(tmp_path)})
    before = make_plan(asked)[0].trial_id
    (tmp_path / "spm.model").write_text("{}")
    assert make_plan(asked)[0].trial_id == before


def test_model_without_linear_layers_is_refused_where_trials_are_pruned(tmp_path):
    for name in ("tokenizer.json", "model.safetensors"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    fields = {"corpus": {"kind": "hub"}, "model": {"name": str(tmp_path)}}
    with pytest.raises(SpecError, match="architecture gpt2, which has no linear layers to prune"):
        make_plan(sweep(**fields, sparsities=[0.0, 0.5]))
    assert make_plan(sweep(**fields, sparsities=[0.0]))


def test_model_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SpecError, match="nowhere' is not a folder"):
        make_plan(sweep(corpus={"kind": "hub"}, model={"name": str(tmp_path / "nowhere")}))


def test_weights_count_for_pretrained_models_only(tmp_path):
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / name).write_text("{}")

    def first_id(init: str) -> str:
        return make_plan(
            sweep(corpus={"kind": "hub"}, model={"name": str(tmp_path), "init": init})
        )[0].trial_id

    before = first_id("random"), first_id("pretrained")
    (tmp_path / "model.safetensors").write_text("other weights")
    assert first_id("random") == before[0]
    assert first_id("pretrained") != before[1]


@pytest.mark.slow
def test_planning_needs_neither_torch_nor_ray():
    code = (
        "import sys, json; from orchestrator.spec.sweep_spec import load_sweep_spec;"
        "from orchestrator.planning.plan import make_plan;"
        "make_plan(load_sweep_spec('smoke'));"
        "heavy = ('torch', 'ray', 'transformers', 'faker', 'datasets');"
        "print(json.dumps([name for name in heavy if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_who_computes_changes_no_trial_and_what_is_pruned_does():
    def ids(*settings: str) -> list[str]:
        return [
            trial.trial_id
            for trial in make_plan(load_sweep_spec("smoke", ["results=unused", *settings]))
        ]

    assert ids("pruning.kernels=reference") == ids()
    shadow = ids("pruning.semantics=dense_shadow")
    assert len(set(ids()) & set(shadow)) == 8, "the dense trials, and they alone, are shared"


# Regimes, embeddings, pruning axes, perturbed test sets


def specs(**changes):
    return [trial.spec for trial in make_plan(sweep(**changes))]


@pytest.mark.parametrize(
    ("name", "num_trials", "num_languages"),
    [("paper-mono", 1800, 40), ("paper-multi", 45, 40), ("xtreme-dense", 120, 40)],
)
def test_sweeps_of_the_paper_have_its_trials(name, num_trials, num_languages):
    planned = [trial.spec for trial in make_plan(load_sweep_spec(name))]
    assert len(planned) == num_trials
    assert len({code for spec in planned for code in spec.languages}) == num_languages
    assert {spec.corpus.kind for spec in planned} == {"hub"}
    assert {spec.seed for spec in planned} == {0, 1, 2}
    for evaluation in (spec.evaluation for spec in planned):
        needs_validation = evaluation.selection == "best_epoch"
        assert ("validation" in evaluation.splits) == needs_validation, "it costs time"
    cells = {(spec.target_sparsity, spec.embedding_sparsity) for spec in planned}
    levels = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98] if name.startswith("paper") else []
    assert cells == {(0.0, 0.0)} | {
        (level, embedding) for level in levels for embedding in (0.0, level)
    }


def test_zero_shot_sweep_trains_on_english_and_scores_the_others():
    planned = make_plan(load_sweep_spec("xtreme-zero-shot"))
    assert {(spec.languages, spec.seed) for spec in (trial.spec for trial in planned)} == {
        (("en",), seed) for seed in (0, 1, 2)
    }
    assert {spec.evaluation.languages for spec in (trial.spec for trial in planned)} == {
        tuple(code for code in XTREME if code != "en")
    }
    assert {trial.spec.evaluation.select_after for trial in planned} == {0.0}


@pytest.mark.parametrize(
    "name", ["paper-mono", "paper-multi", "xtreme-dense", "paper-mini-mono", "paper-mini-multi"]
)
def test_sweeps_of_the_hub_run_on_a_folder_by_naming_it(name, tmp_path):
    for language in ("sw", "yo"):
        make_corpus(tmp_path / language, num_train=5)
    overrides = [f"corpus.path={tmp_path}", "languages=[sw, yo]"]
    planned = [trial.spec for trial in make_plan(load_sweep_spec(name, overrides))]
    assert {(spec.corpus.kind, spec.corpus.path) for spec in planned} == {("path", str(tmp_path))}


def test_multilingual_trials_have_all_languages_whatever_their_order():
    together = specs(regime="multilingual", languages=["ka", "en"])
    assert {spec.languages for spec in together} == {("en", "ka")}
    assert len(together) == 2 * 2
    assert {spec.training.sampling for spec in together} == {"proportional"}
    again = specs(regime="multilingual", languages=["en", "ka"])
    assert [spec.trial_id() for spec in again] == [spec.trial_id() for spec in together]
    assert {spec.training.sampling for spec in specs()} == {None}


def test_multilingual_trials_on_a_folder_have_a_fingerprint_of_all_files(tmp_path):
    for language, num_train in (("en", 5), ("ka", 4)):
        make_corpus(tmp_path / language, num_train)
    corpus, model = {"kind": "path", "path": str(tmp_path)}, {"name": "some/encoder"}

    def fingerprints(**changes) -> set:
        return {spec.corpus.fingerprint for spec in specs(corpus=corpus, model=model, **changes)}

    before = fingerprints(regime="multilingual")
    assert len(before) == 1
    assert not before & fingerprints(regime="monolingual")
    make_corpus(tmp_path / "ka", num_train=6)
    assert fingerprints(regime="multilingual") != before


def test_embeddings_are_an_axis_and_the_same_target_is_the_same_trial():
    targets = [
        (spec.target_sparsity, spec.embedding_sparsity)
        for spec in specs(
            languages=["en"],
            seeds=[0],
            sparsities=[0.0, 0.5, 0.9],
            pruning={"embedding_sparsity": ["off", "same", 0.5]},
        )
    ]
    assert targets == [(0.0, 0.0), (0.5, 0.0), (0.5, 0.5), (0.9, 0.0), (0.9, 0.9), (0.9, 0.5)]


def test_settings_that_have_no_effect_do_not_tell_trials_apart():
    def ids(**pruning) -> list[str]:
        return [spec.trial_id() for spec in specs(pruning=pruning)]

    assert ids(sparsity_schedule="one_shot", begin=0.5) == ids(
        sparsity_schedule="one_shot", begin=0.5, update_every_steps=3
    )
    assert ids(sparsity_schedule="one_shot") == ids(sparsity_schedule="one_shot", num_updates=3)
    assert ids(sparsity_schedule="constant") != ids(sparsity_schedule="one_shot")
    (pruning,) = {
        spec.pruning for spec in specs(sparsities=[0.5], pruning={"sparsity_schedule": "constant"})
    }
    assert (pruning.begin, pruning.end) == (0.0, 0.0)


def test_a_number_of_updates_takes_the_place_of_the_interval():
    (pruning,) = {spec.pruning for spec in specs(sparsities=[0.5], pruning={"num_updates": 20})}
    assert (pruning.update_every_steps, pruning.num_updates) == (None, 20)


def test_n_of_m_prunes_each_layer_by_itself_without_being_told():
    (pruning,) = {
        spec.pruning
        for spec in specs(sparsities=[0.5], pruning={"granularity": "n_of_m", "n_of_m": [2, 4]})
    }
    assert (pruning.scope, pruning.n_of_m) == ("layer", (2, 4))


@pytest.mark.parametrize(
    ("pruning", "message"),
    [
        (
            {"sparsity_schedule": "constant", "begin": 0.2},
            r"pruning.begin: 0.2 with sparsity_schedule constant",
        ),
        (
            {"sparsity_schedule": "one_shot", "end": 0.9},
            r"pruning.end: 0.9 with sparsity_schedule one_shot",
        ),
        (
            {"sparsity_schedule": "constant", "saliency": "movement"},
            r"saliency: movement with sparsity_schedule constant; its masks are fixed before the "
            r"first gradient",
        ),
        ({"granularity": "n_of_m"}, r"pruning.n_of_m: missing with granularity n_of_m"),
        (
            {"n_of_m": [1, 4], "granularity": "n_of_m"},
            r"n_of_m: 1 of 4 is sparsity 0.75 and the target is 0.5",
        ),
        (
            {"scope": "global", "n_of_m": [2, 4], "granularity": "n_of_m"},
            r"pruning.scope: global with granularity n_of",
        ),
        (
            {"block_shape": [4, 4]},
            r"pruning.block_shape: \[4, 4\] with granularity unstructured; leave it out",
        ),
        ({"include": ["("]}, r"pruning.include: '\(' is no regular expression"),
        (
            {"saliency": "random", "semantics": "dense_shadow"},
            r"pruning.saliency: random with semantics dense_shadow",
        ),
    ],
)
def test_choices_that_do_not_go_together_are_refused_with_the_reason(pruning, message):
    with pytest.raises(SpecError, match=message):
        make_plan(sweep(pruning=pruning))


def pools(**changes) -> dict[tuple[str, str], tuple[str, ...]]:
    asked = {"perturbations": list(PERTURBATIONS)}
    found = {}
    for spec in specs(robustness=asked | changes.pop("robustness", {}), **changes):
        found |= {(pool.language, pool.perturbation): pool.donors for pool in spec.robustness.pools}
    return found


def test_donors_share_script_or_family_and_a_pool_may_be_empty():
    found = pools(
        languages=["el", "yo", "ka"], corpus={"kind": "hub"}, model={"name": "some/encoder"}
    )
    assert found["el", "within_language"] == ("el",)
    assert found["el", "within_script"] == ()
    assert {"de", "hi", "fa"} < set(found["el", "within_family"])
    assert found["yo", "within_family"] == ("sw",)
    assert {"sw", "vi", "tr"} < set(found["yo", "within_script"])
    assert (found["ka", "within_script"], found["ka", "within_family"]) == ((), ())


def test_donors_may_share_a_branch_of_the_family():
    hub = {"corpus": {"kind": "hub"}, "model": {"name": "some/encoder"}}
    found = pools(languages=["hi", "el", "th"], **hub)
    assert found["hi", "within_branch"] == ("bn", "mr", "ur")
    assert found["el", "within_branch"] == found["th", "within_branch"] == ()
    reasons = {
        pool.language: pool.reason
        for spec in specs(
            languages=["el", "ka"], robustness={"perturbations": ["within_branch"]}, **hub
        )
        for pool in spec.robustness.pools
    }
    assert reasons == {
        "el": "no other language of the corpus shares its branch, Greek",
        "ka": "no other language of the corpus shares its branch, Kartvelian",
    }


def test_why_a_pool_is_empty_is_told():
    (spec,) = specs(
        languages=["ka"],
        sparsities=[0.0],
        seeds=[0],
        robustness={"perturbations": ["within_script"]},
    )
    assert (
        spec.robustness.pools[0].reason == "no other language of the corpus shares its script, Geor"
    )


def test_donors_may_be_listed():
    found = pools(languages=["en"], robustness={"donors": ["id", "ka"]})
    assert (found["en", "within_script"], found["en", "within_family"]) == (("id",), ())


def test_languages_that_nothing_is_known_of_give_no_entities():
    hub = {"corpus": {"kind": "hub", "name": "some/corpus"}, "model": {"name": "some/encoder"}}
    asked = {"languages": ["en", "xx"], "robustness": {"donors": ["xx"]}} | hub
    table = {"xx": {"branch": "Xic"}}
    with pytest.raises(
        SpecError,
        match=r"robustness.donors: 'xx' is no language whose script or family is known; describe "
        "it under language_table",
    ):
        pools(language_table=table, **asked)
    table["xx"] |= {"script": "Latn"}
    found = pools(language_table=table, **asked)
    assert (found["en", "within_script"], found["en", "within_family"]) == (("xx",), ())


OTHER_HUB = {"corpus": {"kind": "hub", "name": "some/corpus"}, "model": {"name": "some/encoder"}}


def test_languages_outside_the_table_are_planned_and_what_does_not_apply_is_said(tmp_path):
    for code in ("hau", "ibo", "xx", "old"):
        make_corpus(tmp_path / code, num_train=64)
    asked = {
        "languages": ["hau", "xx"],
        "corpus": {"path": str(tmp_path)},
        "model": {"name": "some/encoder"},
        "robustness": {"perturbations": list(PERTURBATIONS)},
    }
    assert describe_unknown_languages(sweep(**asked), make_plan(sweep(**asked))) == [
        "script and family of xx: not known, so they have no part in tables by script and family, "
        "within_script, within_family, within_branch; describe it under language_table"
    ]
    found = pools(**asked)
    assert (found["hau", "within_script"], found["hau", "within_family"]) == (("ibo",), ())
    assert (found["xx", "within_language"], found["xx", "within_script"]) == (("xx",), ())
    before = {trial.trial_id for trial in make_plan(sweep(**asked))}

    asked["language_table"] = {"xx": {"script": "Latn", "family": "Afro-Asiatic"}}
    described = sweep(**asked)
    assert describe_unknown_languages(described, make_plan(described)) == []
    assert {trial.trial_id for trial in make_plan(described)} == before
    found = pools(**asked)
    assert found["xx", "within_script"] == ("hau", "ibo")
    assert found["xx", "within_branch"] == (), "Hausa is of another branch"
    assert found["xx", "within_family"] == ("hau",)


def test_a_mistyped_language_of_a_folder_is_refused_with_a_close_one(tmp_path):
    make_corpus(tmp_path / "sw", num_train=3)
    make_corpus(tmp_path / "hau", num_train=3)
    asked = {"corpus": {"path": str(tmp_path)}, "model": {"name": "some/encoder"}}
    for code, hint in (("swa", "sw (Swahili)"), ("huas", "hau (Hausa)")):
        with pytest.raises(SpecError) as refusal:
            make_plan(sweep(languages=[code], **asked))
        assert str(refusal.value) == (
            f"languages: {code!r} has no folder in {tmp_path}; folders there: hau, sw; "
            f"did you mean {hint}?"
        )
    with pytest.raises(SpecError, match="folders there: hau, sw$"):
        make_plan(sweep(languages=["xx"], **asked))


def test_other_corpora_of_the_hub_have_languages_that_somebody_knows():
    asked = {"languages": ["hau", "ibo"], "sparsities": [0.0], "seeds": [0]} | OTHER_HUB
    evaluation = {"selection": "best_epoch"}
    planned = make_plan(sweep(**asked, evaluation=evaluation))
    assert [trial.num_steps for trial in planned] == [0, 0]
    assert describe_unknown_languages(sweep(**asked), planned) == [
        "hau, ibo: how many sentences some/corpus has is known when they are loaded; until then "
        "these trials count as if they took no time"
    ]
    found = pools(**asked)
    assert found["hau", "within_script"] == ("ibo",), "of the languages that the sweep names"
    with pytest.raises(
        SpecError,
        match=r"languages: nothing is known of 'huas'; did you mean .*\? if some/corpus has it, "
        "describe it under language_table",
    ):
        make_plan(sweep(**asked | {"languages": ["huas"]}))
    table = {"huas": {"branch": "Chadic"}}
    assert len(make_plan(sweep(**asked | {"languages": ["huas"]}, language_table=table))) == 1


def test_all_languages_of_wikiann_are_planned_and_those_of_xtreme_give_entities():
    hub = {"corpus": {"kind": "hub"}, "model": {"name": "some/encoder"}}
    (trial, *_) = make_plan(sweep(languages=["lt"], training={"num_epochs": 1}, **hub))
    assert trial.num_steps == -(-10_000 // 32)
    found = pools(languages=["lt", "gu"], **hub)
    assert set(found["lt", "within_script"]) < set(XTREME)
    assert found["lt", "within_branch"] == found["gu", "within_script"] == ()
    found = pools(languages=["lt"], robustness={"donors": ["lv", "en"]}, **hub)
    assert found["lt", "within_branch"] == ("lv",)


def test_masakhaner_is_planned_from_its_own_files(tmp_path):
    """As its repository has them: three letters of ISO 639, `dev`, a blank between columns."""
    text = "Sen B-PER\nto O\nBamako B-LOC\n\nkunun B-DATE\n\n"
    overrides = [f"corpus.path={tmp_path}", f"results={tmp_path}/r"]
    for code in load_sweep_spec("masakhaner-2", overrides).languages:
        (tmp_path / code).mkdir()
        for split in ("train", "dev", "test"):
            (tmp_path / code / f"{split}.txt").write_text(text)
    asked = load_sweep_spec("masakhaner-2", overrides)
    planned = make_plan(asked)
    assert (len(asked.languages), len(planned)) == (20, 480)
    assert {trial.spec.corpus.entity_types for trial in planned} == {("PER", "ORG", "LOC", "DATE")}
    assert describe_unknown_languages(asked, planned) == []
    found = {
        (pool.language, pool.perturbation): pool.donors
        for trial in planned
        for pool in trial.spec.robustness.pools
    }
    assert found["zul", "within_branch"] == ("kin", "lug", "nya", "sna", "swa", "tsn", "xho")
    assert found["ewe", "within_branch"] == ("fon",)
    assert found["hau", "within_family"] == found["luo", "within_family"] == ()
    assert len(found["hau", "within_script"]) == 19


def test_donors_that_are_not_there_are_refused_by_that_name(tmp_path):
    with pytest.raises(
        SpecError, match=r"robustness.donors: the corpus has no train split of 'sw'; it has .*ka"
    ):
        pools(robustness={"donors": ["sw"]})
    make_corpus(tmp_path / "sw", num_train=5)
    (tmp_path / "id").mkdir()  # has nothing, and is asked for nothing
    on_folder = {
        "corpus": {"kind": "path", "path": str(tmp_path)},
        "model": {"name": "some/encoder"},
    }
    assert pools(languages=["sw"], **on_folder)["sw", "within_script"] == ()
    (tmp_path / "id" / "train.parquet").write_bytes(b"garbage")
    with pytest.raises(
        SpecError, match=r"robustness.donors: .*id/train.parquet: not a readable Parquet file"
    ):
        pools(languages=["sw"], **on_folder)


def test_donors_need_the_split_that_gives_entities(tmp_path):
    for code in ("sw", "yo", "id"):
        make_corpus(tmp_path / code, num_train=5)
    (tmp_path / "id" / "validation.parquet").unlink()
    on_folder = {"corpus": {"path": str(tmp_path)}, "model": {"name": "some/encoder"}}
    asked = {"perturbations": ["within_script", "within_language"], "donor_split": "validation"}

    def robustness(languages: list[str], **changes):
        planned = specs(languages=languages, robustness=asked | changes, **on_folder)
        return planned[0].robustness

    found = robustness(["sw"])
    assert {pool.donors for pool in found.pools} == {("yo",), ("sw",)}
    splits = ["train", "validation"]
    assert found.donor_fingerprint == fingerprint_folder(tmp_path, "yo", splits)
    with pytest.raises(SpecError, match=r"no train and validation split of 'id'; it has sw, yo"):
        robustness(["sw"], donors=["id"])
    with pytest.raises(SpecError, match=r"id.*no split 'validation'"):
        robustness(["id"])


def test_an_empty_pool_of_listed_donors_says_so():
    asked = {"perturbations": ["within_script"], "donors": ["ka"]}
    (spec,) = specs(languages=["en"], sparsities=[0.0], seeds=[0], robustness=asked)
    assert spec.robustness.pools[0].reason == "none of robustness.donors shares its script, Latn"


def test_other_donors_are_other_trials_that_can_be_told_apart():
    def fingerprints(donors: list[str] | None) -> set[str | None]:
        asked = {"perturbations": ["within_script"], "donors": donors}
        return {
            spec.robustness.donor_fingerprint for spec in specs(languages=["en"], robustness=asked)
        }

    assert len(fingerprints(None) | fingerprints(["de"]) | fingerprints(["de", "fr"])) == 3


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            {"evaluation": {"splits": ["test", "validation"]}},
            {"evaluation": {"splits": ["validation", "test"]}},
        ),
        ({"evaluation": {"predictions": ["perturbed", "test"]}}, {}),
        (
            {"evaluation": {"splits": ["validation"]}},
            {"evaluation": {"splits": ["validation"], "predictions": []}},
        ),
        (
            {"robustness": {"perturbations": ["within_script", "within_language"]}},
            {"robustness": {"perturbations": ["within_language", "within_script"]}},
        ),
    ],
)
def test_order_and_what_is_not_scored_do_not_tell_trials_apart(one, other):
    assert specs(**one) == specs(**other)


def test_files_of_donors_tell_perturbed_sets_apart_and_not_trials(tmp_path):
    for language in ("sw", "yo", "ka", "xx"):
        make_corpus(tmp_path / language, num_train=5)
    corpus, model = {"kind": "path", "path": str(tmp_path)}, {"name": "some/encoder"}

    def first(language: str) -> TrialSpec:
        asked = {"perturbations": ["within_script"]}
        return specs(languages=[language], corpus=corpus, model=model, robustness=asked)[0]

    before = {language: first(language) for language in ("sw", "ka", "xx")}
    make_corpus(tmp_path / "yo", num_train=6)  # shares its script with sw only
    assert first("sw").robustness != before["sw"].robustness
    assert first("sw").trial_id() == before["sw"].trial_id()
    assert (first("ka"), first("xx")) == (before["ka"], before["xx"])


def test_which_splits_are_scored_does_not_tell_trials_on_a_folder_apart(tmp_path):
    make_corpus(tmp_path / "ka", num_train=5)
    changes = {"corpus": {"path": str(tmp_path)}, "model": {"name": "some/encoder"}}
    changes["languages"] = ["ka"]

    def ids(splits: list[str]) -> list[str]:
        return [spec.trial_id() for spec in specs(evaluation={"splits": splits}, **changes)]

    assert ids(["test"]) == ids(["validation"]) == ids(["validation", "test"])
    before = ids(["test"])
    table = pa.table({"tokens": [["Tbilisi"]], "ner_tags": [[5]]})
    pq.write_table(table, tmp_path / "ka" / "validation.parquet")
    assert ids(["test"]) != before, "all files of the language count"


def test_a_folder_without_a_split_that_is_not_scored_is_planned(tmp_path):
    make_corpus(tmp_path / "ka", num_train=5)
    (tmp_path / "ka" / "validation.parquet").unlink()
    changes = {"corpus": {"path": str(tmp_path)}, "model": {"name": "some/encoder"}}
    assert specs(languages=["ka"], evaluation={"splits": ["test"]}, **changes)
    with pytest.raises(SpecError, match="no split 'validation'"):
        specs(languages=["ka"], evaluation={"selection": "best_epoch"}, **changes)


@pytest.mark.parametrize(
    ("evaluation", "splits"),
    [
        ({}, ("test",)),
        ({"selection": "best_epoch"}, ("validation", "test")),
        ({"predictions": ["validation"]}, ("validation", "test")),
        ({"splits": ["validation"]}, ("validation",)),
    ],
)
def test_validation_is_scored_where_something_asks_for_it(evaluation, splits):
    assert {spec.evaluation.splits for spec in specs(evaluation=evaluation)} == {splits}


@pytest.mark.parametrize(
    ("changes", "after"),
    [
        ({}, 0.7),
        ({"pruning": {"end": 0.5}}, 0.5),
        ({"pruning": {"sparsity_schedule": "one_shot"}}, 0.1),
        ({"pruning": {"sparsity_schedule": "constant"}}, 0.0),
        ({"sparsities": [0]}, 0.0),
    ],
)
def test_dense_and_sparse_trials_choose_among_the_epochs_after_pruning(changes, after):
    def chosen(**evaluation):
        asked = {"sparsities": [0, 0.5]} | changes | {"evaluation": evaluation}
        return {spec.evaluation.select_after for spec in specs(**asked)}

    assert chosen(selection="best_epoch") == {after}
    assert chosen(selection="best_epoch", select_after=0.8) == {0.8}
    assert chosen() == {None}


def test_the_dense_trial_of_a_best_epoch_is_the_one_that_is_planned():
    planned = specs(sparsities=[0, 0.5], evaluation={"selection": "best_epoch"})
    dense = {spec.trial_id() for spec in planned if not spec.target_sparsity}
    assert {spec.dense_counterpart().trial_id() for spec in planned} == dense


def test_other_languages_to_score_are_no_part_of_a_trial_and_cost_their_sentences():
    hub = {"corpus": {"kind": "hub"}, "model": {"name": "some/encoder"}}
    hub |= {"languages": ["en"], "sparsities": [0], "seeds": [0]}
    (plain,) = make_plan(sweep(**hub))
    (asked,) = make_plan(sweep(**hub, evaluation={"languages": ["yo", "en", "sw"]}))
    assert asked.spec.evaluation.languages == ("sw", "yo"), "it is trained on the other one"
    assert asked.spec.evaluation.zero_shot == {"sw": None, "yo": None}
    assert asked.trial_id == plain.trial_id
    assert asked.cost - plain.cost == pytest.approx((1000 + 100) / 3)
    both = {"splits": ["validation", "test"]}
    (plain,) = make_plan(sweep(**hub, evaluation=both))
    (asked,) = make_plan(sweep(**hub, evaluation=both | {"languages": ["sw"]}))
    assert asked.cost - plain.cost == pytest.approx(2000 / 3)


def test_each_trial_is_scored_on_the_languages_of_the_others():
    planned = specs(languages=["en", "ka"], evaluation={"languages": ["en", "ka"]})
    others = {(spec.language, spec.evaluation.languages) for spec in planned}
    assert others == {("en", ("ka",)), ("ka", ("en",))}


def test_a_language_to_score_needs_no_train_split_but_what_is_scored(tmp_path):
    for code in ("sw", "yo"):
        make_corpus(tmp_path / code, num_train=5)
    (tmp_path / "yo" / "train.parquet").unlink()

    def planned(*codes: str, splits: Sequence[str] = ("test",)) -> TrialSpec:
        evaluation = {"languages": list(codes), "splits": list(splits)}
        changes = {"corpus": {"path": str(tmp_path)}, "model": {"name": "some/encoder"}}
        return specs(languages=["sw"], evaluation=evaluation, **changes)[0]

    files = fingerprint_folder(tmp_path, "yo", ["validation", "test"])
    assert planned("yo").evaluation.zero_shot == {"yo": files}
    both = planned("yo", splits=["validation", "test"])
    assert both.evaluation.zero_shot == {"yo": files}, "whatever is scored"
    with pytest.raises(
        SpecError, match=r"^evaluation.languages: 'xx' has no folder in .*; remove xx from eval"
    ):
        planned("xx")
    (tmp_path / "yo" / "validation.parquet").unlink()
    with pytest.raises(
        SpecError,
        match=r"^evaluation.languages: .*yo: no split 'validation'.*; remove yo from "
        "evaluation.languages or give it the splits validation and test$",
    ):
        planned("yo", splits=["validation", "test"])


def test_an_unknown_language_to_score_is_refused_by_that_name():
    with pytest.raises(SpecError, match=r"^evaluation.languages: .*'xx'.*; remove xx from"):
        specs(evaluation={"languages": ["xx"]})
    hub = {"corpus": {"kind": "hub"}, "model": {"name": "some/encoder"}}
    with pytest.raises(SpecError, match=r"^evaluation.languages: 'swa' is no language .*mean sw"):
        specs(evaluation={"languages": ["swa"]}, **hub)


def test_a_folder_that_results_know_by_the_fingerprint_of_an_earlier_version_keeps_it(tmp_path):
    for language in ("ka", "sw"):
        make_corpus(tmp_path / language, num_train=5)
    for regime in ("monolingual", "multilingual"):
        asked = sweep(
            languages=["ka", "sw"],
            regime=regime,
            corpus={"path": str(tmp_path)},
            model={"name": "some/encoder"},
        )
        groups = [["ka", "sw"]] if regime == "multilingual" else [["ka"], ["sw"]]
        today = {trial.spec.corpus.fingerprint for trial in make_plan(asked)}
        before = {fingerprints_before(tmp_path, group)[0] for group in groups}
        assert not before & today

        def planned(known: set[str | None], asked: SweepSpec = asked) -> set[str | None]:
            return {trial.spec.corpus.fingerprint for trial in make_plan(asked, known)}

        assert planned(before) == before
        assert planned({"of another folder"}) == today
        assert planned(before | today) == today, "results of today come first"


def test_fingerprints_of_an_earlier_version_are_those_of_train_and_one_split(tmp_path):
    make_corpus(tmp_path / "ka", num_train=5)
    splits = [("train", "test"), ("train", "validation")]
    of_splits = [fingerprint_folder(tmp_path, "ka", names) for names in splits]
    assert fingerprints_before(tmp_path, ["ka"]) == of_splits
    (tmp_path / "ka" / "validation.parquet").unlink()
    assert fingerprints_before(tmp_path, ["ka"]) == of_splits[:1]
    assert fingerprint_language(tmp_path, "ka") == of_splits[0], "there are no other files"
