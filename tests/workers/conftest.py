"""What tests of workers share: a process that computes as a worker does."""

from collections.abc import Iterator

import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertModel

from workers.model.folder import fingerprint_model_folder
from workers.run import prepare_process
from workers.trial import ModelSpec


@pytest.fixture(scope="module")
def device() -> Iterator[torch.device]:
    """Where trials compute, one thread on a CPU."""
    yield prepare_process(num_threads=1)
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="module")
def pretrained(mbert, tmp_path_factory) -> ModelSpec:
    """mBERT's own vocabulary, and a small encoder's weights that went to disk and came back."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = AutoTokenizer.from_pretrained(mbert)
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    model = BertModel(BertConfig(vocab_size=len(tokenizer), **sizes), add_pooling_layer=False)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    fingerprint = fingerprint_model_folder(folder, "pretrained")
    return ModelSpec(name=str(folder), revision=None, init="pretrained", fingerprint=fingerprint)
