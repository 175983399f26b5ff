"""MaskedAdamW: AdamW whose pruned weights cost nothing and are zero.

The arithmetic, and what pruning does to weights and moments, is defined in
`workers.kernels.interface`; here is what makes it an optimizer: parameter groups, state, its saving
and loading. What cannot be right is refused by `workers.pruning.checks`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from workers.kernels import AUTO, make_kernels
from workers.kernels.interface import (
    Kernels,
    MaskTensors,
    RankGroup,
    Semantics,
    StepOptions,
    StepTensors,
)
from workers.kernels.packed import all_kept, pack, unpack
from workers.pruning.checks import (
    MASK,
    check_count,
    check_gradient,
    check_group_options,
    check_hard,
    check_mask,
    check_optimizer_options,
    check_parameter,
    check_prunable,
    check_rounded,
    check_saved_semantics,
    check_saved_state,
    check_score,
    check_unchanged,
    refuse_nan,
)
from workers.pruning.ranking import count_pruned, pieces, scores_as_weights

KEPT_ATTRIBUTES = (
    "max_grad_norm",
    "semantics",
    "_kernels_name",
    "grad_norm",
    "_step_supports_amp_scaling",
    "_rounded",
    "_places",
)
"""What copies and pickled optimizers have beside torch's own, which leaves out such attributes."""


class MaskedAdamW(torch.optim.Optimizer):
    """AdamW with decoupled weight decay, gradual pruning and clipping, fused.

    One pass reads and writes weights and moments and decays them; with clipping, another reads
    gradients before, for their norm. Both leave out memory in which nothing is kept: on a GPU
    every 32 bytes, on a CPU 64 where few of them are left, since it reads ahead.

    Used like `torch.optim.AdamW`: parameter groups with their own options, lr schedulers,
    `torch.amp.GradScaler` (which sets `grad_scale` and `found_inf`), `state_dict`. A group's option
    `prunable` says whether its parameters may be pruned: by `update_masks` all at once, by `prune`
    in groups and by any score, by `set_masks` as the caller likes. Masks lie packed, one bit a
    weight, in the state beside the moments, under "mask". A mask update sets pruned weights to
    exactly +0 and a step leaves them alone, so forward and backward passes need no masks. (What
    others write to a pruned weight stays there until the next mask update.)

    Pruned weights differ by `semantics`:

    - hard: a pruned weight is gone. Weight and both moments are 0; it never comes back.
    - dense_shadow: its value from just before it was pruned is kept, frozen, and competes at every
      mask update with the magnitudes of the others; if it wins, the weight comes back with that
      value, with the second moment that it had and with a first moment of 0. The frozen value takes
      the place in "exp_avg" that a pruned weight has no use for, so it costs no memory. Source: Zhu
      & Gupta (2017), section 3, where weights keep their values under a mask and gradients stop at
      it; their momentum goes on to move masked weights for a while, which this one does not do.

    Gradients are clipped inside the step, because the norm is that of the kept weights (dense
    gradients of pruned weights would inflate it) and because scaling them in place would be another
    pass. (To torch's GradScaler an infinite gradient is one whether its weight is pruned or not; it
    then skips the step.)

    On a GPU neither `step` nor a change of masks waits for the device, and both give the same bits
    on every rank of a DistributedDataParallel model, whose gradients are equal on all ranks.

    Args:
        params: parameters or groups; all float32, contiguous, dense, on one device.
        lr: learning rate; a float, or a tensor of 1 element (which a captured CUDA graph reads anew
            at each replay).
        betas: decay of the two moments, each in [0, 1).
        eps: added to the square root of the second moment, above 0.
        weight_decay: decoupled (Loshchilov & Hutter 2019), at least 0.
        prunable: default of the groups' option.
        max_grad_norm: gradients are scaled down to this 2-norm, over all groups together; None:
            never.
        semantics: hard or dense_shadow.
        kernels: auto, reference, triton or numba: who computes; see `workers.kernels.make_kernels`.
        rounded: copies of parameters in bfloat16, which forward passes read and gradients come to.
            Steps and changes of masks keep them equal to the rounded parameters. A GradScaler does
            not see their gradients.
        order: parameters in the order in which their gradients are added up for the norm, so that
            the norm does not depend on how they are grouped; those that are not there come last,
            in the groups' order.

    Attributes:
        grad_norm: norm of the last step's gradients before clipping, 0-dimensional; None without
            clipping.

    Raises:
        ValueError: an option is out of its range, or a parameter is of the wrong kind.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        *,
        prunable: bool = False,
        max_grad_norm: float | None = None,
        semantics: Semantics = "hard",
        kernels: str = AUTO,
        rounded: Mapping[Tensor, Tensor] | None = None,
        order: Iterable[Tensor] = (),
    ):
        check_optimizer_options(max_grad_norm, semantics)
        self.max_grad_norm, self.semantics, self._kernels_name = max_grad_norm, semantics, kernels
        self.grad_norm: Tensor | None = None
        self._rounded: dict[Tensor, Tensor] = dict(rounded or {})
        self._places = {parameter: place for place, parameter in enumerate(order)}
        self._kernels: Kernels | None = None
        self._kernels_device: torch.device | None = None
        self._step_supports_amp_scaling = True  # GradScaler then leaves its scale to `step`

        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults | {"prunable": prunable, "semantics": semantics})
        make_kernels(kernels, self._device)  # refuses now, not at the first step

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, see `torch.optim.Optimizer.add_param_group`.

        Args:
            param_group: "params" and the options that differ from the defaults.

        Raises:
            ValueError: an option is out of its range, or a parameter is of the wrong kind; the
                groups are then what they were.
        """
        given = param_group["params"]
        if not isinstance(given, Tensor | set):  # a set has no order, which is torch's to tell
            param_group["params"] = given = list(given)
            if len({id(parameter) for parameter in given}) < len(given):
                raise ValueError(
                    f"a group of {len(given)} parameters has one of them twice; "
                    "list tied weights once"
                )
        super().add_param_group(param_group)  # fills in the defaults of options that are not given

        group = self.param_groups[-1]
        try:
            check_group_options(group, self.semantics)
            for parameter in group["params"]:
                check_parameter(parameter, self._device)
        except ValueError:
            self.param_groups.pop()
            raise

    @property
    def kernels(self) -> Kernels:
        """Who computes, made anew when the parameters have moved to another device."""
        if self._kernels is None or self._kernels_device != self._device:
            self._kernels = make_kernels(self._kernels_name, self._device)
            self._kernels_device = self._device
        return self._kernels

    def gradient(self, parameter: Tensor) -> Tensor | None:
        """The gradient of a parameter: bfloat16 where it has a rounded copy; None: no gradient.

        Args:
            parameter: of any group.
        """
        return self._rounded.get(parameter, parameter).grad

    def zero_grad(self, set_to_none: bool = True) -> None:
        """See `torch.optim.Optimizer.zero_grad`; gradients of rounded copies are always dropped."""
        super().zero_grad(set_to_none)
        for rounded in self._rounded.values():
            rounded.grad = None

    @torch.no_grad()
    def round(self, parameters: Iterable[Tensor] | None = None) -> None:
        """Make the rounded copies equal to their parameters; for who writes to parameters.

        Args:
            parameters: those that have changed; None: all.
        """
        changed = self._rounded if parameters is None else parameters
        pairs = [(self._rounded[one], one) for one in changed if one in self._rounded]
        if pairs:
            torch._foreach_copy_([rounded for rounded, _ in pairs], [one for _, one in pairs])

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One optimizer step over all parameters that have gradients.

        Args:
            closure: evaluates the model again and returns the loss.

        Returns:
            The closure's loss, if there is one.

        Raises:
            ValueError: a gradient is sparse, not contiguous, or not of its parameter's dtype and
                shape; or a parameter has become one that would be refused in the first place, or
                another than its state was made for.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        device = self._device
        options = StepOptions(
            max_grad_norm=self.max_grad_norm,
            grad_scale=getattr(self, "grad_scale", None),
            found_inf=getattr(self, "found_inf", None),
        )
        with torch.no_grad():
            # All are checked before the first is changed.
            tensors = [
                self._step_tensors(parameter, grad, group, device)
                for parameter, group in self._in_order()
                if (grad := self.gradient(parameter)) is not None
            ]
            self.grad_norm = self.kernels.step(tensors, options)
        # The kernels write past autograd, which shall notice, as it does with torch's own.
        increment_version([own.weight for own in tensors])
        increment_version([own.rounded for own in tensors if own.rounded is not None])
        return loss

    def update_masks(self, sparsity: float, scope: Literal["global", "layer"] = "global") -> Tensor:
        """Prune the prunable weights of smallest magnitude: `round(sparsity · N)` of N, exactly.

        Halves go to even. Which weights these are, to the tie, is defined in
        `workers.kernels.interface.Kernels.update_masks`. Sparsity 0 prunes none and 1 all. Under
        `hard` a sparsity below the present one changes nothing.

        Args:
            sparsity: fraction in [0, 1].
            scope: global: all prunable parameters are ranked together; layer: each by itself.

        Returns:
            How many of these weights are NaN, 0-dimensional, on the weights' device. NaN cannot be
            ranked: when there is any, nothing has changed. On a GPU that is for the caller to look
                at, since looking waits for it.

        Raises:
            ValueError: sparsity or scope is unknown; nothing is prunable; on a CPU, a weight is
                NaN.
        """
        if not 0 <= sparsity <= 1:
            raise ValueError(
                f"sparsity: {sparsity} is outside [0, 1]; give the fraction of weights to prune"
            )
        if scope not in ("global", "layer"):
            raise ValueError(f"scope: {scope!r} is unknown; there are global and layer")
        prunable = self._prunable()
        if not prunable:
            raise ValueError(
                "update_masks: no parameter group is prunable; give one the option prunable=True"
            )
        ranked = [prunable] if scope == "global" else [[parameter] for parameter in prunable]
        return self.prune([(group, count_pruned(sparsity, _size(group))) for group in ranked])

    def prune(
        self,
        groups: Sequence[tuple[Sequence[Tensor], int]],
        scores: Mapping[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Prune an exact number of weights in each group: the smallest, or those of lowest score.

        Ties go by position: earlier parameters first, and inside one the lower row-major index.
        With scores all else is as with magnitudes, too: pruned weights rank below all others, and a
        number below the present one changes nothing. Scores are ranked without their last bit of
        24, and beyond ±1e38 they tie.

        Args:
            groups: prunable parameters that are ranked together, in the order that breaks ties, and
                how many of their weights are pruned afterwards. A parameter is in one group at
                most.
            scores: float32 of any sign for each of these parameters and of its shape, higher is
                kept; None: magnitude.

        Returns:
            How many scores of weights that are not pruned are NaN; see `update_masks`.

        Raises:
            ValueError: a parameter is not prunable or there twice, a number is not from 0 to all,
                scores do not fit or are given under dense_shadow; on a CPU, a score is NaN. Nothing
                has changed then.
        """
        parameters = [parameter for group, _ in groups for parameter in group]
        check_prunable(parameters, self._prunable())
        for group, num_pruned in groups:
            check_count(num_pruned, _size(group))
        if scores is not None:
            check_hard(self.semantics, "scores")
            for parameter in parameters:
                check_score(parameter, scores.get(parameter))

        with torch.no_grad():
            tensors = {parameter: self._mask_tensors(parameter) for parameter in parameters}
            if scores is None:
                num_nan = self.kernels.update_masks(_rank_groups(groups, tensors), self.semantics)
            else:
                num_nan = self._prune_by(scores, groups, tensors)
        increment_version(parameters)
        self.round(parameters)
        refuse_nan(num_nan, "weights" if scores is None else "scores")
        return num_nan

    def set_masks(self, masks: Mapping[Tensor, Tensor]) -> None:
        """Prune all weights that are not kept, and leave those pruned that are.

        Args:
            masks: bool of a prunable parameter's shape, True where it is kept.

        Raises:
            ValueError: a parameter is not prunable, a mask does not fit, or semantics are
                dense_shadow. Nothing has changed then.
        """
        check_hard(self.semantics, "masks")
        check_prunable(masks, self._prunable())
        for parameter, keep in masks.items():
            check_mask(parameter, keep)

        with torch.no_grad():
            for parameter, keep in masks.items():
                tensors = self._mask_tensors(parameter)
                kept = keep & unpack(tensors.mask, keep.shape)
                _zero(tensors, kept)
                tensors.mask.copy_(pack(kept))
        increment_version(list(masks))
        self.round(masks)

    def mask(self, parameter: Tensor) -> Tensor | None:
        """The mask of one parameter, a copy.

        Args:
            parameter: of any group.

        Returns:
            Bool of its shape and on its device, True where kept; None before its first mask update.
        """
        words = self.state.get(parameter, {}).get(MASK)
        return None if words is None else unpack(words, parameter.shape)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a copy of what `state_dict` gave, masks included.

        `prunable` and `max_grad_norm` stay this optimizer's own.

        Args:
            state_dict: of an optimizer with parameters of the same shapes in the same groups.

        Raises:
            ValueError: it is of other semantics, or a mask, a moment or a step does not fit its
                parameter; nothing has changed then.
        """
        saved = _state_of_parameters(self, state_dict)
        check_saved_semantics(state_dict, self.semantics)
        for parameter, is_prunable, state in saved:
            check_saved_state(parameter, is_prunable, state)

        # torch would turn masks into floats, and leave steps where they are.
        without_masks = {
            key: {name: value for name, value in state.items() if name != MASK}
            for key, state in state_dict["state"].items()
        }
        are_prunable = [group["prunable"] for group in self.param_groups]
        super().load_state_dict({**state_dict, "state": without_masks})

        for group, is_prunable in zip(self.param_groups, are_prunable, strict=True):
            group["prunable"] = is_prunable
        for parameter, _, state in saved:
            for name, value in state.items():
                dtype = torch.int32 if name == MASK else torch.float32
                # Contiguous whatever the value is, unlike a clone.
                copied = torch.empty(value.shape, dtype=dtype, device=parameter.device)
                self.state[parameter][name] = copied.copy_(value)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Copies and unpickled optimizers make kernels of their own."""
        super().__setstate__(state)
        self._kernels = None

    def __getstate__(self) -> dict[str, Any]:
        """All but the kernels, which hold addresses in this process."""
        own = {name: getattr(self, name) for name in KEPT_ATTRIBUTES}
        return {**super().__getstate__(), **own}

    @property
    def _device(self) -> torch.device:
        parameters = (parameter for group in self.param_groups for parameter in group["params"])
        return next((parameter.device for parameter in parameters), torch.device("cpu"))

    def _prunable(self) -> list[Tensor]:
        return [
            parameter
            for group in self.param_groups
            if group["prunable"]
            for parameter in group["params"]
        ]

    def _prune_by(
        self,
        scores: Mapping[Tensor, Tensor],
        groups: Sequence[tuple[Sequence[Tensor], int]],
        tensors: Mapping[Tensor, MaskTensors],
    ) -> Tensor:
        """Prune by scores in the place of magnitudes; see `prune`."""
        ranked = {
            parameter: scores_as_weights(scores[parameter], own.mask)
            for parameter, own in tensors.items()
        }
        num_nan = self.kernels.update_masks(_rank_groups(groups, ranked), "hard")
        # No rank is 0 but that of a pruned weight. Where there were NaN, none is pruned anew.
        for parameter, own in tensors.items():
            _zero(own, ranked[parameter].weight)
        return num_nan

    def _in_order(self) -> list[tuple[Tensor, dict[str, Any]]]:
        """All parameters, each with its group, in the order of the norm."""
        pairs = [(own, group) for group in self.param_groups for own in group["params"]]
        last = len(self._places)
        return sorted(pairs, key=lambda pair: self._places.get(pair[0], last))

    def _step_tensors(
        self, parameter: Tensor, grad: Tensor, group: dict[str, Any], device: torch.device
    ) -> StepTensors:
        state = self._state_of(parameter, device)
        rounded = self._rounded.get(parameter)
        if rounded is not None:
            check_rounded(parameter, rounded)
        check_gradient(parameter, grad, torch.float32 if rounded is None else rounded.dtype)
        return StepTensors(
            weight=parameter,
            grad=grad,
            exp_avg=state["exp_avg"],
            exp_avg_sq=state["exp_avg_sq"],
            step=state["step"],
            mask=state.get(MASK),
            lr=group["lr"],
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            rounded=rounded,
        )

    def _mask_tensors(self, parameter: Tensor) -> MaskTensors:
        state = self._state_of(parameter, self._device)
        if MASK not in state:
            state[MASK] = all_kept(parameter)
        return MaskTensors(
            weight=parameter,
            exp_avg=state["exp_avg"],
            exp_avg_sq=state["exp_avg_sq"],
            mask=state[MASK],
        )

    def _state_of(self, parameter: Tensor, device: torch.device) -> dict[str, Tensor]:
        """The parameter's state, made when there is none.

        Kernels are given addresses, so what lies there is checked every time.
        """
        check_parameter(parameter, device)
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            state["exp_avg"] = torch.zeros_like(parameter, memory_format=torch.contiguous_format)
            state["exp_avg_sq"] = torch.zeros_like(parameter, memory_format=torch.contiguous_format)
        else:
            check_unchanged(parameter, state["exp_avg"])
        return state


def _size(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors)


def _zero(tensors: MaskTensors, kept: Tensor) -> None:
    """Set weight and moments to +0 where `kept` is zero or False."""
    for *values, is_kept in pieces(tensors.weight, tensors.exp_avg, tensors.exp_avg_sq, kept):
        is_pruned = is_kept == 0
        for value in values:
            value.masked_fill_(is_pruned, 0.0)


def _rank_groups(
    groups: Sequence[tuple[Sequence[Tensor], int]], tensors: Mapping[Tensor, MaskTensors]
) -> list[RankGroup]:
    return [
        RankGroup(tuple(tensors[parameter] for parameter in group), num_pruned)
        for group, num_pruned in groups
    ]


def _state_of_parameters(
    optimizer: MaskedAdamW, state_dict: dict[str, Any]
) -> list[tuple[Tensor, bool, dict[str, Any]]]:
    """Each own parameter, whether it is prunable, and what was saved of it.

    Numbers of parameters that differ are torch's to refuse.
    """
    numbers = [number for group in state_dict["param_groups"] for number in group["params"]]
    own = [
        (parameter, group["prunable"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    ]
    return [
        (*pair, state_dict["state"].get(number, {}))
        for pair, number in zip(own, numbers, strict=False)
    ]
