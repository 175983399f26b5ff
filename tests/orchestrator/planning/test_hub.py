"""Revisions of a sweep become commits, and what trials read of the hub is known beforehand."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.errors import SweepError
from orchestrator.planning.hub import describe_files, files_lacking, pin, wants
from orchestrator.planning.plan import make_plan
from orchestrator.results.store import ResultStore
from orchestrator.spec.sweep_spec import SweepSpec, load_sweep_spec
from tests.factories import make_circumstances, make_trial_result, make_trial_spec
from tests.hub_server import Hub, hub, wikiann_files
from workers.data.corpus import load_sentences
from workers.hub.repository import Repository, keep_revision
from workers.hub.snapshots import obtain
from workers.trial import ModelSpec

__all__ = ["hub"]

CORPUS, MODEL = "unimelb-nlp/wikiann", "some/encoder"


def sweep(**changes: Any) -> SweepSpec:
    fields: dict[str, Any] = {
        "name": "of-the-hub",
        "results": "unused",
        "languages": ["sw", "yo"],
        "sparsities": [0],
        "seeds": [0],
        "model": {"name": MODEL, "init": "random"},
    }
    return SweepSpec.model_validate(fields | changes)


@pytest.fixture
def commits(hub: Hub, wikiann: Path) -> tuple[str, str]:
    """Of model and corpus."""
    files = {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors": b"weights"}
    return (
        hub.publish("model", MODEL, files),
        hub.publish("dataset", CORPUS, wikiann_files(wikiann, ["sw", "yo", "jv", "en"])),
    )


def store_a_trial(folder: Path, **changes: Any) -> ResultStore:
    """Results with a completed trial on the hub's model, and on a corpus in a folder."""
    store = ResultStore(str(folder))
    commit = changes.pop("model_commit", None)
    model = ModelSpec(name=MODEL, revision="main", init="random", fingerprint=None)
    spec = make_trial_spec(model=replace(model, **changes))
    store.commit_completed(spec, make_trial_result(model_commit=commit), **make_circumstances())
    return store


def test_a_branch_becomes_its_commit_and_so_part_of_each_trial(commits):
    pinned = pin(sweep(), None)
    assert (pinned.sweep.model.revision, pinned.sweep.corpus.revision) == commits
    assert pinned.notes == ()
    (spec, _) = (trial.spec for trial in make_plan(pinned.sweep))
    assert (spec.model.revision, spec.corpus.revision) == commits
    written = sweep(
        model={"name": MODEL, "init": "random", "revision": commits[0]},
        corpus={"revision": commits[1]},
    )
    assert pin(written, None).sweep == written
    ids = [{trial.trial_id for trial in make_plan(one)} for one in (pinned.sweep, written)]
    assert ids[0] == ids[1], "whoever writes the commit means the same trials"


def test_a_branch_that_moved_makes_other_trials(hub, commits):
    before = {trial.trial_id for trial in make_plan(pin(sweep(), None).sweep)}
    hub.publish("model", MODEL, {"config.json": b"{ }"})
    after = {trial.trial_id for trial in make_plan(pin(sweep(), None).sweep)}
    assert not before & after


@pytest.mark.slow
def test_wikineural_is_planned_and_read_from_the_hub(hub):
    """As its repository has it: splits of all languages together, `val`, and bare numbers."""
    row = {"tokens": ["In", "Rom", "spielt", "Tosca"], "ner_tags": [0, 5, 0, 7], "lang": "xx"}
    codes = load_sweep_spec("wikineural").languages
    files: dict[str, bytes | Path] = {
        f"{split}_{code}.jsonl": json.dumps(row | {"lang": code}).encode()
        for split in ("train", "val", "test")
        for code in codes
    }
    hub.publish("dataset", "Babelscape/wikineural", files)
    hub.publish("model", MODEL, {"config.json": b"{}"})
    asked = load_sweep_spec("wikineural", [f"model={{name: {MODEL}, init: random}}"])
    planned = make_plan(pin(asked, None).sweep)
    assert len(planned) == 216
    corpus = planned[0].spec.corpus
    assert (corpus.entity_types, corpus.revision) == (
        ("PER", "ORG", "LOC", "MISC"),
        hub.repositories["dataset", "Babelscape/wikineural"].main,
    )
    for code in codes:
        for split in ("train", "validation", "test"):
            sentences = load_sentences(corpus, code, split)
            (labels,) = sentences.labels
            assert [sentences.tags.tags[label] for label in labels] == [
                *("O", "B-LOC", "O", "B-MISC")
            ]


def test_masakhaner_is_planned_and_read_from_a_branch_that_the_hub_made(hub, tmp_path):
    """Its main branch has nothing but a script, which is not run."""
    row = {"tokens": [["Juma", "yuko", "Goma"]], "ner_tags": [["B-PER", "O", "B-LOC"]]}
    shard = tmp_path / "0000.parquet"
    pq.write_table(pa.table(row), shard)
    name, branch = "masakhane/masakhaner2", "refs/convert/parquet"
    files: dict[str, bytes | Path] = {
        f"{code}/{split}/0000.parquet": shard
        for split in ("train", "validation", "test")
        for code in load_sweep_spec("masakhaner-2").languages
    }
    made = hub.publish("dataset", name, files)
    hub.publish("dataset", name, {"masakhaner2.py": b"raise SystemExit"})
    hub.repositories["dataset", name].branches[branch] = made
    hub.publish("model", MODEL, {"config.json": b"{}"})
    changes = ["corpus.path=null", f"corpus.name={name}", f"corpus.revision={branch}"]
    changes += [f"model={{name: {MODEL}, init: random}}"]
    planned = make_plan(pin(load_sweep_spec("masakhaner-2", changes), None).sweep)
    assert len(planned) == 480
    corpus = planned[0].spec.corpus
    assert corpus.revision == made
    assert load_sentences(corpus, "swa", "test").tokens == row["tokens"]


def test_what_is_of_no_hub_is_left_alone(hub):
    model = {"name": "builtin:small-bert", "init": "random"}
    asked = sweep(model=model, corpus={"kind": "synthetic"})
    assert pin(asked, None).sweep is asked
    assert hub.requests == []


@pytest.mark.parametrize("loaded", [None, "the commit"])
def test_trials_stored_under_a_branch_stay_done(hub, commits, tmp_path, loaded):
    store = store_a_trial(tmp_path, model_commit=loaded and commits[0])
    pinned = pin(sweep(), store)
    assert pinned.sweep.model.revision == "main"
    assert pinned.sweep.corpus.revision == commits[1], "of it nothing is stored"
    assert pinned.notes == ()


def test_trials_of_a_branch_that_moved_since_are_others(commits, tmp_path):
    store = store_a_trial(tmp_path, model_commit="a" * 40)
    pinned = pin(sweep(), store)
    assert pinned.sweep.model.revision == commits[0]
    assert pinned.notes == (
        f"model.revision: main of {MODEL} is commit {commits[0]} now; 1 completed trial of an "
        f"earlier version loaded commit {'a' * 40} and are others",
    )


def test_trials_of_another_commit_are_named_with_the_way_back(commits, tmp_path):
    store = store_a_trial(tmp_path, revision="b" * 40, model_commit="b" * 40)
    (note,) = pin(sweep(), store).notes
    assert note.endswith(
        f"; 1 completed trial on commit {'b' * 40} are others: set model.revision={'b' * 40} to "
        "go on with them"
    )


def test_without_hub_and_cache_results_of_one_commit_say_which(hub, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    store = store_a_trial(tmp_path, revision="b" * 40)
    pinned = pin(sweep(), store)
    assert pinned.sweep.model.revision == "b" * 40
    assert pinned.sweep.corpus.revision == "main"
    assert pinned.notes == (
        f"model.revision: main is taken as {'b' * 40}, of which the results are (HF_HUB_OFFLINE "
        "is set)",
    )
    assert hub.requests == []


def test_who_goes_on_where_the_hub_refuses_has_the_commit_of_the_results(hub, tmp_path, caplog):
    store = store_a_trial(tmp_path, revision="b" * 40, model_commit="b" * 40)
    pinned = pin(sweep(), store, goes_on=True)
    assert (pinned.sweep.model.revision, pinned.sweep.corpus.revision) == ("b" * 40, "main")
    model, corpus = caplog.messages
    assert model.startswith(f"model.name: {MODEL}: is not on the hub")
    assert model.endswith(f"model.revision: main is taken as {'b' * 40}, of which the results are")
    assert "; corpus.revision: main is taken as it is written, so that" in corpus


def test_what_the_hub_has_not_is_bad_input(hub):
    with pytest.raises(SweepError, match="is not on the hub"):
        pin(sweep(), None)


def test_trials_read_no_more_than_they_are_asked_for(commits):
    asked = pin(
        sweep(
            languages=["sw"],
            evaluation={"languages": ["jv"], "splits": ["test"]},
            robustness={"perturbations": ["within_script"], "donors": ["en", "sw", "yo"]},
        ),
        None,
    ).sweep
    model, corpus = wants(make_plan(asked))
    assert (model.repository, model.commit, model.init) == (
        Repository("model", MODEL),
        commits[0],
        "random",
    )
    assert corpus.splits == (
        *(("en", "train"), ("jv", "test"), ("sw", "test"), ("sw", "train"), ("yo", "train")),
    )


def test_what_the_cache_lacks_has_a_size_and_a_time(commits):
    planned = make_plan(pin(sweep(), None).sweep)
    (model, _), (_, of_corpus) = lacking = files_lacking(planned)
    assert len(of_corpus.missing) == 4
    said = describe_files(lacking)
    assert said.startswith(f"1 file, 2 bytes of {MODEL} and 4 files, ")
    assert said.endswith("(0 s at 100 Mbit/s)")
    obtain(model)
    assert len(files_lacking(planned)) == 1


def test_what_neither_cache_nor_hub_has_is_refused(hub, commits, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for known in (False, True):
        if known:
            keep_revision(Repository("model", MODEL), "main", commits[0])
        with pytest.raises(SweepError, match="run `sparsweep fetch SPEC`"):
            files_lacking(make_plan(pin(sweep(), None).sweep))
    assert hub.requests == []
