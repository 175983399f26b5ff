"""What pruning costs: optimizer steps, mask updates and whole training steps, beside what people
would use instead.

Sizes are those of multilingual BERT's encoder: 72 matrices, 84.9 million weights. The same
functions run on a GPU where there is one, so that a figure means the same on both.
"""

import gc
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn.utils import prune

from tests.benchmarks.measurement import Measurement, peak_extra_mib, ratios, side_by_side, timed
from tests.factories import PRUNING, make_split, make_trial_spec
from tests.wikiann_tags import TAGS
from workers.data.align import EncodedSplit
from workers.data.batch import make_batch
from workers.pruning.masked_adamw import MaskedAdamW
from workers.pruning.used_rows import keep_used_rows
from workers.train import Training, row_use
from workers.trial import PruningSpec

SPARSITY = 0.9
SPARSITIES = (0.0, 0.5, 0.7, 0.9, 0.98)
REPEATS = 9
NUM_TRAINING_STEPS = 51
SHAPES = [shape for _ in range(12) for shape in [(768, 768)] * 4 + [(3072, 768), (768, 3072)]]
NUM_WEIGHTS = sum(rows * columns for rows, columns in SHAPES)
COPIED = 2**29
"""Bytes that a copy reads and writes."""
GB = 1e9
MIB = 2**20


def device() -> torch.device:
    """The GPU, where there is one."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


def make_weights(seed: int = 0) -> list[nn.Parameter]:
    """The encoder's matrices with random weights and gradients."""
    generator = torch.Generator(device()).manual_seed(seed)
    weights = [
        nn.Parameter(0.02 * torch.randn(shape, generator=generator, device=device()))
        for shape in SHAPES
    ]
    for weight in weights:
        weight.grad = torch.randn(weight.shape, generator=generator, device=device())
    return weights


def on_cpu(target: float) -> float | None:
    """Targets are set for CPUs; on a GPU the same figures only inform."""
    return target if device().type == "cpu" else None


def on_gpu(target: float) -> float | None:
    """Targets that are set for GPUs."""
    return target if device().type == "cuda" else None


def extra_mib(action: Callable[[], object]) -> float:
    """Largest memory during the action above that before it: the GPU's, where there is one."""
    if device().type == "cpu":
        return peak_extra_mib(action)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    waiting(action)()
    return (torch.cuda.max_memory_allocated() - before) / MIB


def waiting(action: Callable[[], object]) -> Callable[[], None]:
    """The action, and on a GPU the wait until it is done."""

    def run() -> None:
        action()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return run


def of_the_device(action: Callable[[], object]) -> Callable[[], None]:
    """The action, on a GPU as the device alone does it: recorded as a CUDA graph and replayed."""
    if device().type == "cpu":
        return waiting(action)
    for _ in range(2):
        action()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        action()
    return waiting(graph.replay)


def steps() -> Iterator[Measurement]:
    """One optimizer step at 90 % sparsity, beside a dense one and one with float masks."""
    ours = MaskedAdamW(make_weights(), prunable=True, lr=1e-5)
    ours.update_masks(SPARSITY)
    yield from _step_ratios(ours)
    del ours
    gc.collect()
    clipping = MaskedAdamW(make_weights(), prunable=True, lr=1e-5, max_grad_norm=1.0)
    clipping.update_masks(SPARSITY)
    weights = make_weights()
    dense = fused_adamw(weights)

    def clipped() -> None:
        nn.utils.clip_grad_norm_(weights, 1.0)
        dense.step()

    actions = {"ours": of_the_device(clipping.step), "theirs": of_the_device(clipped)}
    seconds = side_by_side(actions, REPEATS)
    yield Measurement(
        what="the same with clipping / torch fused AdamW with clip_grad_norm_",
        values=ratios(seconds["ours"], seconds["theirs"]),
        unit="x",
    )


def fused_adamw(weights: list[nn.Parameter]) -> torch.optim.AdamW:
    """torch's own, which a CUDA graph can have where there is a GPU."""
    return torch.optim.AdamW(weights, lr=1e-5, fused=True, capturable=device().type == "cuda")


def copying() -> Callable[[], object]:
    """A copy that moves `COPIED` bytes."""
    large = torch.empty(COPIED // 8, device=device())
    other = torch.empty_like(large)
    return lambda: other.copy_(large)


def against_copy(seconds: dict[str, tuple[float, ...]], bytes_a_weight: float) -> tuple[float, ...]:
    """Bytes that our step moves a second, as a part of those that a copy moves."""
    return tuple(
        NUM_WEIGHTS * bytes_a_weight / ours_s * copy_s / COPIED
        for ours_s, copy_s in zip(seconds["ours"], seconds["copy"], strict=True)
    )


def _step_ratios(ours: MaskedAdamW) -> Iterator[Measurement]:
    weights = make_weights()
    dense = fused_adamw(weights)
    dense.step()
    masks = [
        (weight.abs() > weight.abs().flatten().kthvalue(int(0.9 * weight.numel())).values).float()
        for weight in weights
    ]
    states = [dense.state[weight] for weight in weights]

    @torch.no_grad()
    def with_float_masks() -> None:
        dense.step()
        for tensors in (
            weights,
            [one["exp_avg"] for one in states],
            [one["exp_avg_sq"] for one in states],
        ):
            torch._foreach_mul_(tensors, masks)

    actions = {
        "ours": of_the_device(ours.step),
        "dense": of_the_device(dense.step),
        "masked": of_the_device(with_float_masks),
        "copy": of_the_device(copying()),
    }
    seconds = side_by_side(actions, REPEATS)
    yield Measurement(
        what="optimizer step, 85 M weights, 90 % sparse", values=seconds["ours"], unit="s"
    )
    yield Measurement(
        what="optimizer step / torch fused AdamW, no masks",
        values=ratios(seconds["ours"], seconds["dense"]),
        unit="x",
        at_most=on_cpu(1.15),
    )
    yield Measurement(
        what="torch fused AdamW, float masks / optimizer step",
        values=ratios(seconds["masked"], seconds["ours"]),
        unit="x",
        at_least=on_cpu(2),
    )
    # Reads of w, g, m, v and a bit; writes of w, m, v. A GPU leaves out 8 weights that are pruned.
    moved = on_gpu(1 - SPARSITY**8) or 1
    yield Measurement(
        what="bytes moved by the step a second / by a copy",
        values=against_copy(seconds, 28 * moved + 1 / 8),
        unit="x",
        at_least=on_gpu(0.85),
    )
    yield Measurement(
        what="copy", values=tuple(COPIED / GB / one for one in seconds["copy"]), unit="GB/s"
    )
    packed = sum(
        ours.state[weight]["mask"].nbytes
        for group in ours.param_groups
        for weight in group["params"]
    )
    yield Measurement(
        what="memory of masks / of float masks",
        values=(packed / sum(mask.nbytes for mask in masks),),
        unit="x",
        at_most=1 / 32,
    )


def sparsities() -> Iterator[Measurement]:
    """The step at several sparsities, beside a dense one; and on a GPU the bytes that it moves.

    A GPU leaves out sectors of 32 bytes in which no weight is kept; its memory gives two at a time,
    so what it saves lies between the two counts.
    """
    weights = make_weights()
    dense = fused_adamw(weights)
    ours = MaskedAdamW(make_weights(), prunable=True, lr=1e-5)
    copy = copying()
    for sparsity in (None, *SPARSITIES):
        if sparsity is not None:
            ours.update_masks(sparsity)
        actions = {
            "ours": of_the_device(ours.step),
            "dense": of_the_device(dense.step),
            "copy": of_the_device(copy),
        }
        seconds = side_by_side(actions, REPEATS)
        name = "no mask" if sparsity is None else f"{sparsity:.0%} sparse"
        yield Measurement(
            what=f"optimizer step, {name} / torch fused AdamW",
            values=ratios(seconds["ours"], seconds["dense"]),
            unit="x",
        )
        if device().type == "cpu":
            continue
        for sectors in (1, 2):
            moved = 28 * (1 - (sparsity or 0) ** (8 * sectors)) + 1 / 8
            yield Measurement(
                what=f"… bytes a second / of a copy, by {32 * sectors} bytes",
                values=against_copy(seconds, moved),
                unit="x",
            )


def thresholds() -> Iterator[Measurement]:
    """The exact magnitude below which half of all weights lie."""
    from workers.kernels.interface import MaskTensors, RankGroup
    from workers.kernels.numba_cpu import Search
    from workers.kernels.packed import all_kept

    weight = torch.cat([one.detach().flatten() for one in make_weights()])
    group = RankGroup((MaskTensors(weight, weight, weight, all_kept(weight)),), NUM_WEIGHTS // 2)

    def ours() -> float:
        search = Search(group, is_shadow=False)
        search.find_threshold()
        return float(np.array([search.threshold], np.int32).view(np.float32)[0])

    theirs = float(weight.abs().kthvalue(NUM_WEIGHTS // 2).values)
    assert ours() == theirs
    seconds = side_by_side(
        {"ours": ours, "theirs": lambda: weight.abs().kthvalue(NUM_WEIGHTS // 2)}, 3
    )
    yield Measurement(what="exact threshold over 85 M weights", values=seconds["ours"], unit="s")
    yield Measurement(
        what="torch.kthvalue / threshold",
        values=ratios(seconds["theirs"], seconds["ours"]),
        unit="x",
        at_least=5,
    )
    yield Measurement(
        what="extra memory of the threshold",
        values=(peak_extra_mib(ours),),
        unit="MiB",
        at_most=64e6 / MIB,
    )


def updates() -> Iterator[Measurement]:
    """A global mask update, from dense and from sparse, beside torch.nn.utils.prune."""
    ours = after_one_step()
    ours_mib = extra_mib(partial(ours.update_masks, 0.5))
    later = [
        timed(waiting(partial(ours.update_masks, sparsity)))
        for sparsity in (0.6, 0.7, 0.8, 0.85, 0.88, 0.9)
    ]
    if device().type == "cuda":
        alone = of_the_device(partial(ours.update_masks, 0.9))
        yield Measurement(
            what="mask update of 85 M weights, the GPU's part",
            values=tuple(timed(alone) for _ in range(REPEATS)),
            unit="s",
        )
    del ours
    first = [timed(waiting(partial(after_one_step().update_masks, 0.5))) for _ in range(3)]
    yield Measurement(
        what="global mask update of 85 M weights, dense to 50 %", values=tuple(first), unit="s"
    )
    yield Measurement(what="the same on to 90 % in six updates", values=tuple(later), unit="s")
    modules = []
    for weight in make_weights():
        module = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device=device())
        module.weight = nn.Parameter(weight.detach())
        modules.append((module, "weight"))
    peer_s: list[float] = []
    peer = partial(prune.global_unstructured, modules, prune.L1Unstructured, amount=0.5)
    peer_mib = extra_mib(lambda: peer_s.append(timed(waiting(peer))))
    yield Measurement(
        what="torch.nn.utils.prune.global_unstructured / mask update",
        values=tuple(peer_s[0] / one for one in first),
        unit="x",
        at_least=on_cpu(20),
    )
    yield Measurement(what="extra memory of the mask update", values=(ours_mib,), unit="MiB")
    yield Measurement(
        what="the same / of global_unstructured",
        values=(ours_mib / peer_mib,),
        unit="x",
        at_most=on_cpu(0.1),
    )


def after_one_step() -> MaskedAdamW:
    """An optimizer of the encoder's matrices that has its moments."""
    optimizer = MaskedAdamW(make_weights(), prunable=True, lr=1e-5)
    optimizer.step()
    return optimizer


def training() -> Iterator[Measurement]:
    """A training step of multilingual BERT's shape, pruned (updates included) and dense."""
    num_steps = NUM_TRAINING_STEPS
    runs = {"on": full_shape(num_steps, THROUGHOUT), "off": full_shape(num_steps, None)}
    actions = {name: partial(next, run.run()) for name, run in runs.items()}
    if device().type == "cuda":
        actions["plain"] = plain_step()
    seconds = side_by_side(
        {name: waiting(action) for name, action in actions.items()}, num_steps - 1
    )
    for name in runs:
        yield Measurement(
            what=f"training step of mBERT's shape, pruning {name}", values=seconds[name], unit="s"
        )
    blocks = [
        slice(start, start + 10) for start in range(0, num_steps - 10, 10)
    ]  # each with one mask update
    yield Measurement(
        what="the same, on / off, mask updates included",
        values=tuple(sum(seconds["on"][block]) / sum(seconds["off"][block]) for block in blocks),
        unit="x",
        at_most=on_cpu(1.02),
    )
    if "plain" in seconds:
        yield Measurement(
            what="a dense step of a plain loop / the same with pruning on",
            values=tuple(
                sum(seconds["plain"][block]) / sum(seconds["on"][block]) for block in blocks
            ),
            unit="x",
            at_least=5,
        )


def plain_step() -> Callable[[], object]:
    """A dense training step of the same shape in a loop as torch's and Hugging Face's manuals have
    it: padded, autocast, fused AdamW, clipped."""
    from transformers import BertConfig, BertForTokenClassification

    torch.manual_seed(0)
    model = BertForTokenClassification(BertConfig(**MBERT, num_labels=len(TAGS))).to(device())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    split = random_rows(32, 24, MBERT["vocab_size"])
    batch = make_batch(split, np.arange(32), device())

    def step() -> None:
        with torch.autocast(device().type, torch.bfloat16):
            loss = model(**batch.inputs, labels=batch.labels).loss
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


THROUGHOUT = replace(PRUNING, begin=0.0, end=1.0)
"""A pruning that updates masks every 10 steps."""
MBERT = {"vocab_size": 119_547}
"""What differs in multilingual BERT's shape from Hugging Face's defaults."""


def full_shape(
    num_steps: int,
    pruning: PruningSpec | None,
    length: int = 24,
    precision: str = "bfloat16",
    shortest: int | None = None,
) -> Training:
    """Training in multilingual BERT's shape, in batches of 32 rows of `length` sub-words, or of
    `shortest` to `length`, so that there is padding."""
    from transformers import BertConfig, BertForTokenClassification

    config = BertConfig(**MBERT, num_labels=len(TAGS))
    torch.manual_seed(0)
    model = BertForTokenClassification(config)
    split = random_rows(32 * num_steps, length, config.vocab_size, shortest)
    spec = make_trial_spec(target_sparsity=SPARSITY if pruning else 0.0)
    settings = replace(spec.training, num_steps=num_steps, precision=precision)
    spec = replace(spec, pruning=pruning, training=settings)
    if (use := row_use(spec, split)) is not None:
        keep_used_rows(model, use)
    return Training(spec, model.to(device()), split, device())


def random_rows(
    num_rows: int, length: int, vocab_size: int, shortest: int | None = None
) -> EncodedSplit:
    """A split of rows of that many sub-words (or from `shortest` on), each the first of a word."""
    generator = np.random.default_rng(0)
    lengths = np.full(num_rows, length)
    if shortest is not None:
        lengths = generator.integers(shortest, length + 1, size=num_rows)
    total = int(lengths.sum())
    return make_split(
        generator.integers(vocab_size, size=total),
        generator.integers(len(TAGS), size=total),
        lengths,
    )
