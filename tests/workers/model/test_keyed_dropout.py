"""Dropout by keys: in place of torch's own, with the gradients that belong to it."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from workers.kernels.dropout import DropoutKey, drop_reference
from workers.model.keyed_dropout import KeyedDropout

KERNELS = ("reference", "numba")


def key(call: int, step: int = 4) -> DropoutKey:
    return DropoutKey(seed=11, step=step, call=call)


@pytest.fixture(params=KERNELS)
def dropout(request) -> KeyedDropout:
    keyed = KeyedDropout(11, request.param)
    keyed.begin(4)
    return keyed


def test_calls_of_a_step_drop_by_their_number_and_leave_the_generator_alone(dropout):
    given = torch.randn(6, 50)
    before = torch.get_rng_state()
    with dropout:
        found = [nn.Dropout(0.1)(given), functional.dropout(given, 0.4)]
    dropout.begin(5)
    with dropout:
        found.append(functional.dropout(given, p=0.4, training=True))
    assert torch.equal(torch.get_rng_state(), before)
    expected = [(0.1, key(0)), (0.4, key(1)), (0.4, key(0, step=5))]
    for one, how in zip(found, expected, strict=True):
        assert torch.equal(one, drop_reference(given, *how))


def test_gradients_come_where_nothing_is_dropped(dropout):
    given = torch.randn(6, 50, requires_grad=True)
    with dropout:
        functional.dropout(given, 0.5).sum().backward()
    assert torch.equal(given.grad, drop_reference(torch.ones(6, 50), 0.5, key(0)))


def test_in_evaluation_and_at_zero_nothing_is_dropped_and_no_number_used(dropout):
    given = torch.randn(6, 50)
    with dropout:
        assert functional.dropout(given, 0.5, training=False) is given
        assert functional.dropout(given, 0.0) is given
        changed = given.clone()
        assert functional.dropout(changed, 0.5, inplace=True) is changed
    assert torch.equal(changed, drop_reference(given, 0.5, key(0)))


def plain_attention(query, key_, value, mask, scale, p, number):
    """As torch documents it."""
    weights = query @ key_.transpose(-2, -1) * scale
    if mask is not None:
        weights = weights + mask
    weights = weights.softmax(-1)
    kept = drop_reference(torch.ones_like(weights), p, number)
    return weights * kept @ value


@pytest.mark.parametrize("masked", ["no", "added", "bool", "learnt"])
@pytest.mark.parametrize("scale", [None, 0.7])
def test_attention_is_that_of_torch_with_its_gradients(dropout, masked, scale):
    torch.manual_seed(0)
    ours = [torch.randn(2, 3, 7, 4, requires_grad=True) for _ in range(3)]
    theirs = [one.detach().clone().requires_grad_() for one in ours]
    is_seen = torch.rand(2, 1, 7, 7) < 0.7
    is_seen |= torch.eye(7, dtype=torch.bool)
    added = torch.zeros(2, 1, 7, 7).masked_fill(~is_seen, -torch.inf)
    if masked == "learnt":
        added = torch.randn(1, 3, 7, 7)
    mask = {"no": None, "added": added, "bool": is_seen, "learnt": added.clone()}[masked]
    plain = None if masked == "no" else added.clone()
    if masked == "learnt":
        mask.requires_grad_()
        plain.requires_grad_()

    with dropout:
        found = functional.scaled_dot_product_attention(
            *ours, attn_mask=mask, dropout_p=0.3, scale=scale
        )
    expected = plain_attention(*theirs, plain, scale or 0.5, 0.3, key(0))
    towards = torch.randn_like(expected)
    found.backward(towards)
    expected.backward(towards)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    pairs = [*zip(ours, theirs, strict=True), *([(mask, plain)] if masked == "learnt" else [])]
    for one, other in pairs:
        torch.testing.assert_close(one.grad, other.grad, atol=1e-6, rtol=1e-5)


def test_attention_in_bfloat16_computes_in_float32_and_rounds_at_its_end(dropout):
    torch.manual_seed(0)
    halves = [torch.randn(2, 3, 7, 4).bfloat16().requires_grad_() for _ in range(3)]
    fulls = [half.detach().float().requires_grad_() for half in halves]
    with dropout, torch.autocast("cpu", torch.bfloat16):
        found = functional.scaled_dot_product_attention(*halves, dropout_p=0.3)
        dropout.begin(4)
    with dropout:
        expected = functional.scaled_dot_product_attention(*fulls, dropout_p=0.3)
    assert torch.equal(found, expected.bfloat16())
    towards = torch.randn_like(expected).bfloat16()
    found.backward(towards)
    expected.backward(towards.float())
    for half, full in zip(halves, fulls, strict=True):
        assert torch.equal(half.grad, full.grad.bfloat16())


@pytest.mark.parametrize("options", [{"dropout_p": 0.0}, {"is_causal": True, "dropout_p": 0.0}])
def test_attention_that_drops_nothing_is_left_to_torch(dropout, options):
    query, other, value = torch.randn(3, 2, 3, 7, 4)
    expected = functional.scaled_dot_product_attention(query, other, value, **options)
    with dropout:
        found = functional.scaled_dot_product_attention(query, other, value, **options)
        after = functional.dropout(query, 0.5)
    assert torch.equal(found, expected)
    assert torch.equal(after, drop_reference(query, 0.5, key(0))), "it took no number"
