"""Dropout of a model's forward pass on a CPU, by keys in the place of torch's generator.

What a module does is left to it: only the two functions of torch that drop are answered here,
whoever calls them. Attention that drops is computed here as well: torch computes that on CPUs from
parts, and keeps what its backward pass does not need.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from workers.kernels.dropout import DropoutKey, drop_reference

Drop = Callable[[Tensor, float, DropoutKey], Tensor]


class KeyedDropout(TorchFunctionMode):
    """Inside the block, calls of `dropout` and of attention with dropout on a CPU drop by keys: of
    the seed, the step and how many calls came before in this step.

    Args:
        seed: of the trial.
        kernels: name of the implementation, as in a trial's row; `numba` is fast, and for all
            others plain torch gives the same bits.
    """

    def __init__(self, seed: int, kernels: str):
        super().__init__()
        self.seed, self._step, self._num_calls = seed, 0, 0
        self._drop: Drop = drop_reference
        if kernels == "numba":
            from workers.kernels.numba_dropout import drop

            self._drop = drop

    def begin(self, step: int) -> None:
        """Begin a step.

        Args:
            step: completed steps before it, from 0.
        """
        self._step, self._num_calls = step, 0

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is functional.dropout:
            return self._dropout(*args, **kwargs)
        if function is functional.scaled_dot_product_attention:
            return self._attention(*args, **kwargs)
        return function(*args, **kwargs)

    def _next(self) -> DropoutKey:
        self._num_calls += 1
        return DropoutKey(self.seed, self._step, self._num_calls - 1)

    def _dropout(
        self, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        if not training or p == 0:
            return input
        dropped: Tensor = _Dropout.apply(input, p, self._next(), self._drop)
        return input.copy_(dropped) if inplace else dropped

    def _attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        is_known = not is_causal and not enable_gqa and query.dtype == key.dtype == value.dtype
        if dropout_p == 0 or not is_known:
            return functional.scaled_dot_product_attention(
                query,
                key,
                value,
                attn_mask,
                dropout_p,
                is_causal,
                scale=scale,
                enable_gqa=enable_gqa,
            )
        if attn_mask is not None and attn_mask.dtype is torch.bool:
            attn_mask = torch.zeros(()).masked_fill(attn_mask.logical_not(), -torch.inf)
        scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
        how = (scale, dropout_p, self._next(), self._drop)
        attended: Tensor = _Attention.apply(query, key, value, attn_mask, *how)
        return attended


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, given: Tensor, p: float, key: DropoutKey, drop: Drop) -> Tensor:
        ctx.how = (drop, p, key)
        return drop(given, p, key)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        drop, p, key = ctx.how
        return drop(grads[0], p, key), None, None, None


class _Attention(torch.autograd.Function):
    """softmax(scale q kᵀ + mask), dropped, times v; all in float32, whatever is given.

    q, k and v are (rows, heads, places, size).
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        scale: float,
        p: float,
        dropout_key: DropoutKey,
        drop: Drop,
    ) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            scores = _full(query).mul_(scale) @ _full(key).transpose(-2, -1)
            if mask is not None:
                scores.add_(mask)
            weights = scores.softmax(-1)
            attended = drop(weights, p, dropout_key) @ _full(value)
        ctx.save_for_backward(query, key, value, weights, mask)
        ctx.how = (scale, p, dropout_key, drop)
        # The heads of a place lie side by side, as the next layer reads them.
        found = torch.empty_like(query.transpose(1, 2), memory_format=torch.contiguous_format)
        return found.transpose(1, 2).copy_(attended)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        query, key, value, weights, mask = ctx.saved_tensors
        scale, p, dropout_key, drop = ctx.how
        with torch.autocast("cpu", enabled=False):
            grad = _full(grads[0])
            of_value = drop(weights, p, dropout_key).transpose(-2, -1) @ grad
            of_weights = drop(grad @ _full(value).transpose(-2, -1), p, dropout_key)
            of_scores = torch._softmax_backward_data(of_weights, weights, -1, torch.float32)
            scaled = of_scores * scale
            of_query = scaled @ _full(key)
            of_key = scaled.transpose(-2, -1) @ _full(query)
        of_mask = of_scores.sum_to_size(mask.shape) if ctx.needs_input_grad[3] else None
        return (
            *(one.to(query.dtype) for one in (of_query, of_key, of_value)),
            of_mask,
            *[None] * 4,
        )


def _full(values: Tensor) -> Tensor:
    """A float32 copy, contiguous."""
    return torch.empty(values.shape, dtype=torch.float32).copy_(values)
