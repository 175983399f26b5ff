"""From sweep to trials: the grid, its order, what is left, and what is refused before anything runs."""

import json
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.errors import SpecError
from orchestrator.plan import make_plan, trials_left
from orchestrator.sweep_spec import SweepSpec, load_sweep_spec


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
        pq.write_table(pa.table({"tokens": [["a"]] * size, "ner_tags": [[0]] * size}), folder / f"{split}.parquet")


def test_plan_is_the_whole_grid_longest_first():
    planned = make_plan(sweep(languages=["ka", "en"]))
    grid = [(trial.spec.language, trial.spec.target_sparsity, trial.spec.seed) for trial in planned]
    assert grid[:4] == [("en", 0.0, 0), ("en", 0.0, 1), ("en", 0.5, 0), ("en", 0.5, 1)]
    assert len(set(grid)) == 8
    costs = [trial.cost for trial in planned]
    assert costs == sorted(costs, reverse=True)


def test_cost_counts_training_and_a_third_for_scoring():
    trial = make_plan(sweep(languages=["ka"], sparsities=[0.0], seeds=[0], training={"num_epochs": 3}))[0]
    assert trial.cost == pytest.approx(3 * 100 + (100 + 100) / 3)
    steps = {"training": {"num_steps": 5, "batch_size": 4}, "evaluation": {"splits": ["test"]}}
    trial = make_plan(sweep(languages=["ka"], sparsities=[0.0], seeds=[0], **steps))[0]
    assert trial.cost == pytest.approx(20 + 100 / 3)


def test_adding_a_language_a_seed_or_a_sparsity_leaves_the_other_trials_as_they_are():
    before = {trial.trial_id for trial in make_plan(sweep())}
    more = make_plan(sweep(languages=["en", "ka", "zh"], seeds=[0, 1, 2], sparsities=[0.0, 0.5, 0.9]))
    assert before < {trial.trial_id for trial in more}


def test_epochs_do_not_matter_where_steps_are_given():
    def ids(**training):
        return [trial.trial_id for trial in make_plan(sweep(training=training))]

    assert ids(num_steps=5, num_epochs=3) == ids(num_steps=5, num_epochs=4)
    assert ids(num_epochs=3) != ids(num_epochs=4)


def test_what_is_left_is_the_plan_minus_the_results():
    planned = make_plan(sweep())
    statuses = {planned[0].trial_id: "completed", planned[1].trial_id: "failed", "another sweep's": "completed"}
    assert trials_left(planned, statuses) == planned[2:]
    assert trials_left(planned, statuses, retry_failed=True) == planned[1:]


def test_corpus_folder_may_move(tmp_path):
    def ids(path):
        model = {"name": "some/encoder"}
        return [t.trial_id for t in make_plan(sweep(corpus={"kind": "path", "path": str(path)}, model=model))]

    for place in ("here", "there"):
        for language in ("en", "ka"):
            make_corpus(tmp_path / place / language, num_train=5)
    assert ids(tmp_path / "here") == ids(tmp_path / "there")


def test_limits_lower_the_cost(tmp_path):
    make_corpus(tmp_path / "en", num_train=50)
    corpus = {"kind": "path", "path": str(tmp_path), "max_train_sentences": 10, "max_eval_sentences": 1}
    trial = make_plan(sweep(languages=["en"], corpus=corpus, model={"name": "some/encoder"}))[0]
    assert trial.cost == pytest.approx(10 * 10 + 2 / 3)


def test_unknown_languages_are_refused():
    with pytest.raises(SpecError, match="'xx'"):
        make_plan(sweep(languages=["xx"], corpus={"kind": "hub"}, model={"name": "some/encoder"}))
    with pytest.raises(SpecError, match="'sw' is not in the synthetic corpus"):
        make_plan(sweep(languages=["sw"]))


def test_bad_corpus_is_refused_at_planning(tmp_path):
    corpus = {"kind": "path", "path": str(tmp_path)}
    with pytest.raises(SpecError, match="'en' has no folder in"):
        make_plan(sweep(corpus=corpus, model={"name": "some/encoder"}))
    make_corpus(tmp_path / "en", num_train=0)
    with pytest.raises(SpecError, match=r"train.parquet.*(no sentences|expected lists)"):
        make_plan(sweep(corpus=corpus, model={"name": "some/encoder"}))


@pytest.mark.parametrize(
    ("files", "init", "message"),
    [
        ([], "pretrained", "has no config.json"),
        (["config.json"], "pretrained", "has no tokenizer; expected tokenizer.json or"),
        (["config.json", "tokenizer.json"], "pretrained", "has no weights .* set model.init=random"),
    ],
)
def test_incomplete_model_folder_is_refused(tmp_path, files, init, message):
    for name in files:
        (tmp_path / name).write_text("{}")
    with pytest.raises(SpecError, match=message):
        make_plan(sweep(corpus={"kind": "hub"}, model={"name": str(tmp_path), "init": init}))


def test_model_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SpecError, match="nowhere' is not a folder"):
        make_plan(sweep(corpus={"kind": "hub"}, model={"name": str(tmp_path / "nowhere")}))


def test_weights_count_for_pretrained_models_only(tmp_path):
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / name).write_text("{}")

    def first_id(init: str) -> str:
        return make_plan(sweep(corpus={"kind": "hub"}, model={"name": str(tmp_path), "init": init}))[0].trial_id

    before = first_id("random"), first_id("pretrained")
    (tmp_path / "model.safetensors").write_text("other weights")
    assert first_id("random") == before[0]
    assert first_id("pretrained") != before[1]


def test_planning_needs_neither_torch_nor_ray():
    code = (
        "import sys, json; from orchestrator.sweep_spec import load_sweep_spec;"
        "from orchestrator.plan import make_plan;"
        "make_plan(load_sweep_spec('smoke'));"
        "print(json.dumps([m for m in ('torch', 'ray', 'transformers', 'faker', 'datasets') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_who_computes_changes_no_trial_and_what_is_pruned_does():
    def ids(*settings: str) -> list[str]:
        return [trial.trial_id for trial in make_plan(load_sweep_spec("smoke", ["results=unused", *settings]))]

    assert ids("pruning.kernels=reference") == ids()
    shadow = ids("pruning.semantics=dense_shadow")
    assert len(set(ids()) & set(shadow)) == 8, "the dense trials, and they alone, are shared"
