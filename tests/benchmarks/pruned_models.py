"""What pruned weights save, and what they do not: size on disk by format, and the time of a forward
pass in a dense runtime.

A BERT of 4 layers of 384 with 8,000 sub-words, 10 million parameters of which 7 million may be
pruned; random weights, of which so many are zero.
"""

import gzip
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from scipy.sparse import csr_array
from torch import nn
from transformers import BertConfig, BertForTokenClassification

from tests.benchmarks.measurement import Measurement, ratios
from tests.factories import make_trial_result, make_trial_spec
from workers.model.kept_model import ModelFile
from workers.pruning.scope import prunable_weights
from workers.storage import Location
from workers.tags import WIKIANN
from workers.trial import ModelSpec

SIZES = {
    "vocab_size": 8_000,
    "hidden_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
}
SPARSITIES = (0.5, 0.9)
BATCH = (8, 64)
"""Sentences and sub-words of each, of a forward pass."""

REPEATS = 31


def pruned_models() -> Iterator[Measurement]:
    """Bytes of a sparse model in several formats, and seconds of a forward pass, dense and sparse;
    word embeddings are dense."""
    dense = _model(0.0)
    size = len(save(dense.state_dict()))
    yield Measurement(what="dense model: safetensors", values=(size / 2**20,), unit="MiB")
    for sparsity in SPARSITIES:
        model = _model(sparsity)
        for form, num_bytes in _sizes(model).items():
            what = f"sparsity {sparsity:g}: {form}, of dense safetensors"
            yield Measurement(what=what, values=(num_bytes / size,), unit="x")
        yield from _forward_passes(dense, model, sparsity)


@torch.no_grad()
def _model(sparsity: float) -> nn.Module:
    torch.manual_seed(0)
    model = BertForTokenClassification(BertConfig(**SIZES, num_labels=len(WIKIANN))).eval()
    for weight in prunable_weights(model, None).values():
        weight[torch.rand(weight.shape) < sparsity] = 0.0
    return model


def _sizes(model: nn.Module) -> dict[str, int]:
    """Bytes by format. In `CSR` the pruned matrices have 4 bytes for a value and 4 for its column,
    and the rest is as it is."""
    whole = save(model.state_dict())
    compressed = gzip.compress(whole, 6)
    pruned = prunable_weights(model, None).values()
    rest = len(whole) - sum(weight.nbytes for weight in pruned)
    in_rows = [csr_array(weight.detach().numpy()) for weight in pruned]
    csr = sum(m.data.nbytes + m.indices.nbytes + m.indptr.nbytes for m in in_rows)
    return {
        "safetensors": len(whole),
        "safetensors and gzip": len(compressed),
        "CSR": rest + csr,
        "kept model without an encoder": _kept_bytes(model),
    }


def _kept_bytes(model: nn.Module) -> int:
    encoder = ModelSpec(name="builtin:small-bert", revision=None, init="random", fingerprint=None)
    with tempfile.TemporaryDirectory() as folder:
        file = ModelFile(Location.parse(str(Path(folder, "model.safetensors"))))
        spec = replace(make_trial_spec(), model=encoder)
        file.prepare(model, spec, None, make_trial_result().without_scores())
        num_bytes = file.publish()
    assert num_bytes is not None
    return num_bytes


def _forward_passes(dense: nn.Module, sparse: nn.Module, sparsity: float) -> Iterator[Measurement]:
    """In turns, in CPU time of all threads, which other processes disturb less than seconds."""
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, SIZES["vocab_size"], BATCH))

    @torch.inference_mode()
    def run(model: nn.Module) -> float:
        started = time.process_time()
        model(input_ids=ids)
        return time.process_time() - started

    rounds = [(run(dense), run(sparse)) for _ in range(1 + REPEATS)][1:]  # the first warms up
    of_dense, of_sparse = zip(*rounds, strict=True)
    what = f"sparsity {sparsity:g}: forward pass, CPU time"
    yield Measurement(what=what, values=of_sparse, unit="s")
    what += ", to that of the dense model"
    yield Measurement(what=what, values=ratios(of_sparse, of_dense), unit="x")
