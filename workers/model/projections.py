"""Query, key and value of an attention layer as one product, where these read copies in bfloat16.

The three multiply the same input. One product takes a third of the launches, casts the input once
in the place of three times, and adds up the gradient that flows back inside the product, in
float32, where three gradients would each be rounded before their sum.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

NAMES = (
    ("query", "key", "value"),
    ("q_lin", "k_lin", "v_lin"),
    ("q_proj", "k_proj", "v_proj"),
    ("q", "k", "v"),
)
"""What the three layers are called; those of one row belong to one module."""


def find_projections(model: nn.Module) -> Iterator[tuple[nn.Linear, ...]]:
    """The query, key and value layers of each module that has all three, of inputs of one size.

    Args:
        model: any model.
    """
    for module in model.modules():
        for names in NAMES:
            found = [getattr(module, name, None) for name in names]
            layers = tuple(layer for layer in found if type(layer) is nn.Linear)
            if len(layers) == len(names) and _alike(layers):
                yield layers


def _alike(layers: Sequence[nn.Linear]) -> bool:
    sizes = {layer.in_features for layer in layers}
    own = {id(layer.weight) for layer in layers}
    with_bias = {layer.bias is not None for layer in layers}
    return len(sizes) == 1 and len(own) == len(layers) and len(with_bias) == 1


class Projections:
    """What the layers compute, all of them when the first of them is called.

    Args:
        weights: a copy of each layer's weight, (size, num_inputs), as leaves.
        biases: a copy of each layer's bias, (size,); or none at all.

    The copies are moved to lie behind one another; they stay leaves.
    """

    def __init__(self, weights: Sequence[Tensor], biases: Sequence[Tensor]):
        self._matrix = _side_by_side(weights)
        self._bias = _side_by_side(biases) if biases else None
        self._sizes = [len(weight) for weight in weights]
        self._copies = (*weights, *biases)
        self._input: Tensor | None = None
        self._outputs: dict[int, Tensor] = {}

    def __call__(self, input: Tensor, place: int) -> Tensor:
        """The output of one layer.

        Args:
            input: (..., num_inputs).
            place: which of the layers, from 0.

        Returns:
            (..., size), bfloat16.
        """
        if self._input is not input or place not in self._outputs:
            outputs = _Product.apply(input, self._matrix, self._bias, self._sizes, *self._copies)
            self._input, self._outputs = input, dict(enumerate(outputs))
        output = self._outputs.pop(place)
        if not self._outputs:
            self._input = None  # the layer's activations end with its graph
        return output


def _side_by_side(copies: Sequence[Tensor]) -> Tensor:
    """Move leaves into one tensor, in their order."""
    joined = torch.cat([copy.detach() for copy in copies])
    parts = joined.split([len(copy) for copy in copies])
    for copy, part in zip(copies, parts, strict=True):
        copy.data = part
    return joined


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, input: Tensor, matrix: Tensor, bias: Tensor | None, sizes: Any, *copies: Tensor
    ) -> tuple[Tensor, ...]:
        rounded = input.to(matrix.dtype)
        ctx.save_for_backward(rounded, matrix)
        ctx.dtype, ctx.sizes, ctx.has_bias = input.dtype, sizes, bias is not None
        parts: tuple[Tensor, ...] = nn.functional.linear(rounded, matrix, bias).split(sizes, -1)
        return parts

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        input, matrix = ctx.saved_tensors
        grad = torch.cat(grads, -1)
        rows = grad.flatten(0, -2)
        of_input = (rows @ matrix).view_as(input).to(ctx.dtype)
        of_weights = (rows.T @ input.flatten(0, -2)).split(ctx.sizes)
        of_biases = rows.sum(0).split(ctx.sizes) if ctx.has_bias else ()
        return of_input, None, None, None, *of_weights, *of_biases
