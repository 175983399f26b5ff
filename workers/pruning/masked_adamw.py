"""MaskedAdamW: AdamW whose pruned weights cost nothing extra and are zero.

The arithmetic, and what pruning does to weights and moments, is defined in
`workers.kernels.interface`; here is what makes it an optimizer: parameter groups, state, its saving
and loading, and the refusal of what cannot be right.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from workers.kernels import AUTO, make_kernels
from workers.kernels.interface import Kernels, MaskTensors, RankGroup, Semantics, StepTensors
from workers.kernels.packed import WORD_BITS, all_kept, num_words, pack, unpack

MASK = "mask"

LARGEST_SCORE = 1e38
"""Scores beyond it count as it; see `rankable`."""
PIECE = 2**15
"""Elements up to which torch uses one thread. Of 85 million scores, `rankable` takes 0.3 s so and
2.5 s in one piece a tensor, on two cores that others use, too."""


class MaskedAdamW(torch.optim.Optimizer):
    """AdamW with decoupled weight decay, gradual pruning and clipping, fused.

    One pass reads and writes weights and moments, masks them and decays them; with clipping,
    another reads gradients before, for their norm.

    Used like `torch.optim.AdamW`: parameter groups with their own options, lr schedulers,
    `torch.amp.GradScaler` (which sets `grad_scale` and `found_inf`), `state_dict`. A group's option
    `prunable` says whether its parameters may be pruned: by `update_masks` all at once, by `prune`
    in groups and by any score, by `set_masks` as the caller likes. Masks lie packed, one bit a
    weight, in the state beside the moments, under "mask". After every step and every mask update
    pruned weights are exactly +0, so forward and backward passes need no masks.

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
    ):
        if max_grad_norm is not None and not max_grad_norm > 0:
            raise ValueError(
                f"max_grad_norm: {max_grad_norm} is not above 0; give a norm, or None for no clipping"
            )
        if semantics not in ("hard", "dense_shadow"):
            raise ValueError(
                f"semantics: {semantics!r} is unknown; there are hard and dense_shadow"
            )
        self.max_grad_norm, self.semantics, self._kernels_name = max_grad_norm, semantics, kernels
        self.grad_norm: Tensor | None = None
        self._kernels: Kernels | None = None
        self._kernels_device: torch.device | None = None
        self._step_supports_amp_scaling = True  # GradScaler then leaves its scale to `step`
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults | {"prunable": prunable, "semantics": semantics})
        make_kernels(kernels, self._device)  # refuses now, not at the first step

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """See `torch.optim.Optimizer.add_param_group`.

        Raises:
            ValueError: an option is out of its range, or a parameter is of the wrong kind.
        """
        given = param_group["params"]
        if not isinstance(given, Tensor | set):  # a set has no order, which is torch's to tell
            param_group["params"] = given = list(given)
            if len({id(parameter) for parameter in given}) < len(given):
                raise ValueError(
                    f"a group of {len(given)} parameters has one of them twice; list tied weights once"
                )
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            _check_options(group, self.semantics)
            for parameter in group["params"]:
                _check_parameter(parameter, self._device)
        except ValueError:
            self.param_groups.pop()
            raise

    @property
    def kernels(self) -> Kernels:
        """Who computes, made anew when the parameters have moved to another device."""
        if self._kernels is None or self._kernels_device != self._device:
            self._kernels, self._kernels_device = (
                make_kernels(self._kernels_name, self._device),
                self._device,
            )
        return self._kernels

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
        used = [
            (p, group) for group in self.param_groups for p in group["params"] if p.grad is not None
        ]
        with torch.no_grad():
            self.grad_norm = self.kernels.step(
                [self._step_tensors(parameter, group) for parameter, group in used],
                semantics=self.semantics,
                max_grad_norm=self.max_grad_norm,
                grad_scale=getattr(self, "grad_scale", None),
                found_inf=getattr(self, "found_inf", None),
            )
        increment_version(
            [parameter for parameter, _ in used]
        )  # autograd shall notice, as with torch's own
        return loss

    def update_masks(self, sparsity: float, scope: Literal["global", "layer"] = "global") -> Tensor:
        """Prune the prunable weights of smallest magnitude, exactly `round(sparsity · N)` of N;
        halves go to even.

        Which weights these are, to the tie, is defined in
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
        ranked = [prunable] if scope == "global" else [[one] for one in prunable]
        return self.prune(
            [(group, count_pruned(sparsity, sum(one.numel() for one in group))) for group in ranked]
        )

    def prune(
        self,
        groups: Sequence[tuple[Sequence[Tensor], int]],
        scores: Mapping[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Prune the weights of smallest magnitude, or of lowest score, in each group: so many,
        exactly.

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
        self._check_prunable(parameters)
        for group, num_pruned in groups:
            _check_count(num_pruned, sum(one.numel() for one in group))
        if scores is not None:
            self._check_hard("scores")
            for parameter in parameters:
                _check_score(parameter, scores.get(parameter))
        with torch.no_grad():
            tensors = {parameter: self._mask_tensors(parameter) for parameter in parameters}
            if scores is None:
                num_nan = self.kernels.update_masks(_rank_groups(groups, tensors), self.semantics)
            else:
                num_nan = self._prune_by(scores, groups, tensors)
        increment_version(parameters)
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
        self._check_hard("masks")
        self._check_prunable(list(masks))
        for parameter, keep in masks.items():
            if (
                keep.dtype != torch.bool
                or keep.shape != parameter.shape
                or keep.device != parameter.device
            ):
                raise ValueError(
                    f"the mask of a parameter of shape {tuple(parameter.shape)} is {_kind(keep)}; give bool"
                )
        with torch.no_grad():
            for parameter, keep in masks.items():
                one = self._mask_tensors(parameter)
                kept = keep & unpack(one.mask, keep.shape)
                for *tensors, is_kept in pieces(one.weight, one.exp_avg, one.exp_avg_sq, kept):
                    is_pruned = ~is_kept
                    for tensor in tensors:
                        tensor.masked_fill_(is_pruned, 0.0)
                one.mask.copy_(pack(kept))
        increment_version(list(masks))

    def mask(self, parameter: Tensor) -> Tensor | None:
        """The mask of one parameter, bool and of its shape, True where kept; None before its first
        mask update."""
        words = self.state.get(parameter, {}).get(MASK)
        return None if words is None else unpack(words, parameter.shape)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a copy of what `state_dict` gave, masks included; `prunable` and
        `max_grad_norm` stay one's own.

        Raises:
            ValueError: it is of other semantics, or a mask, a moment or a step does not fit its
                parameter; nothing has changed then.
        """
        saved = _state_of_parameters(self, state_dict)
        _check_semantics(state_dict, self.semantics)
        for parameter, is_prunable, state in saved:
            _check_state(parameter, is_prunable, state)
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
                copied = torch.empty(
                    value.shape, dtype=dtype, device=parameter.device
                )  # contiguous, unlike `clone`
                self.state[parameter][name] = copied.copy_(value)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Copies and unpickled optimizers make kernels of their own."""
        super().__setstate__(state)
        self._kernels = None

    def __getstate__(self) -> dict[str, Any]:
        """All but the kernels, which hold addresses in this process; torch's own leaves out
        attributes like these."""
        mine = (
            "max_grad_norm",
            "semantics",
            "_kernels_name",
            "grad_norm",
            "_step_supports_amp_scaling",
        )
        return {**super().__getstate__(), **{name: getattr(self, name) for name in mine}}

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

    def _check_prunable(self, parameters: list[Tensor]) -> None:
        allowed = {id(parameter) for parameter in self._prunable()}
        for parameter in parameters:
            if id(parameter) not in allowed:
                raise ValueError(
                    f"a parameter of shape {tuple(parameter.shape)} is in no group with prunable=True, or given twice; "
                    "make its group prunable, and give it once"
                )
            allowed.remove(id(parameter))

    def _check_hard(self, what: str) -> None:
        if self.semantics != "hard":
            raise ValueError(
                f"{what}: given under semantics {self.semantics}, where pruned weights compete by their frozen "
                "magnitudes; prune by magnitude, or use hard"
            )

    def _prune_by(
        self,
        scores: Mapping[Tensor, Tensor],
        groups: Sequence[tuple[Sequence[Tensor], int]],
        tensors: Mapping[Tensor, MaskTensors],
    ) -> Tensor:
        """The kernels rank what stands in the weight's place, and under `hard` write nothing but
        zeros anywhere else.

        So the score takes that place, the weight that of the first moment, and the first moment
        that of the second. What is pruned then has a score of 0, which no other has, and that
        prunes the second moment.
        """
        ranked = {
            parameter: MaskTensors(
                weight=rankable(scores[parameter]),
                exp_avg=parameter,
                exp_avg_sq=one.exp_avg,
                mask=one.mask,
            )
            for parameter, one in tensors.items()
        }
        num_nan = self.kernels.update_masks(_rank_groups(groups, ranked), "hard")
        for parameter, one in tensors.items():
            for exp_avg_sq, key in pieces(one.exp_avg_sq, ranked[parameter].weight):
                exp_avg_sq.masked_fill_(key == 0, 0.0)
        return num_nan

    def _step_tensors(self, parameter: Tensor, group: dict[str, Any]) -> StepTensors:
        grad, state = parameter.grad, self._state_of(parameter)
        assert grad is not None
        _check_gradient(parameter, grad)
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
        )

    def _mask_tensors(self, parameter: Tensor) -> MaskTensors:
        state = self._state_of(parameter)
        if MASK not in state:
            state[MASK] = all_kept(parameter)
        return MaskTensors(
            weight=parameter,
            exp_avg=state["exp_avg"],
            exp_avg_sq=state["exp_avg_sq"],
            mask=state[MASK],
        )

    def _state_of(self, parameter: Tensor) -> dict[str, Tensor]:
        """Its state, made when there is none. Kernels are given addresses, so what lies there is
        checked every time."""
        _check_parameter(parameter, self._device)
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            state["exp_avg"] = torch.zeros_like(parameter, memory_format=torch.contiguous_format)
            state["exp_avg_sq"] = torch.zeros_like(parameter, memory_format=torch.contiguous_format)
        elif (
            state["exp_avg"].shape != parameter.shape or state["exp_avg"].device != parameter.device
        ):
            raise ValueError(
                f"a parameter of shape {tuple(parameter.shape)} on {parameter.device} had shape "
                f"{tuple(state['exp_avg'].shape)} on {state['exp_avg'].device} before; make a new optimizer for it"
            )
        return state


def count_pruned(sparsity: float, num_weights: int) -> int:
    """How many of `num_weights` are pruned at `sparsity`: the nearest integer, halves to even."""
    return round(sparsity * num_weights)


def rankable(scores: Tensor) -> Tensor:
    """New positive float32 in the order of the scores, whatever their sign; NaN stays NaN, and −0
    equals 0.

    The bits of positive floats sort as the floats do. Those of the scores are turned so that they
    sort as integers from 0 on, and the last one is dropped, for otherwise there would be one too
    many; ±1e38 then lie between 0 and infinity.
    """
    turned = torch.empty(scores.shape, dtype=torch.float32, device=scores.device)
    for new, old in pieces(turned, scores.contiguous()):
        torch.add(old, 0.0, out=new)
        new.clamp_(-LARGEST_SCORE, LARGEST_SCORE).masked_fill_(old.isnan(), math.nan)
        bits = new.view(torch.int32)
        is_negative = bits >> 31  # −1 or 0
        bits.bitwise_xor_(is_negative).bitwise_right_shift_(1).add_(
            is_negative.add_(1), alpha=1 << 30
        )
    return turned


def pieces(*tensors: Tensor, width: int = 1) -> Iterator[tuple[Tensor, ...]]:
    """Contiguous tensors of one shape in vectors that a CPU's cache holds through several
    operations.

    Their lengths are divisible by `width` if that of the tensors is.
    """
    size = PIECE // width * width if tensors[0].device.type == "cpu" else tensors[0].numel()
    return zip(*(tensor.view(-1).split(max(width, size)) for tensor in tensors), strict=True)


def refuse_nan(num_nan: Tensor, what: str) -> None:
    """On a CPU, where looking is free.

    Raises:
        ValueError: there are any.
    """
    if num_nan.device.type == "cpu" and num_nan > 0:
        ranked = {"weights": "magnitudes cannot be ranked"}.get(what, "they cannot be ranked")
        raise ValueError(f"{what}: {int(num_nan)} are NaN; {ranked}, and no mask was changed")


def _rank_groups(
    groups: Sequence[tuple[Sequence[Tensor], int]], tensors: Mapping[Tensor, MaskTensors]
) -> list[RankGroup]:
    return [
        RankGroup(tuple(tensors[one] for one in group), num_pruned) for group, num_pruned in groups
    ]


def _check_count(num_pruned: int, num_weights: int) -> None:
    if not 0 <= num_pruned <= num_weights:
        raise ValueError(
            f"groups: {num_pruned} of {num_weights} weights cannot be pruned; give a number from 0 to all"
        )


def _check_score(parameter: Tensor, score: Tensor | None) -> None:
    if score is None:
        raise ValueError(
            f"scores: a parameter of shape {tuple(parameter.shape)} has none; give all of them or no scores"
        )
    if (
        score.dtype != torch.float32
        or score.shape != parameter.shape
        or score.device != parameter.device
    ):
        raise ValueError(
            f"scores: that of a parameter of shape {tuple(parameter.shape)} on {parameter.device} is {_kind(score)}; "
            "give float32 of the same shape on the same device"
        )


def _kind(tensor: Tensor) -> str:
    return f"{tensor.dtype} of shape {tuple(tensor.shape)} on {tensor.device}"


def _check_options(group: dict[str, Any], semantics: Semantics) -> None:
    lr, eps, weight_decay = group["lr"], group["eps"], group["weight_decay"]
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError(
            f"lr: a tensor of {lr.numel()} elements; give a float or a tensor of 1 element"
        )
    if not isinstance(lr, Tensor) and not lr >= 0:
        raise ValueError(f"lr: {lr} is below 0; give a learning rate")
    if not all(0 <= beta < 1 for beta in group["betas"]):
        raise ValueError(f"betas: {group['betas']} are not both in [0, 1)")
    if not eps > 0:
        raise ValueError(
            f"eps: {eps} is not above 0; a weight whose moments are 0 would become 0 / 0"
        )
    if not weight_decay >= 0:
        raise ValueError(f"weight_decay: {weight_decay} is below 0; give a decay")
    if group["semantics"] != semantics:
        raise ValueError(
            f"semantics: {group['semantics']} in one group and {semantics} in the optimizer; give it once"
        )


def _check_parameter(parameter: Tensor, device: torch.device) -> None:
    what = f"a parameter of shape {tuple(parameter.shape)}"
    if parameter.layout != torch.strided:
        raise ValueError(f"{what} is {parameter.layout}; MaskedAdamW needs dense parameters")
    if parameter.dtype != torch.float32:
        raise ValueError(
            f"{what} is {parameter.dtype}; MaskedAdamW needs float32, also under autocast (which casts as it computes)"
        )
    if not parameter.is_contiguous():
        raise ValueError(
            f"{what} has strides {parameter.stride()}; make it contiguous before the optimizer is made"
        )
    if parameter.device != device:
        raise ValueError(
            f"{what} is on {parameter.device}, others are on {device}; use one optimizer a device"
        )


def _check_gradient(parameter: Tensor, grad: Tensor) -> None:
    what = f"the gradient of a parameter of shape {tuple(parameter.shape)}"
    if grad.layout != torch.strided:
        raise ValueError(
            f"{what} is {grad.layout}; use dense gradients (nn.Embedding with sparse=False)"
        )
    if grad.dtype != torch.float32:
        raise ValueError(f"{what} is {grad.dtype}; MaskedAdamW needs float32")
    if grad.shape != parameter.shape:
        raise ValueError(f"{what} has shape {tuple(grad.shape)}; compute it anew")
    if not grad.is_contiguous():
        raise ValueError(f"{what} has strides {grad.stride()}; make it contiguous")


def _state_of_parameters(
    optimizer: MaskedAdamW, state_dict: dict[str, Any]
) -> list[tuple[Tensor, bool, dict[str, Any]]]:
    """Each own parameter, whether it is prunable, and what was saved of it; numbers that differ are
    torch's to tell."""
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


def _check_semantics(state_dict: dict[str, Any], semantics: Semantics) -> None:
    for group in state_dict["param_groups"]:
        if group.get("semantics") != semantics:
            raise ValueError(
                f"state_dict: its semantics are {group.get('semantics')}, this optimizer's are {semantics}; "
                "load a state that MaskedAdamW saved under the same semantics"
            )


def _check_state(parameter: Tensor, is_prunable: bool, state: dict[str, Any]) -> None:
    if not state:
        return
    what = f"state_dict: for a parameter of shape {tuple(parameter.shape)}"
    for moment in ("exp_avg", "exp_avg_sq"):
        if moment not in state or state[moment].shape != parameter.shape:
            found = tuple(state[moment].shape) if moment in state else None
            raise ValueError(f"{what} {moment} has shape {found}; load the state of the same model")
    step = state.get("step")
    if (
        not isinstance(step, Tensor)
        or step.numel() != 1
        or not (0 <= float(step) < math.inf and float(step) % 1 == 0)
    ):
        raise ValueError(
            f"{what} step is {step}; it must be a whole number from 0 in a tensor of 1 element"
        )
    mask = state.get(MASK)
    if mask is None:
        return
    if not is_prunable:
        raise ValueError(
            f"{what} there is a mask, but its group is not prunable; load the state of the same model"
        )
    expected = (num_words(parameter.numel()),)
    if mask.dtype != torch.int32 or tuple(mask.shape) != expected:
        raise ValueError(
            f"{what} mask is {mask.dtype} of shape {tuple(mask.shape)}; expected int32 of shape {expected}"
        )
    rest = parameter.numel() % WORD_BITS
    if rest and int(mask[-1]) & -(1 << rest):
        raise ValueError(
            f"{what} mask has bits beyond its {parameter.numel()} weights; it is damaged"
        )
