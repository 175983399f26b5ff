"""A kept model that somebody asks for is found and loaded, or refused in a line."""

import shutil
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

from orchestrator.errors import SweepError
from orchestrator.models.kept import find_trial, open_model
from orchestrator.results.store import ResultStore
from tests.factories import make_circumstances, make_trial_result
from tests.orchestrator.models.conftest import commit_model, small_spec
from tests.real_sweeps import TINY_MODEL
from workers.model.folder import fingerprint_model_folder
from workers.trial import ModelSpec


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
    assert "the model came from another encoder" in message
