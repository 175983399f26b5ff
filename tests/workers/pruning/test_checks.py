"""What MaskedAdamW refuses: before anything has changed, with the value and what to do."""

import copy
import math

import pytest
import torch
from torch import nn

from tests.workers.pruning.optimizers import (
    BOTH,
    all_equal,
    give_gradients,
    masked,
    parameters,
)
from workers.pruning.masked_adamw import MaskedAdamW


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (
            lambda ours: ([(ours[:1], 1321)], None),
            "groups: 1321 of 1320 weights cannot be pruned; give a number from 0",
        ),
        (lambda ours: ([(ours[:1], -1)], None), "groups: -1 of 1320 weights"),
        (
            lambda ours: ([(ours[1:2], 1)], None),
            r"shape \(7,\) is in no group with prunable=True, or given twice",
        ),
        (
            lambda ours: ([(ours[:1], 1), (ours[:1], 1)], None),
            r"shape \(40, 33\) is in no group .* give it once",
        ),
        (
            lambda ours: ([(ours[:1], 1)], {}),
            r"scores: a parameter of shape \(40, 33\) has none; give all of them",
        ),
        (
            lambda ours: ([(ours[:1], 1)], {ours[0]: torch.ones(33, 40)}),
            r"scores: that of .* \(40, 33\) on cpu is torch.float32 of shape \(33, 40\) on cpu; "
            "give float32",
        ),
        (
            lambda ours: ([(ours[:1], 1)], {ours[0]: torch.ones(40, 33).double()}),
            "is torch.float64 of shape",
        ),
    ],
)
def test_groups_and_scores_that_do_not_fit_are_refused(make, match):
    ours = parameters()
    optimizer = masked(ours)
    with pytest.raises(ValueError, match=match):
        optimizer.prune(*make(ours))
    assert all_equal(ours, parameters())


def test_masks_that_do_not_fit_are_refused():
    ours = parameters()
    optimizer = masked(ours)
    with pytest.raises(
        ValueError,
        match=r"of shape \(40, 33\) is torch.float32 of shape \(40, 33\) on cpu; give bool",
    ):
        optimizer.set_masks({ours[0]: torch.ones(40, 33)})
    with pytest.raises(ValueError, match=r"is torch.bool of shape \(33,\) on cpu; give bool"):
        optimizer.set_masks({ours[0]: torch.ones(33, dtype=torch.bool)})
    with pytest.raises(ValueError, match=r"shape \(7,\) is in no group with prunable=True"):
        optimizer.set_masks({ours[1]: torch.ones(7, dtype=torch.bool)})


def test_frozen_weights_have_magnitudes_only():
    ours = parameters()
    optimizer = masked(ours, semantics="dense_shadow")
    with pytest.raises(
        ValueError,
        match="scores: given under semantics dense_shadow, .*prune by magnitude, or use hard",
    ):
        optimizer.prune([(ours[:1], 1)], {ours[0]: torch.ones(40, 33)})
    with pytest.raises(ValueError, match="masks: given under semantics dense_shadow"):
        optimizer.set_masks({ours[0]: torch.ones(40, 33, dtype=torch.bool)})


def test_wrong_parameters_are_refused():
    def refused(parameter: torch.Tensor, match: str) -> None:
        with pytest.raises(ValueError, match=match):
            MaskedAdamW([parameter])

    refused(
        nn.Parameter(torch.ones(4, 6).t()),
        r"of shape \(6, 4\) has strides \(1, 6\); make it contiguous",
    )
    refused(
        nn.Parameter(torch.ones(3, dtype=torch.bfloat16)),
        r"is torch.bfloat16; MaskedAdamW needs float32, .*: call model.float\(\) before",
    )
    refused(
        nn.Parameter(torch.ones(3, dtype=torch.float64)),
        r"is torch.float64; MaskedAdamW needs float32",
    )
    refused(
        nn.Parameter(torch.ones(3, dtype=torch.complex64)),
        r"is torch.complex64; MaskedAdamW needs float32",
    )
    refused(
        torch.ones(3, 3).to_sparse().requires_grad_(),
        r"is torch.sparse_coo; MaskedAdamW needs dense parameters, call to_dense\(\)",
    )


def test_parameters_on_two_devices_are_refused():
    with pytest.raises(
        ValueError, match="is on meta, others are on cpu; use one optimizer a device"
    ):
        MaskedAdamW([nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3, device="meta"))])


def test_a_wrong_parameter_added_later_leaves_the_optimizer_as_it_was():
    optimizer = MaskedAdamW(parameters())
    with pytest.raises(ValueError, match="is torch.float64"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(3, dtype=torch.float64))]})
    assert len(optimizer.param_groups) == 1


@BOTH
def test_wrong_gradients_are_refused_before_anything_changes(kernels):
    ours = parameters()
    optimizer = masked(ours, kernels=kernels)
    give_gradients(0, ours)
    ours[-1].grad = torch.ones(9, 64).t()
    before = [p.detach().clone() for p in ours]
    with pytest.raises(
        ValueError, match=r"the gradient of a parameter of shape \(64, 9\) has strides \(1, 64\)"
    ):
        optimizer.step()
    assert all_equal(ours, before)


def test_gradient_of_another_shape_is_refused():
    weight = nn.Parameter(torch.ones(4))
    weight.grad = torch.ones(4)
    weight.data = torch.ones(4_000_000)
    with pytest.raises(
        ValueError, match=r"a parameter of shape \(4000000,\) has shape \(4,\); compute it anew"
    ):
        MaskedAdamW([weight]).step()


def test_rounded_copies_that_do_not_fit_are_refused():
    weight = nn.Parameter(torch.ones(4, 3))

    def step_with(rounded: torch.Tensor, grad: torch.Tensor) -> None:
        rounded.grad = grad
        MaskedAdamW([weight], rounded={weight: rounded}).step()

    half = torch.bfloat16
    with pytest.raises(ValueError, match=r"on cpu is torch.float32 .* give bfloat16 of the same"):
        step_with(torch.ones(4, 3), torch.ones(4, 3))
    with pytest.raises(ValueError, match=r"shape \(3, 4\) on cpu; give bfloat16"):
        step_with(torch.ones(3, 4, dtype=half), torch.ones(3, 4, dtype=half))
    with pytest.raises(ValueError, match=r"copy of .* has strides \(1, 4\)"):
        step_with(torch.ones(3, 4, dtype=half).t(), torch.ones(4, 3, dtype=half))
    weight.grad = torch.ones(4, 3)
    with pytest.raises(ValueError, match="give no copies of parameters that are read themselves"):
        step_with(torch.ones(4, 3, dtype=half), torch.ones(4, 3, dtype=half))
    assert torch.equal(weight, torch.ones(4, 3))


def test_sparse_gradients_are_refused():
    table = nn.Embedding(5, 3, sparse=True)
    optimizer = MaskedAdamW(table.parameters())
    table(torch.tensor([1, 2])).sum().backward()
    with pytest.raises(ValueError, match="is torch.sparse_coo; use dense gradients"):
        optimizer.step()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"lr": -1.0}, "lr: -1.0 is below 0; give a learning rate from 0 on"),
        ({"lr": math.nan}, "lr: nan is below 0"),
        ({"lr": torch.ones(2)}, "lr: a tensor of 2 elements"),
        ({"betas": (0.9, 1.0)}, r"betas: \(0.9, 1.0\) are not both in \[0, 1\); give two"),
        ({"eps": 0.0}, "eps: 0.0 is not above 0, .*; give a small number"),
        ({"weight_decay": -0.1}, "weight_decay: -0.1 is below 0; give 0 for no decay"),
        ({"max_grad_norm": 0.0}, "max_grad_norm: 0.0 is not above 0"),
        ({"semantics": "soft"}, "semantics: 'soft' is unknown; there are hard and dense_shadow"),
        (
            {"kernels": "cuda"},
            "kernels: 'cuda' is unknown; there are auto, reference, triton, numba",
        ),
    ],
)
def test_options_out_of_range_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        MaskedAdamW(parameters(), **options)


@pytest.mark.parametrize("sparsity", [-0.1, 1.1, math.nan])
def test_sparsity_out_of_range_is_refused(sparsity):
    with pytest.raises(ValueError, match=rf"sparsity: {sparsity} is outside \[0, 1\]"):
        masked(parameters()).update_masks(sparsity)


def test_unknown_scope_and_nothing_to_prune_are_refused():
    with pytest.raises(ValueError, match="scope: 'row' is unknown; there are global and layer"):
        masked(parameters()).update_masks(0.5, "row")
    with pytest.raises(
        ValueError, match="no parameter group is prunable; give one the option prunable=True"
    ):
        MaskedAdamW(parameters()).update_masks(0.5)


def broken_states(good: dict) -> dict[str, dict]:
    """States that must not be loaded, by the message that says why."""
    broken = {}

    def change(match: str, edit) -> None:
        state = copy.deepcopy(good)
        edit(state)
        broken[match] = state

    change(
        r"mask is torch.int32 of shape \(41,\); expected int32 of shape \(42,\), load the state",
        lambda s: cut(s["state"][0], "mask"),
    )
    change(
        r"mask is torch.float32", lambda s: s["state"][0].update(mask=s["state"][0]["mask"].float())
    )
    change(r"exp_avg_sq has shape \(39, 33\)", lambda s: cut(s["state"][0], "exp_avg_sq"))
    change(r"exp_avg has shape None", lambda s: s["state"][0].pop("exp_avg"))
    change(
        r"step is -1.0; it must be a whole number",
        lambda s: s["state"][0].update(step=torch.tensor(-1.0)),
    )
    change(r"step is 1.5", lambda s: s["state"][0].update(step=torch.tensor(1.5)))
    change(r"step is inf", lambda s: s["state"][0].update(step=torch.tensor(math.inf)))
    change(
        r"mask has bits beyond its 1320 weights; .*load another",
        lambda s: s["state"][0]["mask"][-1:].fill_(-1),
    )
    change(r"step is None", lambda s: s["state"][0].pop("step"))
    change(
        r"its group is not prunable; load the state",
        lambda s: s["state"][1].update(mask=torch.zeros(1, dtype=torch.int32)),
    )
    change(
        r"its semantics are dense_shadow, this optimizer's are hard",
        lambda s: s["param_groups"][0].update(semantics="dense_shadow"),
    )
    change(
        r"its semantics are None", lambda s: [group.pop("semantics") for group in s["param_groups"]]
    )
    return broken


def cut(state: dict, name: str) -> None:
    state[name] = state[name][:-1]


def test_states_that_do_not_fit_are_refused_and_change_nothing(trained):
    before = copy.deepcopy(trained.state_dict())
    for match, state in broken_states(before).items():
        with pytest.raises(ValueError, match=match):
            trained.load_state_dict(state)
        for number, values in trained.state_dict()["state"].items():
            assert all(
                torch.equal(value, before["state"][number][name]) for name, value in values.items()
            ), match


def test_state_of_a_model_with_other_parameters_is_refused(trained):
    with pytest.raises(ValueError, match="parameter group"):
        MaskedAdamW(parameters(), prunable=True).load_state_dict(trained.state_dict())


@BOTH
def test_parameters_that_have_changed_since_are_refused(kernels):
    def refused(match: str, change) -> None:
        ours = parameters()
        optimizer = masked(ours, kernels=kernels)
        give_gradients(0, ours)
        optimizer.step()
        change(ours[0])
        ours[0].grad = torch.ones_like(ours[0])
        for act in (optimizer.step, lambda: optimizer.update_masks(0.5)):
            with pytest.raises(ValueError, match=match):
                act()

    def set_data(make):
        return lambda parameter: setattr(parameter, "data", make(parameter.data))

    refused(
        r"of shape \(80, 33\) on cpu had shape \(40, 33\) on cpu before",
        set_data(lambda data: data.repeat(2, 1)),
    )
    refused(r"has strides \(1, 40\)", set_data(lambda data: data.t().contiguous().t()))
    refused(r"is torch.float64", set_data(lambda data: data.double()))


def test_duplicate_parameters_are_refused():
    weight = nn.Parameter(torch.ones(3))
    with pytest.raises(
        ValueError, match="a group of 2 parameters has one of them twice; list tied weights once"
    ):
        MaskedAdamW([weight, weight])
