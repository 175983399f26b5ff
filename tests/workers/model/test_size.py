"""The size of a model, as its config says, is that of the model."""

import json
from dataclasses import replace

import pytest
import torch
from transformers import AutoConfig, AutoModelForTokenClassification

from tests.factories import make_trial_spec
from workers.model.encoder import make_model
from workers.model.folder import fingerprint_model_folder
from workers.model.size import ModelSize, size_of
from workers.trial import ModelSpec

FAMILIES = {
    "bert": {},
    "xlm-roberta": {},
    "albert": {"embedding_size": 16},
    "electra": {"embedding_size": 16},
    "distilbert": {"dim": 64, "n_layers": 4, "n_heads": 4, "hidden_dim": 256},
    "xlnet": {"d_model": 64, "n_layer": 4, "n_head": 4, "d_inner": 256},
    "mpnet": {},
}


def of_folder(folder) -> ModelSize | None:
    return size_of(ModelSpec(name=str(folder), revision=None, init="random", fingerprint="0"))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_config_tells_how_many_parameters_there_are(tmp_path, family):
    usual = {
        "hidden_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 256,
    }
    own = FAMILIES[family]
    widths = own if "dim" in own or "d_model" in own else usual | own
    positions = {} if family == "xlnet" else {"max_position_embeddings": 512}
    config = AutoConfig.for_model(family, vocab_size=5000, **widths, **positions)
    config.save_pretrained(tmp_path)
    with torch.device("meta"):
        model = AutoModelForTokenClassification.from_config(config)
    size = of_folder(tmp_path)
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    assert size.num_parameters == pytest.approx(num_parameters, rel=0.1)
    assert (size.num_layers, size.width, size.inner_width, size.num_heads) == (4, 64, 256, 4)


def test_the_built_in_model_has_its_size():
    spec = make_trial_spec().model
    model = make_model(spec, 0, torch.device("cpu"))
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    assert size_of(spec).num_parameters == pytest.approx(num_parameters, rel=0.05)


def test_mbert_is_known_without_its_files(mbert):
    hub = make_trial_spec().model
    hub = replace(hub, name="google-bert/bert-base-multilingual-cased", init="pretrained")
    here = replace(hub, name=str(mbert), fingerprint=fingerprint_model_folder(mbert, "random"))
    assert size_of(hub).num_parameters == pytest.approx(177e6, rel=0.01)
    assert vars(size_of(here)) == vars(size_of(hub)) | {
        "num_parameters": size_of(here).num_parameters
    }
    assert size_of(replace(hub, name="somebody/unheard-of")) is None
    assert size_of(replace(hub, name="; rm -rf /")) is None


@pytest.mark.parametrize(
    "config", ["[", "[]", "{}", '{"hidden_size": "768"}', json.dumps({"hidden_size": -1})]
)
def test_a_config_that_says_nothing_is_no_size(tmp_path, config):
    (tmp_path / "config.json").write_text(config)
    assert of_folder(tmp_path) is None
