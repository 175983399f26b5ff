"""What it takes to keep a model of mBERT's shape, beside a dense copy by safetensors.

Weights are random; those of a train split of 20,000 English sentences in WikiANN read 20,965 rows
of word embeddings, so as many are changed here. Memory: three times the model's, 2.1 GB.
"""

import gc
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import BertConfig, BertForTokenClassification

from tests.benchmarks.measurement import Measurement, ratios, side_by_side
from tests.factories import make_trial_result, make_trial_spec
from tests.wikiann_tags import TAGS
from workers.model.encoder import first_names, make_model
from workers.model.kept_model import ModelFile, load_kept_model, read_kept_model
from workers.pruning.scope import prunable_weights
from workers.storage import Location
from workers.trial import ModelSpec, TrialSpec

MBERT = {"vocab_size": 119_547}
CHANGED_ROWS = 20_965
REPEATS = 7
SPARSITIES = {0.0: None, 0.5: None, 0.7: 0.35, 0.9: 0.20, 0.98: None}
"""Each with the largest part of a dense copy that a kept model should take."""


def kept_models() -> Iterator[Measurement]:
    """Size, and seconds of writing and loading, by sparsity; word embeddings are dense."""
    with tempfile.TemporaryDirectory() as folder:
        spec = _write_encoder(Path(folder, "encoder"))
        for sparsity, at_most in SPARSITIES.items():
            what = f"kept model, sparsity {sparsity:g}"
            yield from _written(what, _trained(spec, sparsity), spec, Path(folder), at_most)
            gc.collect()  # one model at a time
            started = time.perf_counter()
            load_kept_model(read_kept_model(_place(Path(folder))))
            loads = (time.perf_counter() - started,)
            yield Measurement(what=f"{what}: loaded and compared", values=loads, unit="s")


def _place(folder: Path) -> Location:
    return Location.parse(str(folder / "kept.safetensors"))


def _written(
    what: str, model: nn.Module, spec: TrialSpec, folder: Path, at_most: float | None
) -> Iterator[Measurement]:
    dense, kept = folder / "dense.safetensors", _place(folder)
    result = make_trial_result().without_scores()

    def write_dense() -> None:
        dense.unlink(missing_ok=True)
        state, names = model.state_dict(), set(first_names(model).values())
        save_file({name: state[name] for name in names}, dense)
        with dense.open("rb+") as file:  # as a kept model does before it gets its name
            os.fsync(file.fileno())

    def write_kept() -> None:
        Path(kept.path).unlink(missing_ok=True)  # each is a new file, as in a sweep
        file = ModelFile(kept)
        file.prepare(model, spec, None, result)
        file.publish()

    seconds = side_by_side({"kept": write_kept, "dense": write_dense}, REPEATS)
    size = Path(kept.path).stat().st_size
    yield Measurement(what=f"{what}: size", values=(size / 2**20,), unit="MiB")
    yield Measurement(
        what=f"{what}: size, of a dense copy",
        values=(size / dense.stat().st_size,),
        unit="x",
        at_most=at_most,
    )
    yield Measurement(what=f"{what}: written", values=seconds["kept"], unit="s")
    yield Measurement(
        what=f"{what}: written, to a dense copy",
        values=ratios(seconds["kept"], seconds["dense"]),
        unit="x",
        at_most=1,
    )


def _write_encoder(folder: Path) -> TrialSpec:
    """A trial on an encoder of this shape, whose weights are in a folder."""
    torch.manual_seed(0)
    config = BertConfig(**MBERT, num_labels=len(TAGS))
    BertForTokenClassification(config).base_model.save_pretrained(folder)
    model = ModelSpec(name=str(folder), revision=None, init="pretrained", fingerprint=None)
    return replace(make_trial_spec(), model=model)


@torch.no_grad()
def _trained(spec: TrialSpec, sparsity: float) -> nn.Module:
    """A model whose weights have moved and are pruned, as after training."""
    model = make_model(spec.model, 0, torch.device("cpu"))
    table = model.get_submodule("bert.embeddings.word_embeddings").weight
    linear = {id(weight) for weight in prunable_weights(model, spec.pruning).values()}
    for weight in model.parameters():
        if weight is table:
            weight[torch.randperm(len(table))[:CHANGED_ROWS]] += 1e-3
            continue
        weight.add_(1e-3)
        if id(weight) in linear and sparsity:
            weight[torch.rand(weight.shape) < sparsity] = 0.0
    return model
