"""Models as they are loaded from folders, and the head that the seed gives them."""

import contextlib
import json
import shutil
from dataclasses import replace

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForTokenClassification,
    BigBirdConfig,
    T5Config,
)

from tests.wikiann_tags import TAGS
from tests.workers.trials import finish, real_trial, small_trial, training_of
from workers.data.tokenizer import load_tokenizer
from workers.data.wordpiece import small_tokenizer
from workers.model.encoder import _Pretrained, make_model
from workers.model.folder import fingerprint_model_folder
from workers.run import run_trial
from workers.train import Training
from workers.trial import ModelSpec, TrialError

CPU = torch.device("cpu")
SIZES = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "pad_token_id": 1,
    "max_position_embeddings": 40,
}


@pytest.fixture(autouse=True)
def nothing_loaded():
    """Each test loads its own folder, and reads what is said about it."""
    _Pretrained.last = None
    yield
    _Pretrained.last = None


def saved(folder, family: str, num_labels: int | None = None, **changes) -> ModelSpec:
    """A tiny model with random weights; with a head where its labels are counted."""
    config = AutoConfig.for_model(family, **SIZES | changes)
    torch.manual_seed(1)
    if num_labels is None:
        model = AutoModel.from_config(config)
    else:
        config.num_labels = num_labels
        model = AutoModelForTokenClassification.from_config(config)
    model.save_pretrained(folder)
    return ModelSpec(name=str(folder), revision=None, init="pretrained", fingerprint="x")


def head_of(model) -> dict[str, torch.Tensor]:
    prefix = f"{model.base_model_prefix}."
    state = model.state_dict()
    return {name: value for name, value in state.items() if not name.startswith(prefix)}


def assert_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bert", "xlm-roberta"])
@pytest.mark.parametrize("seed", [0, 7])
def test_a_linear_head_is_drawn_as_recipe_2_always_did(tmp_path, family, seed):
    """Stored trials were trained from these bits."""
    spec = saved(tmp_path, family)
    model = make_model(spec, seed, CPU)
    torch.manual_seed(seed)
    weight = torch.empty(len(TAGS), 16).normal_(0.0, 0.02)
    after = torch.rand(3)  # dropout draws next
    bias = torch.zeros(len(TAGS))
    assert_equal(head_of(model), {"classifier.weight": weight, "classifier.bias": bias})
    model = make_model(spec, seed, CPU)
    assert torch.equal(torch.rand(3), after)

    encoder = AutoModel.from_pretrained(tmp_path, add_pooling_layer=False)
    assert_equal(model.base_model.state_dict(), encoder.state_dict())


def test_parameters_that_are_lacking_start_as_their_module_makes_them(tmp_path):
    model = make_model(saved(tmp_path, "modernbert", sep_token_id=2, cls_token_id=3), 0, CPU)
    assert torch.equal(model.head.norm.weight, torch.ones(16))
    assert float(model.head.dense.weight.detach().std()) > 0
    assert not model.classifier.bias.any()


@pytest.mark.parametrize("family", ["bert", "modernbert"])
@pytest.mark.parametrize("num_labels", [3, 7, 9])
def test_the_seed_decides_the_head_whatever_the_checkpoint_has(
    tmp_path, caplog, family, num_labels
):
    caplog.set_level("WARNING")
    changes = {"sep_token_id": 2, "cls_token_id": 3}
    bare = make_model(saved(tmp_path / "bare", family, **changes), 5, CPU)
    assert caplog.text == ""
    spec = saved(tmp_path / "tuned", family, num_labels, **changes)
    tuned = make_model(spec, 5, CPU)
    assert_equal(head_of(tuned), head_of(bare))
    assert "tuned brings a head (classifier.bias, classifier.weight" in caplog.text
    assert not torch.equal(make_model(spec, 6, CPU).classifier.weight, tuned.classifier.weight)
    assert caplog.text.count("brings a head") == 1


def test_trials_on_one_encoder_share_nothing(tmp_path):
    spec = saved(tmp_path, "bert")
    first = make_model(spec, 0, CPU)
    expected = {name: value.clone() for name, value in first.state_dict().items()}
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.fill_(7)
    assert_equal(make_model(spec, 0, CPU).state_dict(), expected)


@pytest.mark.parametrize("init", ["pretrained", "random"])
def test_a_model_that_changes_itself_has_done_so_before_it_is_trained(tmp_path, init):
    AutoModel.from_config(
        BigBirdConfig(**SIZES, attention_type="block_sparse", block_size=4)
    ).save_pretrained(tmp_path)
    spec = ModelSpec(name=str(tmp_path), revision=None, init=init, fingerprint="x")
    model = make_model(spec, 0, CPU).eval()
    state = torch.get_rng_state()
    model(input_ids=torch.ones(1, 5, dtype=torch.long))
    assert torch.equal(torch.get_rng_state(), state)
    assert model.bert.attention_type == "original_full"


@pytest.mark.slow
def test_shared_weights_are_kept_and_counted_once(tmp_path):
    config = T5Config(vocab_size=8000, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    AutoModelForTokenClassification.from_config(config).save_pretrained(tmp_path)
    spec = ModelSpec(name=str(tmp_path), revision=None, init="pretrained", fingerprint="x")
    trial = small_trial()
    from workers.data.align import load_encoded

    split = load_encoded(trial.corpus, trial.model, "ka", "train", 128)
    training = Training(trial, make_model(spec, 0, CPU), split, CPU, "reference")
    names = [name for name in training.state()[0] if "embed_tokens" in name or "shared" in name]
    assert len([name for name in names if name.startswith("model.")]) == 1

    state = {name: value.clone() for name, value in training.model_state().items()}
    training.model.transformer.shared.weight.data.zero_()
    training.load_model_state(state)
    assert training.model.transformer.encoder.embed_tokens.weight.any()


def test_a_tokenizer_with_more_ids_than_embeddings_is_refused(device, tmp_path):
    tokenizer = small_tokenizer(0)
    tokenizer.save_pretrained(tmp_path)
    saved(tmp_path, "bert", vocab_size=50)
    fingerprint = fingerprint_model_folder(tmp_path, "pretrained")
    model = ModelSpec(name=str(tmp_path), revision=None, init="pretrained", fingerprint=fingerprint)
    spec = training_of(small_trial(model=model), num_steps=1, max_length=40)
    with pytest.raises(
        TrialError, match=rf"has {len(tokenizer)} sub-words and the model 50 embeddings, none for"
    ) as caught:
        finish(run_trial(spec, device))
    assert caught.value.kind == "bad_data"


def test_folder_that_lacks_encoder_weights_is_refused(device, wikiann, pretrained, tmp_path):
    from safetensors.torch import load_file, save_file

    for file in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(f"{pretrained.name}/{file}", tmp_path)
    weights = load_file(f"{pretrained.name}/model.safetensors")
    weights.pop("encoder.layer.1.output.dense.weight")
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    broken = replace(
        pretrained, name=str(tmp_path), fingerprint=fingerprint_model_folder(tmp_path, "pretrained")
    )
    with pytest.raises(
        TrialError, match="lacks 1 weights of the encoder, first bert.encoder.layer.1.output.dense"
    ):
        finish(run_trial(real_trial(wikiann, broken), device))


def test_encoder_weights_of_another_shape_are_refused(tmp_path):
    spec = saved(tmp_path, "bert")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"vocab_size": 61}))
    with pytest.raises(
        TrialError, match=r"word_embeddings.weight of shape \[60, 16\], .* asks for \[61, 16\]"
    ) as caught:
        make_model(spec, 0, CPU)
    assert caught.value.kind == "bad_data"


class Payload:
    """Runs when it is unpickled by a loader that lets it."""

    def __reduce__(self):
        return print, ("payload ran",)


def test_weights_that_hold_code_are_refused_and_not_run(tmp_path, capsys):
    spec = saved(tmp_path, "bert")
    (tmp_path / "model.safetensors").unlink()
    torch.save({"embeddings": Payload()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(TrialError, match="hold more than tensors.*write safetensors") as caught:
        make_model(spec, 0, CPU)
    assert caught.value.kind == "bad_data"
    assert "weights_only" not in str(caught.value)
    assert "payload ran" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"\xff" * 100])
def test_damaged_weights_are_refused(tmp_path, content):
    spec = saved(tmp_path, "bert")
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(TrialError, match="model.name: cannot load") as caught:
        make_model(spec, 0, CPU)
    assert caught.value.kind == "bad_data"


@pytest.mark.parametrize("init", ["pretrained", "random"])
def test_code_of_a_folder_is_never_run_and_never_asked_about(tmp_path, monkeypatch, init, capsys):
    saved(tmp_path, "bert")
    small_tokenizer(0, ["ka"]).save_pretrained(tmp_path)
    auto_map = {"AutoConfig": "evil.C", "AutoModelForTokenClassification": "evil.M"}
    config = {"model_type": "evil", "auto_map": auto_map}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text("print('evil ran')")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    spec = ModelSpec(name=str(tmp_path), revision=None, init=init, fingerprint="x")
    with pytest.raises(TrialError, match="code of its own .* never runs; choose") as caught:
        make_model(spec, 0, CPU)
    assert caught.value.kind == "bad_data"
    assert "trust_remote_code" not in str(caught.value)

    names = {"tokenizer_class": "T", "auto_map": {"AutoTokenizer": ["evil.T", None]}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(names))
    with contextlib.suppress(TrialError):  # tokenizer.json may do without it
        load_tokenizer(spec, small_trial().corpus)
    assert "ran" not in capsys.readouterr().out
