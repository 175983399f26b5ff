"""How many kernels one training step of multilingual BERT launches on a GPU, counted without one.

    python -m tests.benchmarks launches

Tensors are torch's fake ones on `cuda`: operations see shapes and devices and compute nothing. Each
that would compute or copy counts once. A few (the backward passes of attention and of layer norms)
are two or three kernels on a GPU, so a profile there shows some more.

torch without CUDA leaves out two things, which are stood in for here: autograd's engine for GPUs,
and the choice of the kernel of attention, which a mask of blocks decides.
"""

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from tests.benchmarks.measurement import Measurement, in_own_process
from tests.workers.fake_gpu_trial import Watch, fake_gpu

FREE = ("aten::empty", "aten::detach", "aten::_unsafe_view", "aten::lift_fresh")
"""Beside views: what only makes or names memory."""
STEPS_BEFORE = 3
"""Without the first ones, in which the optimizer makes its state."""


class Count(Watch):
    """Counts what would be launched, by phase and by what it is for."""

    def __init__(self) -> None:
        super().__init__()
        self.phase = "forward"
        self.weights: set[int] = set()
        self.reaches_weight = False
        self.counts: Counter[tuple[str, str]] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called for each operation."""
        name = func.name()
        if name.startswith("aten::") and not func.is_view and not name.startswith(FREE):
            self.counts[self.phase, self._kind(name, args)] += 1
        return super().__torch_dispatch__(func, types, args, kwargs)

    def _kind(self, name: str, args: Any) -> str:
        if name not in ("aten::_to_copy", "aten::copy_"):
            return "other"
        of_weight = self.reaches_weight or (args and id(args[0]) in self.weights)
        return "casts of weights" if of_weight else "casts"


class Engine:
    """In the place of autograd's: the same nodes, each when all gradients that come to it have been
    added up.

    Args:
        count: is told which casts end at a weight.
    """

    def __init__(self, count: Count):
        self.count = count

    @torch.no_grad()
    def backward(self, loss: Tensor) -> None:
        """As `Tensor.backward`."""
        self.count.phase = "backward"
        waited_for, gradients = _waited_for(loss.grad_fn), defaultdict[Any, dict[int, Tensor]](dict)
        gradients[loss.grad_fn] = {0: torch.ones_like(loss)}
        ready = [loss.grad_fn]
        while ready:
            node = ready.pop()
            given = gradients.pop(node, {})
            found = self._run(node, [given.get(i) for i in range(max(given, default=0) + 1)])
            for (below, place), gradient in zip(node.next_functions, found, strict=True):
                if below is None:
                    continue
                if gradient is not None:
                    _add(gradients[below], place, _fitted(gradient, below._input_metadata[place]))
                waited_for[below] -= 1
                if waited_for[below] == 0:
                    ready.append(below)
        self.count.phase = "optimizer"

    def _run(self, node: Any, given: list[Tensor | None]) -> tuple[Tensor | None, ...]:
        if hasattr(node, "variable"):  # a leaf
            if given[0] is not None:
                before = node.variable.grad
                node.variable.grad = given[0] if before is None else before + given[0]
            return ()
        self.count.reaches_weight = all(
            hasattr(below, "variable") for below, _ in node.next_functions
        )
        found = node(*given) if callable(node) else node.apply(*given)
        self.count.reaches_weight = False
        found = found if isinstance(found, tuple) else (found,)
        return found[: len(node.next_functions)]  # a function in Python has one for each argument


def _waited_for(root: Any) -> Counter[Any]:
    """How many gradients come to each node."""
    counts: Counter[Any] = Counter()
    waiting, seen = [root], {root}
    while waiting:
        for below, _ in waiting.pop().next_functions:
            if below is not None:
                counts[below] += 1
                if below not in seen:
                    seen.add(below)
                    waiting.append(below)
    return counts


def _fitted(gradient: Tensor, wanted: Any) -> Tensor:
    """Of the shape and type that the node takes, as the engine makes it."""
    if gradient.shape != tuple(wanted.shape):
        gradient = gradient.sum_to_size(tuple(wanted.shape))
    return gradient.to(wanted.dtype)


def _add(gradients: dict[int, Tensor], place: int, gradient: Tensor) -> None:
    gradients[place] = gradients[place] + gradient if place in gradients else gradient


def attend(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor, dropout_p: float, **other: Any
) -> Tensor:
    """In the place of scaled-dot-product attention: what torch takes on a GPU for a mask where it
    shall be deterministic."""
    assert attn_mask.dtype == query.dtype, "else it would be converted first"
    bias = attn_mask.expand(*query.shape[:3], key.shape[2])
    found, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(
        query, key, value, bias, True, dropout_p
    )
    return found


def count_step(precision: str) -> dict[str, int]:
    """What a step launches, by phase and kind.

    Args:
        precision: of the trial.
    """
    from tests.benchmarks.kernels import THROUGHOUT, full_shape

    count = Count()
    with fake_gpu(count) as patch:
        patch.setattr(Tensor, "backward", lambda loss: Engine(count).backward(loss))
        patch.setattr(nn.functional, "scaled_dot_product_attention", attend)
        patch.setattr("workers.train.can_replay", lambda device: False)
        training = full_shape(STEPS_BEFORE + 2, THROUGHOUT, precision=precision)
        count.weights = {id(parameter) for parameter in training.model.parameters()}
        steps = training.run()
        for _ in range(STEPS_BEFORE):
            next(steps)
        kernels: Any = training.optimizer.kernels
        own = kernels.num_launches
        count.counts.clear()
        count.phase = "forward"
        next(steps)
        count.counts["optimizer", "other"] += kernels.num_launches - own
    return {f"{phase}, {kind}": number for (phase, kind), number in count.counts.items()}


def launches() -> Iterator[Measurement]:
    """What a training step in multilingual BERT's shape launches."""
    for precision in ("bfloat16", "float32"):
        counts = in_own_process("tests.benchmarks.launches", precision)
        what = f"operations of a training step on a GPU, {precision}"
        yield Measurement(what=what, values=(sum(counts.values()),), unit="launches")
        for part, number in sorted(counts.items()):
            yield Measurement(what=f"… {part}", values=(number,), unit="launches")


def main(precision: str) -> None:
    """Count in this process, and print that as JSON."""
    print(json.dumps(count_step(precision)))


if __name__ == "__main__":
    main(*sys.argv[1:])
