"""A kept model that somebody asks for is found and loaded, or refused in a line."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from orchestrator.errors import SweepError
from orchestrator.models.kept import find_faulty_models, find_trial, open_model
from orchestrator.results.store import ResultStore
from tests.factories import make_circumstances, make_trial_result
from tests.orchestrator.models.conftest import commit_model, small_spec
from tests.orchestrator.results.committing import trial_file
from tests.real_sweeps import TINY_MODEL
from workers.model.folder import fingerprint_model_folder
from workers.trial import RECIPE_VERSION, ModelSpec


@pytest.fixture
def store(tmp_path):
    return ResultStore(str(tmp_path / "results"))


def commit(store, spec):
    store.commit_completed(spec, make_trial_result(), **make_circumstances())
    return spec.trial_id()


def refused(store, trial, base=None):
    with pytest.raises(SweepError) as error:
        open_model(store, trial, base)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def test_it_is_the_model_that_was_kept_to_the_bit(kept, opened):
    store, model = kept
    assert opened.row["trial_id"] == small_spec().trial_id()
    loaded = opened.model.state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in model.state_dict().items())
    assert opened.tokenizer("habari")["input_ids"]
    assert opened.kept.num_bytes == Path(store.model(opened.row["trial_id"]).path).stat().st_size


def test_the_beginning_of_an_id_is_enough_where_it_tells_which(store):
    by_digit = {}
    for seed in range(17):  # of 17 hexadecimal digits, two are the same
        spec = small_spec(seed=seed)
        by_digit.setdefault(spec.trial_id()[0], []).append(spec)
    first, second = next(alike for alike in by_digit.values() if len(alike) > 1)[:2]
    ids = [commit(store, spec) for spec in (first, second)]
    assert find_trial(store, ids[0])["seed"] == first.seed
    assert find_trial(store, ids[1][:12])["seed"] == second.seed
    assert f"'{ids[0][0]}': 2 trials of {store.location}; give the id" in refused(store, ids[0][0])
    for none in ("zz", ""):
        assert f"{none!r}: no trial of {store.location}; give the id of one" in refused(store, none)


def test_a_trial_without_a_model_is_refused(store):
    trial_id = commit(store, small_spec())
    message = refused(store, trial_id)
    assert f"models/{trial_id}.safetensors: no model of trial {trial_id} was kept; set" in message
    assert "models.keep" in message
    failed = small_spec(seed=1)
    failure = {"kind": "bad_data", "message": "no words", "traceback": None}
    store.commit_failed(failed, **failure, **make_circumstances())
    assert "failed (no words), so it has no model" in refused(store, failed.trial_id())


def test_a_damaged_file_and_that_of_another_model_are_refused(store):
    spec, other = small_spec(), small_spec(seed=1)
    for one in (spec, other):
        commit_model(store, one)
    file, theirs = (Path(store.model(one.trial_id()).path) for one in (spec, other))
    whole = file.read_bytes()
    file.write_bytes(whole[:-8] + b"\0" * 8)
    assert "the kept model is damaged" in refused(store, spec.trial_id())
    file.write_bytes(theirs.read_bytes())
    assert "is another model than the one that the scores" in refused(store, spec.trial_id())


def test_a_file_of_another_run_is_refused_where_the_shown_one_kept_no_model(store, tmp_path):
    spec = small_spec()
    commit_model(store, spec)
    bare = ResultStore(str(tmp_path / "bare"))
    trial_id = commit(bare, spec)
    file = Path(bare.model(trial_id).path)
    file.parent.mkdir()
    shutil.copy(store.model(trial_id).path, file)
    assert find_trial(bare, trial_id)["model_digest"] is None
    assert "is another model than the one that the scores" in refused(bare, trial_id)


def write_encoder(folder, seed=0):
    shutil.copytree(TINY_MODEL, folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(seed)
    config = BertConfig(vocab_size=600, intermediate_size=64, **sizes)
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    fingerprint = fingerprint_model_folder(folder, "pretrained")
    return ModelSpec(name=str(folder), revision=None, init="pretrained", fingerprint=fingerprint)


def test_an_encoder_that_is_elsewhere_is_named(store, tmp_path):
    spec = small_spec(model=write_encoder(tmp_path / "encoder"))
    commit_model(store, spec)
    moved = tmp_path / "moved"
    (tmp_path / "encoder").rename(moved)
    message = refused(store, spec.trial_id())
    assert "encoder' is not a folder" in message
    assert message.endswith("; --base FOLDER says where it is now")
    assert open_model(store, spec.trial_id(), str(moved)).model.config.hidden_size == 32
    write_encoder(tmp_path / "other", seed=1)
    message = refused(store, spec.trial_id(), str(tmp_path / "other"))
    assert f"the model came from another encoder than {tmp_path}/other is now (" in message


TRAINS_AGAIN = "`sparsweep run SPEC --rerun-lacking` trains"


@pytest.fixture
def three(tmp_path):
    """A store with the models of three trials, their ids and the files of these."""
    store = ResultStore(str(tmp_path / "three"))
    specs = [small_spec(seed=seed) for seed in range(3)]
    for spec in specs:
        commit_model(store, spec)
    ids = [spec.trial_id() for spec in specs]
    return store, ids, [Path(store.model(trial_id).path) for trial_id in ids]


def faults_of(store, ids):
    """What is said of which trial; each in a line."""
    found = find_faulty_models(store, ids)
    assert all("\n" not in problem.what for problem in found)
    return {problem.trial_id: problem.what for problem in found if problem.is_fault}


def test_models_that_are_whole_are_no_problem_and_a_trial_without_one_is_none(three):
    store, ids, _ = three
    without = commit(store, small_spec(seed=3))
    assert find_faulty_models(store, [*ids, without, "0" * 16]) == []


def test_each_model_that_is_damaged_gone_or_of_another_trial_is_named(three):
    store, ids, files = three
    whole = files[0].read_bytes()
    files[0].write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    files[1].unlink()
    found = faults_of(store, ids)
    assert list(found) == ids[:2]
    assert found[ids[0]].startswith(f"{files[0]}: the kept model is damaged (")
    assert f"; remove the file, and {TRAINS_AGAIN}" in found[ids[0]]
    assert found[ids[1]].startswith(f"{files[1]}: the kept model is gone; {TRAINS_AGAIN}")
    shutil.copy(files[2], files[0])
    files[1].mkdir()
    found = faults_of(store, ids)
    assert f"{files[0]}: is another model than the one that the scores of trial" in found[ids[0]]
    assert f"{files[1]}: the kept model cannot be read (" in found[ids[1]]


@pytest.mark.slow
def test_any_bit_of_a_model_and_any_length_counts(three):
    """Every fault is one line with its remedy, whatever it does to the header."""
    store, ids, files = three
    whole, chance = files[0].read_bytes(), np.random.default_rng(0)
    header = int.from_bytes(whole[:8], "little")
    places = [*range(8), *chance.integers(8, header, 60), *chance.integers(header, len(whole), 20)]
    for place in places:
        bit = 1 << int(chance.integers(8))
        files[0].write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        assert ids[0] in faults_of(store, ids[:1]), (place, bit)
    for length in (0, 1, 8, 100, header, len(whole) - 1):
        files[0].write_bytes(whole[:length])
        assert "the kept model is damaged" in faults_of(store, ids[:1])[ids[0]]


def test_a_model_of_another_recipe_is_named(three, monkeypatch):
    from workers.model import kept_model

    monkeypatch.setattr(kept_model, "RECIPE_VERSION", RECIPE_VERSION + 1)
    store, ids, _ = three
    assert f"of recipe {RECIPE_VERSION}, and this sparsweep" in faults_of(store, ids)[ids[0]]


def test_a_model_that_no_row_of_the_results_names_is_an_orphan(three):
    store, ids, files = three
    assert find_faulty_models(store, ids[:1]) == [], "others may be of another sweep"
    bare = commit(store, small_spec(seed=3))
    copies = [Path(store.model(name).path) for name in ("Copy of it", bare)]
    for copy in copies:
        shutil.copy(files[0], copy)
    trial_file(store, "trials", small_spec(seed=1)).unlink()
    orphans = find_faulty_models(store, ids)
    assert not any(orphan.is_fault for orphan in orphans)
    assert {orphan.trial_id for orphan in orphans} == {"Copy of it", bare, ids[1]}
    where = {orphan.what.partition(": ")[0] for orphan in orphans}
    assert where == {str(file) for file in (*copies, files[1])}
    assert all("remove the file" in orphan.what for orphan in orphans)


def test_of_a_trial_whose_row_is_damaged_nothing_is_said(three):
    store, ids, _ = three
    row = trial_file(store, "trials", small_spec(seed=0))
    row.write_bytes(row.read_bytes()[:-100])
    assert find_faulty_models(store, ids) == []
