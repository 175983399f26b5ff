"""How fast devices are assumed to be until a sweep has measured it, and how much memory GPUs have:
rough figures, as the arithmetic they come from.

Whatever is computed from this is called assumed wherever it is shown, and is given up for the first
trial that was measured on a device of its kind.
"""

import re
from dataclasses import dataclass

from workers.trial import BUILTIN_MODEL

FLOPS_PER_WEIGHT = 6
"""Of one sub-word trained on: 2 forward, 4 backward. Source: Kaplan et al. 2020, section 2.1."""

SUBWORDS_PER_SENTENCE = 16
"""WikiANN's sentences are short: the mean of six languages trained together, special ones included
(paper-mini)."""

UTILISATION = 0.3
"""Part of a GPU's peak that fine-tuning reaches when its batches are large enough."""

GPU_S_PER_LAYER = 0.5e-3
"""Of a training step with batches of short sentences, however few: an encoder layer is some 60
kernels, one after another, none of which fills a GPU. Measured, once, on an H100, where a step of
mBERT's shape took 6 ms (RESULTS.md)."""

LOAD_S = 2.0
"""To load model and data, a trial; below 1 s on average in paper-mini, whose encoder has 0.3 GB."""


@dataclass(frozen=True)
class Encoder:
    """A size class of encoders: layers, and weights of their linear parts, 12 times the squared
    width a layer."""

    name: str
    num_layers: int
    width: int

    @property
    def num_weights(self) -> int:
        """Embeddings are looked up, not multiplied, so they do not count."""
        return 12 * self.num_layers * self.width**2


TINY = Encoder("tiny", num_layers=2, width=128)  # the built-in one
SMALL = Encoder("small", num_layers=12, width=384)  # multilingual-e5-small
BASE = Encoder("base", num_layers=12, width=768)  # mBERT, XLM-R base: 84,934,656 weights
LARGE = Encoder("large", num_layers=24, width=1024)  # XLM-R large


def encoder(model_name: str) -> Encoder:
    """The size class that a model's name tells of; base where it tells nothing."""
    if model_name == BUILTIN_MODEL:
        return TINY
    name = model_name.rpartition("/")[2].lower()
    return next((size for size in (SMALL, LARGE) if size.name in name), BASE)


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """Peak speeds from the manufacturer's data sheets, in operations a second, dense, and memory in
    GiB, of the model that has least."""

    name: str
    memory_gib: int
    float32_flops: float
    bfloat16_flops: float

    def s_per_sentence(self, model_name: str, precision: str, batch_size: int) -> float:
        """Seconds to train on one sentence."""
        size = encoder(model_name)
        peak = self.bfloat16_flops if precision == "bfloat16" else self.float32_flops
        flops = FLOPS_PER_WEIGHT * size.num_weights * SUBWORDS_PER_SENTENCE
        arithmetic_s = flops / (UTILISATION * peak)
        return max(arithmetic_s, size.num_layers * GPU_S_PER_LAYER / batch_size)


GPUS = (
    # float32 is computed without TF32, which would change the numbers of trials. Older ones lack
    # bfloat16, see `workers.devices`.
    Gpu(name="A100", memory_gib=40, float32_flops=19.5e12, bfloat16_flops=312e12),
    Gpu(name="H100", memory_gib=80, float32_flops=67e12, bfloat16_flops=989e12),
)
USUAL_GPU = "A100"
"""The one that is named where nothing tells which GPU it will be."""


def gpu_memory_gib(name: str) -> float | None:
    """Memory of a GPU of that name, in GiB: what the name says itself, as in `NVIDIA
    A100-SXM4-80GB`, or that of the GPU here that it names; None: neither."""
    if said := re.search(r"(\d+)\s?GB", name, re.IGNORECASE):
        return float(said[1])
    known = (gpu.memory_gib for gpu in GPUS if gpu.name.lower() in name.lower())
    return next(known, None)


CPU = "a CPU"
CORE_S_PER_SENTENCE_OF_BASE = 48 * 2 / 1000
"""Measured, once, with version 0.1: mBERT's shape trained on 1,000 sentences in 48 s on 2 cores of
an AMD EPYC with AVX512 (RESULTS.md)."""


def core_s_per_sentence(model_name: str) -> float:
    """Seconds of one CPU core to train on one sentence: as the number of weights."""
    return CORE_S_PER_SENTENCE_OF_BASE * encoder(model_name).num_weights / BASE.num_weights
