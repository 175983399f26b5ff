"""MaskedAdamW: AdamW whose pruned weights cost nothing extra and are zero.

The arithmetic, and what pruning does to weights and moments, is defined in `workers.kernels.interface`; here is what
makes it an optimizer: parameter groups, state, its saving and loading, and the refusal of what cannot be right.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from workers.kernels import AUTO, make_kernels
from workers.kernels.interface import Kernels, MaskTensors, RankGroup, Semantics, StepTensors
from workers.kernels.packed import WORD_BITS, all_kept, num_words, unpack

MASK = "mask"


class MaskedAdamW(torch.optim.Optimizer):
    """AdamW with decoupled weight decay, gradual magnitude pruning and clipping, fused.

    One pass reads and writes weights and moments, masks them and decays them; with clipping, another reads gradients
    before, for their norm.

    Used like `torch.optim.AdamW`: parameter groups with their own options, lr schedulers, `torch.amp.GradScaler` (which
    sets `grad_scale` and `found_inf`), `state_dict`. A group's option `prunable` says whether `update_masks` may prune
    its parameters. Masks lie packed, one bit a weight, in the state beside the moments, under "mask". After every step
    and every mask update pruned weights are exactly +0, so forward and backward passes need no masks.

    Pruned weights differ by `semantics`:

    - hard: a pruned weight is gone. Weight and both moments are 0; it never comes back.
    - dense_shadow: its value from just before it was pruned is kept, frozen, and competes at every mask update with the
      magnitudes of the others; if it wins, the weight comes back with that value, with the second moment that it had
      and with a first moment of 0. The frozen value takes the place in "exp_avg" that a pruned weight has no use for,
      so it costs no memory. Source: Zhu & Gupta (2017), section 3, where weights keep their values under a mask and
      gradients stop at it; their momentum goes on to move masked weights for a while, which this one does not do.

    Gradients are clipped inside the step, because the norm is that of the kept weights (dense gradients of pruned
    weights would inflate it) and because scaling them in place would be another pass. (To torch's GradScaler an
    infinite gradient is one whether its weight is pruned or not; it then skips the step.)

    On a GPU neither `step` nor `update_masks` waits for the device, and both give the same bits on every rank of a
    DistributedDataParallel model, whose gradients are equal on all ranks.

    Args:
        params: parameters or groups; all float32, contiguous, dense, on one device.
        lr: learning rate; a float, or a tensor of 1 element (which a captured CUDA graph reads anew at each replay).
        betas: decay of the two moments, each in [0, 1).
        eps: added to the square root of the second moment, above 0.
        weight_decay: decoupled (Loshchilov & Hutter 2019), at least 0.
        prunable: default of the groups' option.
        max_grad_norm: gradients are scaled down to this 2-norm, over all groups together; None: never.
        semantics: hard or dense_shadow.
        kernels: auto, reference, triton or numba: who computes; see `workers.kernels.make_kernels`.

    Attributes:
        grad_norm: norm of the last step's gradients before clipping, 0-dimensional; None without clipping.

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
            raise ValueError(f"max_grad_norm: {max_grad_norm} is not above 0; give a norm, or None for no clipping")
        if semantics not in ("hard", "dense_shadow"):
            raise ValueError(f"semantics: {semantics!r} is unknown; there are hard and dense_shadow")
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
                raise ValueError(f"a group of {len(given)} parameters has one of them twice; list tied weights once")
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
            self._kernels, self._kernels_device = make_kernels(self._kernels_name, self._device), self._device
        return self._kernels

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One optimizer step over all parameters that have gradients.

        Args:
            closure: evaluates the model again and returns the loss.

        Returns:
            The closure's loss, if there is one.

        Raises:
            ValueError: a gradient is sparse, not contiguous, or not of its parameter's dtype and shape; or a parameter
                has become one that would be refused in the first place, or another than its state was made for.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        used = [(p, group) for group in self.param_groups for p in group["params"] if p.grad is not None]
        with torch.no_grad():
            self.grad_norm = self.kernels.step(
                [self._step_tensors(parameter, group) for parameter, group in used],
                semantics=self.semantics,
                max_grad_norm=self.max_grad_norm,
                grad_scale=getattr(self, "grad_scale", None),
                found_inf=getattr(self, "found_inf", None),
            )
        increment_version([parameter for parameter, _ in used])  # autograd shall notice, as with torch's own
        return loss

    def update_masks(self, sparsity: float, scope: Literal["global", "layer"] = "global") -> Tensor:
        """Prune the prunable weights of smallest magnitude, exactly `round(sparsity · N)` of N; halves go to even.

        Which weights these are, to the tie, is defined in `workers.kernels.interface.Kernels.update_masks`. Sparsity 0
        prunes none and 1 all. Under `hard` a sparsity below the present one changes nothing.

        Args:
            sparsity: fraction in [0, 1].
            scope: global: all prunable parameters are ranked together; layer: each by itself.

        Returns:
            How many prunable weights are NaN, 0-dimensional, on the weights' device. NaN cannot be ranked: when there
            is any, nothing has changed. On a GPU that is for the caller to look at, since looking waits for it.

        Raises:
            ValueError: sparsity or scope is unknown; nothing is prunable; on a CPU, a weight is NaN.
        """
        if not 0 <= sparsity <= 1:
            raise ValueError(f"sparsity: {sparsity} is outside [0, 1]; give the fraction of weights to prune")
        if scope not in ("global", "layer"):
            raise ValueError(f"scope: {scope!r} is unknown; there are global and layer")
        prunable = [p for group in self.param_groups if group["prunable"] for p in group["params"]]
        if not prunable:
            raise ValueError("update_masks: no parameter group is prunable; give one the option prunable=True")
        with torch.no_grad():
            tensors = [self._mask_tensors(parameter) for parameter in prunable]
            ranked = [tensors] if scope == "global" else [[one] for one in tensors]
            num_nan = self.kernels.update_masks([_rank_group(group, sparsity) for group in ranked], self.semantics)
        increment_version(prunable)
        if num_nan.device.type == "cpu" and num_nan > 0:
            raise ValueError(f"weights: {int(num_nan)} are NaN; magnitudes cannot be ranked, and no mask was changed")
        return num_nan

    def mask(self, parameter: Tensor) -> Tensor | None:
        """The mask of one parameter, bool and of its shape, True where kept; None before its first mask update."""
        words = self.state.get(parameter, {}).get(MASK)
        return None if words is None else unpack(words, parameter.shape)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a copy of what `state_dict` gave, masks included; `prunable` and `max_grad_norm` stay one's own.

        Raises:
            ValueError: it is of other semantics, or a mask, a moment or a step does not fit its parameter; nothing has
                changed then.
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
                copied = torch.empty(value.shape, dtype=dtype, device=parameter.device)  # contiguous, unlike `clone`
                self.state[parameter][name] = copied.copy_(value)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Copies and unpickled optimizers make kernels of their own."""
        super().__setstate__(state)
        self._kernels = None

    def __getstate__(self) -> dict[str, Any]:
        """All but the kernels, which hold addresses in this process; torch's own leaves out attributes like these."""
        mine = ("max_grad_norm", "semantics", "_kernels_name", "grad_norm", "_step_supports_amp_scaling")
        return {**super().__getstate__(), **{name: getattr(self, name) for name in mine}}

    @property
    def _device(self) -> torch.device:
        parameters = (parameter for group in self.param_groups for parameter in group["params"])
        return next((parameter.device for parameter in parameters), torch.device("cpu"))

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
        return MaskTensors(weight=parameter, exp_avg=state["exp_avg"], exp_avg_sq=state["exp_avg_sq"], mask=state[MASK])

    def _state_of(self, parameter: Tensor) -> dict[str, Tensor]:
        """Its state, made when there is none. Kernels are given addresses, so what lies there is checked every time."""
        _check_parameter(parameter, self._device)
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            state["exp_avg"] = torch.zeros_like(parameter, memory_format=torch.contiguous_format)
            state["exp_avg_sq"] = torch.zeros_like(parameter, memory_format=torch.contiguous_format)
        elif state["exp_avg"].shape != parameter.shape or state["exp_avg"].device != parameter.device:
            raise ValueError(
                f"a parameter of shape {tuple(parameter.shape)} on {parameter.device} had shape "
                f"{tuple(state['exp_avg'].shape)} on {state['exp_avg'].device} before; make a new optimizer for it"
            )
        return state


def count_pruned(sparsity: float, num_weights: int) -> int:
    """How many of `num_weights` are pruned at `sparsity`: the nearest integer, halves to even."""
    return round(sparsity * num_weights)


def _rank_group(tensors: list[MaskTensors], sparsity: float) -> RankGroup:
    return RankGroup(tuple(tensors), count_pruned(sparsity, sum(one.weight.numel() for one in tensors)))


def _check_options(group: dict[str, Any], semantics: Semantics) -> None:
    lr, eps, weight_decay = group["lr"], group["eps"], group["weight_decay"]
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError(f"lr: a tensor of {lr.numel()} elements; give a float or a tensor of 1 element")
    if not isinstance(lr, Tensor) and not lr >= 0:
        raise ValueError(f"lr: {lr} is below 0; give a learning rate")
    if not all(0 <= beta < 1 for beta in group["betas"]):
        raise ValueError(f"betas: {group['betas']} are not both in [0, 1)")
    if not eps > 0:
        raise ValueError(f"eps: {eps} is not above 0; a weight whose moments are 0 would become 0 / 0")
    if not weight_decay >= 0:
        raise ValueError(f"weight_decay: {weight_decay} is below 0; give a decay")
    if group["semantics"] != semantics:
        raise ValueError(f"semantics: {group['semantics']} in one group and {semantics} in the optimizer; give it once")


def _check_parameter(parameter: Tensor, device: torch.device) -> None:
    what = f"a parameter of shape {tuple(parameter.shape)}"
    if parameter.layout != torch.strided:
        raise ValueError(f"{what} is {parameter.layout}; MaskedAdamW needs dense parameters")
    if parameter.dtype != torch.float32:
        raise ValueError(
            f"{what} is {parameter.dtype}; MaskedAdamW needs float32, also under autocast (which casts as it computes)"
        )
    if not parameter.is_contiguous():
        raise ValueError(f"{what} has strides {parameter.stride()}; make it contiguous before the optimizer is made")
    if parameter.device != device:
        raise ValueError(f"{what} is on {parameter.device}, others are on {device}; use one optimizer a device")


def _check_gradient(parameter: Tensor, grad: Tensor) -> None:
    what = f"the gradient of a parameter of shape {tuple(parameter.shape)}"
    if grad.layout != torch.strided:
        raise ValueError(f"{what} is {grad.layout}; use dense gradients (nn.Embedding with sparse=False)")
    if grad.dtype != torch.float32:
        raise ValueError(f"{what} is {grad.dtype}; MaskedAdamW needs float32")
    if grad.shape != parameter.shape:
        raise ValueError(f"{what} has shape {tuple(grad.shape)}; compute it anew")
    if not grad.is_contiguous():
        raise ValueError(f"{what} has strides {grad.stride()}; make it contiguous")


def _state_of_parameters(
    optimizer: MaskedAdamW, state_dict: dict[str, Any]
) -> list[tuple[Tensor, bool, dict[str, Any]]]:
    """Each own parameter, whether it is prunable, and what was saved of it; numbers that differ are torch's to tell."""
    numbers = [number for group in state_dict["param_groups"] for number in group["params"]]
    own = [(parameter, group["prunable"]) for group in optimizer.param_groups for parameter in group["params"]]
    return [(*pair, state_dict["state"].get(number, {})) for pair, number in zip(own, numbers, strict=False)]


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
    if not isinstance(step, Tensor) or step.numel() != 1 or not (0 <= float(step) < math.inf and float(step) % 1 == 0):
        raise ValueError(f"{what} step is {step}; it must be a whole number from 0 in a tensor of 1 element")
    mask = state.get(MASK)
    if mask is None:
        return
    if not is_prunable:
        raise ValueError(f"{what} there is a mask, but its group is not prunable; load the state of the same model")
    expected = (num_words(parameter.numel()),)
    if mask.dtype != torch.int32 or tuple(mask.shape) != expected:
        raise ValueError(
            f"{what} mask is {mask.dtype} of shape {tuple(mask.shape)}; expected int32 of shape {expected}"
        )
    rest = parameter.numel() % WORD_BITS
    if rest and int(mask[-1]) & -(1 << rest):
        raise ValueError(f"{what} mask has bits beyond its {parameter.numel()} weights; it is damaged")
