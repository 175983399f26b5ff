"""A model that was kept is the one that was scored, to the bit, or it is refused."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForTokenClassification, BertConfig, BertModel, T5Config

from tests.factories import PRUNING
from tests.hub_server import folder_files, hub
from tests.workers.trials import (
    TIMES,
    evaluation_of,
    finish,
    run_steps,
    small_trial,
    stop_and_resume,
    training_of,
)
from workers.data.wordpiece import small_tokenizer
from workers.model.encoder import encoder_weights
from workers.model.folder import fingerprint_model_folder
from workers.model.kept_model import ModelFile, load_kept_model, put_weights, read_kept_model
from workers.result import TrialResult
from workers.run import run_trial
from workers.storage import Location
from workers.trial import RECIPE_VERSION, ModelSpec, TrialError, TrialSpec

__all__ = ["hub"]

OF_MODEL = {*TIMES, "scored_from_model", "model_bytes", "model_digest"}


def write_encoder(folder, seed: int = 0) -> ModelSpec:
    """A folder with a small BERT that has the built-in model's sub-words."""
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    small_tokenizer(0).save_pretrained(folder)
    torch.manual_seed(seed)
    BertModel(BertConfig(vocab_size=8000, **sizes), add_pooling_layer=False).save_pretrained(folder)
    fingerprint = fingerprint_model_folder(folder, "pretrained")
    return ModelSpec(name=str(folder), revision=None, init="pretrained", fingerprint=fingerprint)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> ModelSpec:
    return write_encoder(tmp_path_factory.mktemp("encoder"))


def without(result: TrialResult) -> dict:
    """All that the model does not add."""
    return {name: value for name, value in vars(result).items() if name not in OF_MODEL}


def model_at(folder) -> Location:
    return Location.parse(str(folder)) / "models" / "model.safetensors"


def keep(spec: TrialSpec, device, folder) -> tuple[TrialResult, Location]:
    """Train, and keep the model."""
    file = ModelFile(model_at(folder))
    result = finish(run_trial(spec, device, model_file=file))
    assert file.unkept is None
    assert file.publish() == os.stat(file.location.path).st_size  # noqa: PTH116
    return result, file.location


def forms(location: Location) -> dict[str, str]:
    return {name: form for name, (form, _, _) in read_kept_model(location).forms.items()}


def asked_more(spec: TrialSpec) -> TrialSpec:
    """Another question: the train split as well, lenient matching, predictions of all of it."""
    return evaluation_of(
        spec,
        splits=("train", "validation", "test"),
        matching="lenient",
        predictions=("validation", "test"),
    )


TRIALS = {
    "pruned": {},
    "dense": {"pruning": None, "target_sparsity": 0.0},
    "embeddings": {"pruning": replace(PRUNING, embedding_sparsity=0.5, update_every_steps=4)},
    "shadow": {"pruning": replace(PRUNING, semantics="dense_shadow", update_every_steps=2)},
}


@pytest.mark.parametrize("kind", TRIALS)
@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_scores_of_a_kept_model_are_those_of_training(device, tmp_path, encoder, kind, decay):
    spec = training_of(small_trial(model=encoder, **TRIALS[kind]), weight_decay=decay)
    result, location = keep(spec, device, tmp_path)
    again = finish(run_trial(spec, device, kept=read_kept_model(location)))
    assert again.scored_from_model
    assert not result.scored_from_model
    assert without(again) == without(result)
    assert again.model_digest == read_kept_model(location).digest
    assert again.evaluate_s != result.evaluate_s
    assert again.train_s == result.train_s

    embeddings = "bert.embeddings.word_embeddings.weight"
    form = {"dense": "rows", "pruned": "rows", "shadow": "rows", "embeddings": "kept_rows"}[kind]
    decayed = "kept" if kind == "embeddings" else "whole"
    assert forms(location)[embeddings] == (decayed if decay else form)
    layer = forms(location)["bert.encoder.layer.0.attention.self.query.weight"]
    assert layer == ("whole" if kind == "dense" else "kept")


@pytest.mark.parametrize("model", ["encoder", "random"])
def test_another_question_gets_the_answer_of_a_trial_that_was_asked_it_at_once(
    device, tmp_path, encoder, model
):
    spec = small_trial(model=encoder) if model == "encoder" else small_trial()
    _, location = keep(spec, device, tmp_path)
    asked = asked_more(spec)
    again = finish(run_trial(asked, device, kept=read_kept_model(location)))
    at_once = finish(run_trial(asked, device))
    assert without(again) == without(at_once)
    assert {score.split for score in again.scores} == {"train", "validation", "test"}


def test_the_best_epoch_is_kept_where_it_is_scored(device, tmp_path, encoder):
    spec = small_trial(model=encoder, pruning=None, target_sparsity=0.0)
    spec = evaluation_of(spec, selection="best_epoch", select_after=0.0)
    spec = training_of(spec, lr=3e-2)
    result, location = keep(spec, device, tmp_path)
    assert result.selected_step < result.num_steps, "the last model is not the best"
    again = finish(run_trial(spec, device, kept=read_kept_model(location)))
    assert again.scores == result.scores


def test_bfloat16_reads_copies_of_the_same_weights(device, tmp_path, encoder):
    spec = training_of(small_trial(model=encoder), precision="bfloat16")
    result, location = keep(spec, device, tmp_path)
    again = finish(run_trial(spec, device, kept=read_kept_model(location)))
    assert (again.scores, again.predictions) == (result.scores, result.predictions)


def test_a_stopped_trial_keeps_the_same_bytes(device, tmp_path, encoder):
    spec = small_trial(model=encoder)
    _, location = keep(spec, device, tmp_path)
    first = read_kept_model(location)
    stop_and_resume(spec, device, tmp_path, 11)
    (tmp_path / "again").mkdir()
    _, other = keep(spec, device, tmp_path / "again")
    second = read_kept_model(other)
    assert first.digest == second.digest
    assert first.tensors.keys() == second.tensors.keys()
    assert all(torch.equal(first.tensors[name], second.tensors[name]) for name in first.tensors)


def test_a_kept_model_is_an_ordinary_one(device, tmp_path, encoder):
    spec = small_trial(model=encoder)
    _, location = keep(spec, device, tmp_path)
    kept = read_kept_model(location)
    model = load_kept_model(kept)
    assert type(model).__name__ == "BertForTokenClassification"
    assert not model.training
    weight = model.bert.encoder.layer[0].attention.self.query.weight
    assert 0.3 < float((weight == 0).float().mean()) < 0.7
    assert kept.spec == spec
    assert (kept.recipe, kept.trial_id) == (RECIPE_VERSION, spec.trial_id())
    untied = {name: value for name, value in model.state_dict().items() if name not in kept.tied}
    assert set(untied) == set(kept.forms)


def test_the_encoder_may_lie_elsewhere(device, tmp_path):
    (tmp_path / "encoder").mkdir()
    spec = small_trial(model=write_encoder(tmp_path / "encoder"))
    _, location = keep(spec, device, tmp_path)
    (tmp_path / "encoder").rename(tmp_path / "moved")
    kept = read_kept_model(location)
    with pytest.raises(TrialError, match="is not a folder; give a Hugging Face model folder"):
        load_kept_model(kept)
    assert load_kept_model(kept, base=str(tmp_path / "moved")) is not None


def test_weights_that_modules_share_are_kept_once(device, tmp_path):
    """T5 has its word embeddings in two places."""
    folder = tmp_path / "t5"
    small_tokenizer(0).save_pretrained(folder)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    config = T5Config(vocab_size=8000, **sizes)
    AutoModelForTokenClassification.from_config(config).base_model.save_pretrained(folder)
    fingerprint = fingerprint_model_folder(folder, "pretrained")
    t5 = ModelSpec(name=str(folder), revision=None, init="pretrained", fingerprint=fingerprint)
    spec = training_of(small_trial(model=t5), num_steps=2, weight_decay=0.0)
    _, location = keep(spec, device, tmp_path)
    kept = read_kept_model(location)
    assert "transformer.encoder.embed_tokens.weight" in kept.tied.keys() | kept.tied.values()
    state = load_kept_model(kept).state_dict()
    assert set(kept.forms) == state.keys() - kept.tied.keys()
    for name, other in kept.tied.items():
        assert torch.equal(state[name], state[other])


def test_another_encoder_is_refused(device, tmp_path, encoder):
    spec = training_of(small_trial(model=encoder), weight_decay=0.0)
    _, location = keep(spec, device, tmp_path)
    (tmp_path / "other").mkdir()
    other = write_encoder(tmp_path / "other", seed=1)
    kept = read_kept_model(location)
    with pytest.raises(TrialError, match="came from another encoder .*fingerprint .*--rerun-lack"):
        load_kept_model(kept, base=other.name)
    forged = replace(kept, spec=replace(spec, model=other))
    with pytest.raises(TrialError, match="from another encoder .*its weights have changed"):
        load_kept_model(forged)


def test_a_folder_takes_the_place_of_an_encoder_of_the_hub(device, tmp_path, encoder):
    _, location = keep(training_of(small_trial(model=encoder), num_steps=2), device, tmp_path)
    kept = read_kept_model(location)
    of_hub = replace(encoder, name="who/what", fingerprint=None)
    forged = replace(kept, spec=replace(kept.spec, model=of_hub), model_commit="0" * 40)
    found = load_kept_model(forged, base=encoder.name).state_dict()
    expected = load_kept_model(kept).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


def test_a_model_of_an_encoder_of_the_hub_is_loaded_of_its_commit(hub, device, tmp_path, encoder):
    commit = hub.publish("model", "who/what", folder_files(Path(encoder.name)))
    of_hub = replace(encoder, name="who/what", revision=commit, fingerprint=None)
    _, location = keep(training_of(small_trial(model=of_hub), num_steps=2), device, tmp_path)
    kept = read_kept_model(location)
    assert kept.model_commit == commit
    found = load_kept_model(kept).state_dict()
    weights = kept.weights(encoder_weights(of_hub, len(kept.spec.corpus.tags)))
    assert all(torch.equal(found[name], value) for name, value in weights.items())
    hub.publish("model", "who/what", {"config.json": b"{}"})
    moved = replace(kept, spec=replace(kept.spec, model=replace(of_hub, revision="main")))
    with pytest.raises(TrialError, match=f"from another encoder .*commit [0-9a-f]+, not {commit}"):
        load_kept_model(moved)


def test_a_model_of_other_shapes_is_refused_in_one_line(device, tmp_path, encoder):
    _, location = keep(training_of(small_trial(model=encoder), num_steps=2), device, tmp_path)
    kept = read_kept_model(location)
    model = load_kept_model(kept)
    model.classifier = torch.nn.Linear(32, 3)
    with pytest.raises(TrialError, match="has other weights: .*size mismatch for classif") as e:
        put_weights(kept, model, encoder)
    assert "\n" not in str(e.value)


def test_an_encoder_of_the_hub_that_is_not_here_is_named(device, tmp_path):
    _, location = keep(training_of(small_trial(), num_steps=2), device, tmp_path)
    kept = read_kept_model(location)
    elsewhere = ModelSpec(name="who/what", revision=None, init="pretrained", fingerprint=None)
    forged = replace(kept, spec=replace(kept.spec, model=elsewhere))
    with pytest.raises(TrialError, match="model.name: cannot load who/what: .*offline"):
        load_kept_model(forged)


def test_a_model_of_another_trial_or_recipe_is_not_scored(device, tmp_path):
    _, location = keep(small_trial(), device, tmp_path)
    kept = read_kept_model(location)
    with pytest.raises(TrialError, match="is the model of trial .*, not of"):
        finish(run_trial(small_trial(seed=1), device, kept=kept))
    old = replace(kept, recipe=RECIPE_VERSION - 1)
    with pytest.raises(TrialError, match=f"recipe {RECIPE_VERSION - 1}, and this sparsweep has"):
        finish(run_trial(small_trial(), device, kept=old))


@pytest.mark.parametrize("place", ["front", "middle", "end"])
@pytest.mark.parametrize("fault", ["flip", "cut"])
def test_a_damaged_file_is_refused(device, tmp_path, damage_of, place, fault):
    location = damage_of(tmp_path, place, fault)
    with pytest.raises(TrialError, match="the kept model is damaged .*--rerun-lacking"):
        read_kept_model(location)


@pytest.fixture(scope="module")
def damage_of(device, tmp_path_factory):
    """What damages a copy of a file of a model."""
    spec = training_of(small_trial(), num_steps=2)
    _, location = keep(spec, device, tmp_path_factory.mktemp("whole"))
    whole = location.read_bytes()

    def damage(folder, place: str, fault: str) -> Location:
        at = {"front": 20, "middle": len(whole) // 2, "end": len(whole) - 1}[place]
        flipped = whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :]
        damaged = model_at(folder)
        damaged.write_atomic(flipped if fault == "flip" else whole[:at])
        return damaged

    return damage


def test_another_format_is_named(tmp_path):
    location = model_at(tmp_path)
    location.folder.check_writable()
    header = {"format": "sparsweep-model-2", "trial_id": "0" * 16, "values": "{}"}
    save_file({"a": torch.zeros(1)}, location.path, header)
    with pytest.raises(TrialError, match="'sparsweep-model-2' is not a kept model that this ver"):
        read_kept_model(location)


def test_any_reader_of_safetensors_reads_the_file(device, tmp_path):
    spec = training_of(small_trial(), num_steps=2)
    _, location = keep(spec, device, tmp_path)
    assert load_file(location.path).keys() == read_kept_model(location).tensors.keys()


def test_a_full_disk_keeps_no_model_and_says_so(device, tmp_path, monkeypatch):
    spec = training_of(small_trial(), num_steps=2)
    file = ModelFile(model_at(tmp_path))

    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        result = finish(run_trial(spec, device, model_file=file))
    assert result.scores
    assert file.publish() is None
    assert file.digest is None
    assert "models cannot be kept (No space left on device)" in file.unkept
    assert "--rerun-lacking" in file.unkept
    assert os.listdir(tmp_path / "models") == []  # noqa: PTH208


def test_a_stopped_trial_prepares_nothing_and_what_is_not_published_is_not_there(device, tmp_path):
    spec = small_trial()
    file = ModelFile(model_at(tmp_path))
    interrupted = run_trial(spec, device, model_file=file)
    run_steps(interrupted, 5)
    interrupted.close()
    assert not (tmp_path / "models").exists()
    finish(run_trial(training_of(spec, num_steps=2), device, model_file=file))
    assert file.location.folder.names() == []
    file.discard()
    assert os.listdir(tmp_path / "models") == []  # noqa: PTH208
    assert file.publish() is None
