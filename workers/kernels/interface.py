"""What an implementation of the kernels is given and what it must do; nothing is computed here.

All tensors are contiguous, on one device, and float32 unless said otherwise. Tensors of one
parameter have its shape; `mask` is packed (see `workers.kernels.packed`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from torch import Tensor

Semantics = Literal["hard", "dense_shadow"]


class StepTensors(NamedTuple):
    """One parameter in an optimizer step.

    A tuple, since hundreds are made at every step, and a frozen dataclass takes five times as long.
    """

    weight: Tensor
    grad: Tensor
    """bfloat16 where there is `rounded`."""
    exp_avg: Tensor
    exp_avg_sq: Tensor
    step: Tensor
    """0-dimensional; how many steps were done before this one."""
    mask: Tensor | None
    """int32; None: nothing of the parameter is pruned."""
    lr: float | Tensor
    """At least 0; a tensor of 1 element may be float64, and on the CPU."""
    beta1: float
    """In [0, 1), as `beta2`."""
    beta2: float
    eps: float
    """Above 0."""
    weight_decay: float
    """At least 0."""
    rounded: Tensor | None = None
    """bfloat16, what forward passes read: the new weight rounded to nearest, ties to even."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOptions:
    """What holds for all parameters of an optimizer step."""

    max_grad_norm: float | None = None
    """Largest 2-norm of all unpruned entries of all gradients together, above 0; None: no clipping.

    Gradients are multiplied by min(1, max / (norm + 1e-6)), as `torch.nn.utils.clip_grad_norm_`
    does, and by NaN if the norm is not finite: such a step leaves no weight that could be taken for
    a good one.
    """
    grad_scale: Tensor | None = None
    """What the loss was multiplied by, 1 element; None: 1."""
    found_inf: Tensor | None = None
    """Not 0 if a gradient is not finite, 1 element: nothing changes then. None: 0."""


@dataclass(frozen=True, slots=True)
class MaskTensors:
    """One prunable parameter in a mask update."""

    weight: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor
    mask: Tensor
    """int32."""


@dataclass(frozen=True, slots=True)
class RankGroup:
    """Parameters whose weights are ranked together, in the order that breaks ties."""

    tensors: tuple[MaskTensors, ...]
    num_pruned: int
    """Of all their weights, after the update; 0 to all."""


class Kernels(Protocol):
    """An implementation.

    Both methods change the tensors in place and never make the host wait for a GPU.

    Attributes:
        name: as in `pruning.kernels` and in a trial's row.
    """

    name: str

    def step(self, tensors: Sequence[StepTensors], options: StepOptions) -> Tensor | None:
        """Do one AdamW step of all weights that are not pruned.

        With g the gradient times one factor, which takes `grad_scale` out and scales down to
        `max_grad_norm`, all of it in float32 and in this order (factor and coefficients are
        computed in float64 and rounded once):

            m ← m + (g − m)(1 − β₁)
            v ← v β₂ + g g (1 − β₂)
            w ← w (1 − lr · decay) − lr / (1 − β₁ᵗ) · (m / (√v · 1 / √(1 − β₂ᵗ) + ε))

        Where the mask prunes, w, m, v and `rounded` stay as they are, and g does not matter, so
        there none of them need be read or written. A pruned weight that others wrote to
        therefore keeps what they wrote until the next mask update. `step` is then one more. When
        `found_inf` is not 0 nothing changes.

        Args:
            tensors: the parameters that have gradients.
            options: what holds for all of them.

        Returns:
            The norm before clipping, float32, 0-dimensional; None without clipping.

        Source: Loshchilov & Hutter (2019), algorithm 2.
        """

    def update_masks(self, groups: Sequence[RankGroup], semantics: Semantics) -> Tensor:
        """Prune the weights of smallest magnitude in each group, exactly `num_pruned`.

        The magnitude is that of the weight, and under `dense_shadow` for a pruned weight that of
        its frozen dense value, which its place in `exp_avg` holds. Under `hard` pruned weights rank
        below all others, so none comes back, also when fewer are asked for than are pruned. Ties go
        by position: earlier tensors first, and inside a tensor the lower row-major index. −0 equals
        0, denormals are ranked, infinities rank highest.

        A weight that becomes pruned is set to +0, under `hard` with both moments; under
        `dense_shadow` its value moves to `exp_avg` and its second moment stays. A weight that comes
        back takes its frozen value and the second moment that it had, and its first moment starts
        from 0. Pruned weights that others wrote to in between are +0 again.

        Args:
            groups: what is ranked together; a parameter is in one group at most.
            semantics: hard or dense_shadow.

        Returns:
            How many of the ranked weights are NaN: 0-dimensional, int64. When it is not 0, nothing
            has changed.
        """
