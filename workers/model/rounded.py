"""Copies in bfloat16 of what linear layers multiply by, which their forward passes read.

Under autocast each forward pass casts every weight to bfloat16, and each backward pass casts its
gradient back: two fifths of all that a training step of BERT launches on a GPU. Here a copy lies
beside each weight. The optimizer's step writes it with the weight, and takes the gradient as the
backward pass left it. Numbers are those of autocast, to the bit, where a step has one backward
pass: gradients of several are added up in float32 by autocast, and here would be in bfloat16. Only
query, key and value of an attention layer differ, which are one product (`projections`).
"""

from functools import partial

import torch
from torch import Tensor, nn

from workers.model.projections import Projections, find_projections

Copies = dict[Tensor, Tensor]
"""The copy of each weight or bias: a leaf in bfloat16, to which gradients come."""


def read_rounded(model: nn.Module) -> Copies:
    """Let the linear layers of a model read copies of their weights and biases, under autocast.

    Those stay with autocast that something else than a linear layer has, too: an embedding reads
    them in float32.

    Args:
        model: on its device, float32; changed in place, but for its parameters.

    Returns:
        The copies, equal to what they are copies of.
    """
    linears = [module for module in model.modules() if type(module) is nn.Linear]
    others = [module for module in model.modules() if type(module) is not nn.Linear]
    read_elsewhere = {id(value) for module in others for value in module._parameters.values()}
    copies: Copies = {}
    for linear in linears:
        own = [value for value in (linear.weight, linear.bias) if value is not None]
        if any(id(value) in read_elsewhere for value in own):
            continue
        for value in own:
            if value not in copies:
                copies[value] = _copy(value)
        bias = None if linear.bias is None else copies[linear.bias]
        forward = partial(nn.functional.linear, weight=copies[linear.weight], bias=bias)
        linear.forward = forward  # type: ignore[method-assign]
    for layers in find_projections(model):
        weights = [copies[layer.weight] for layer in layers if layer.weight in copies]
        biases = [copies[layer.bias] for layer in layers if layer.bias in copies]
        if len(weights) == len(layers):
            together = Projections(weights, biases)
            for place, layer in enumerate(layers):
                layer.forward = partial(together, place=place)  # type: ignore[method-assign]
    return copies


def _copy(value: Tensor) -> Tensor:
    rounded = value.detach().to(torch.bfloat16, memory_format=torch.contiguous_format)
    return rounded.requires_grad_(value.requires_grad)
