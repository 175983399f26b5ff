"""Query, key and value as one product compute what three layers do, and round less."""

import copy
import gc
import weakref

import pytest
import torch
from torch import nn

from workers.model.projections import find_projections
from workers.model.rounded import read_rounded

SIZES = (32, 16, 16)
"""Of query, key and value: fewer keys than queries, as some models have."""


class Attention(nn.Module):
    def __init__(self, bias: bool = True):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(24, size, bias=bias) for size in SIZES)

    def forward(self, hidden):
        return torch.cat([self.key(hidden), self.query(hidden), self.value(hidden)], -1)


class Unusual(nn.Module):
    """A layer that is called twice, one that has another input, and one that nobody calls."""

    def __init__(self):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(24, 24) for _ in SIZES)

    def forward(self, hidden):
        return self.q_proj(hidden) * self.k_proj(hidden + 1) + self.q_proj(hidden)


def gradients(model, copies, hidden):
    """Of the loss, by the names of the weights, and of the input."""
    hidden = hidden.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=hidden.dtype is torch.float32):
        outputs = model(hidden)
    outputs.to(hidden.dtype).square().sum().backward()
    found = {name: copies.get(one, one).grad for name, one in model.named_parameters()}
    return found | {"input": hidden.grad}


def three_apart(model, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("workers.model.rounded.find_projections", lambda model: ())
        return read_rounded(model)


@pytest.mark.parametrize("bias", [True, False])
def test_gradients_are_as_near_to_exact_ones_as_those_of_three_layers(bias, monkeypatch):
    torch.manual_seed(0)
    model, hidden = Attention(bias).bfloat16().float(), torch.randn(9, 5, 24).bfloat16().float()
    exact = gradients(copy.deepcopy(model).double(), {}, hidden.double())
    apart, together = copy.deepcopy(model), copy.deepcopy(model)
    before = gradients(apart, three_apart(apart, monkeypatch), hidden)
    found = gradients(together, read_rounded(together), hidden)

    def error(grads, name):
        return float((grads[name].double() - exact[name]).norm() / exact[name].norm())

    assert set(found) == set(exact)
    assert all(error(found, name) <= error(before, name) + 1e-5 for name in exact)
    assert error(found, "input") < 0.9 * error(before, "input"), "it is rounded once"


def test_layers_that_are_called_in_an_unusual_way_are_right_too(monkeypatch):
    torch.manual_seed(0)
    apart, hidden = Unusual(), torch.randn(3, 24)
    together = copy.deepcopy(apart)
    wanted = gradients(apart, three_apart(apart, monkeypatch), hidden)
    found = gradients(together, read_rounded(together), hidden)
    for name in ("v_proj.weight", "v_proj.bias"):
        assert wanted.pop(name) is None
        assert found.pop(name).count_nonzero() == 0
    for name, grad in wanted.items():
        torch.testing.assert_close(found[name].float(), grad.float(), rtol=0.05, atol=0.05)


def test_what_is_written_into_a_copy_is_read():
    model, hidden = Attention(), torch.randn(3, 24)
    copies = read_rounded(model)
    assert all(copy.is_leaf and copy.is_contiguous() for copy in copies.values())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        before = model(hidden)
        copies[model.key.weight].zero_()
        copies[model.key.bias].fill_(2)
        found = model(hidden)
    assert (found[:, :16] == 2).all()
    assert torch.equal(found[:, 16:], before[:, 16:])


def test_nothing_of_a_forward_pass_is_kept():
    model, hidden = Attention(), torch.randn(3, 24)
    read_rounded(model)
    seen = weakref.ref(hidden)
    with torch.autocast("cpu", torch.bfloat16):
        model(hidden)
    del hidden
    gc.collect()
    assert seen() is None


def test_layers_that_differ_in_kind_are_left_alone():
    def names(model):
        of = {id(layer): name for name, layer in model.named_modules()}
        return [[of[id(layer)] for layer in layers] for layers in find_projections(model)]

    assert names(nn.Sequential(Attention(), Attention())) == [
        ["0.query", "0.key", "0.value"],
        ["1.query", "1.key", "1.value"],
    ]
    other_input, shared, half_biased, special = (Attention() for _ in range(4))
    other_input.value = nn.Linear(25, 16)
    shared.value.weight = shared.key.weight
    half_biased.key.bias = None
    special.query = nn.modules.linear.NonDynamicallyQuantizableLinear(24, 32)
    assert names(nn.Sequential(other_input, shared, half_biased, special)) == []
