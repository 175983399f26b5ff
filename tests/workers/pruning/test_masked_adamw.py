"""MaskedAdamW as an optimizer: torch's arithmetic without masks, torch's habits, and what it
refuses."""

import copy
import importlib.util
import math
import pickle
import signal
import sys
import time
import warnings

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from workers.kernels import NAMES, make_kernels
from workers.pruning.masked_adamw import MaskedAdamW
from workers.pruning.ranking import rankable

HAS_GPU = torch.cuda.is_available()
BOTH = pytest.mark.parametrize("kernels", ["reference", "numba"])
EACH = pytest.mark.parametrize(
    "kernels",
    [
        pytest.param(("reference", "cpu"), id="reference"),
        pytest.param(("numba", "cpu"), id="numba"),
        pytest.param(
            ("triton", "cpu"),
            id="triton-interpreted",
            marks=pytest.mark.skipif(
                HAS_GPU or not importlib.util.find_spec("triton"),
                reason="needs triton, and no GPU to run on instead",
            ),
        ),
        pytest.param(
            ("triton", "cuda"),
            id="triton",
            marks=[pytest.mark.gpu, pytest.mark.skipif(not HAS_GPU, reason="needs a GPU")],
        ),
    ],
)
SHAPES = ((40, 33), (7,), (64, 9))


def parameters(seed: int = 0, shapes=SHAPES) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]


def on(device: str, tensors: list) -> list:
    """Parameters stay parameters."""
    moved = [one.detach().clone().to(device) for one in tensors]
    return [
        nn.Parameter(one) if one_was.requires_grad else one
        for one, one_was in zip(moved, tensors, strict=True)
    ]


def give_gradients(seed: int, *models: list[nn.Parameter], scale: float = 1.0) -> None:
    for ours in models:
        for parameter, value in zip(
            ours, parameters(seed, [tuple(p.shape) for p in ours]), strict=True
        ):
            parameter.grad = (value.detach() * scale).to(parameter.device)


def groups_of(ours: list[nn.Parameter], **first) -> list[dict]:
    return [
        {"params": ours[:1], **first},
        {"params": ours[1:], "weight_decay": 0.0, "lr": 2e-2, "betas": (0.8, 0.9)},
    ]


def masked(ours: list[nn.Parameter], **options) -> MaskedAdamW:
    return MaskedAdamW(
        groups_of(ours, prunable=True), **{"lr": 1e-2, "weight_decay": 0.1} | options
    )


@BOTH
def test_without_masks_it_is_torchs_adamw(kernels):
    ours, theirs = parameters(), parameters()
    optimizer = masked(ours, kernels=kernels)
    peer = torch.optim.AdamW(groups_of(theirs), lr=1e-2, weight_decay=0.1)
    schedules = [LambdaLR(one, lambda step: 1 / (1 + step)) for one in (optimizer, peer)]
    for step in range(30):
        give_gradients(step, ours, theirs)
        for one, schedule in zip((optimizer, peer), schedules, strict=True):
            one.step()
            schedule.step()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-6, atol=2e-7)


@BOTH
def test_clipping_without_masks_is_torchs(kernels):
    ours, theirs = parameters(), parameters()
    optimizer = masked(ours, kernels=kernels, max_grad_norm=0.7)
    peer = torch.optim.AdamW(groups_of(theirs), lr=1e-2, weight_decay=0.1)
    for step in range(5):
        give_gradients(step, ours, theirs, scale=10.0**step / 1000)
        norm = nn.utils.clip_grad_norm_(theirs, 0.7)
        optimizer.step()
        peer.step()
        assert float(optimizer.grad_norm) == pytest.approx(float(norm), rel=1e-6)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@BOTH
def test_one_step_by_hand(kernels):
    weight = nn.Parameter(torch.tensor([2.0, -2.0]))
    weight.grad = torch.tensor([0.5, 0.25])
    MaskedAdamW([weight], lr=0.1, weight_decay=0.5, eps=1e-8, kernels=kernels).step()
    # After one step the corrected moments are g and g², so the change is lr · sign(g).
    assert weight.tolist() == pytest.approx([2 * 0.95 - 0.1, -2 * 0.95 - 0.1])


@BOTH
def test_masking_at_pruning_events_only_would_revive_what_this_keeps_at_zero(kernels):
    ours, theirs = parameters(), parameters()
    optimizer, peer = masked(ours, kernels=kernels), torch.optim.AdamW(theirs)
    for step in range(3):
        give_gradients(step, ours, theirs)
        optimizer.step()
        peer.step()
    optimizer.update_masks(0.5)
    pruned = ~optimizer.mask(ours[0])
    with torch.no_grad():
        theirs[0][pruned] = 0.0
    for one in (*ours, *theirs):
        one.grad = torch.zeros_like(one)
    optimizer.step()
    peer.step()
    assert not ours[0][pruned].any()
    assert theirs[0][pruned].all(), "momentum revives every weight that was only set to zero"


@BOTH
@pytest.mark.parametrize("semantics", ["hard", "dense_shadow"])
def test_saved_and_loaded_it_goes_on_to_the_same_bits(kernels, semantics, tmp_path):
    ours = parameters()
    optimizer = masked(ours, kernels=kernels, semantics=semantics)
    give_gradients(0, ours)
    optimizer.step()
    optimizer.update_masks(0.6)
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    again = [nn.Parameter(p.detach().clone()) for p in ours]
    other = masked(again, kernels=kernels, semantics=semantics)
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for step in range(1, 4):
        give_gradients(step, ours, again)
        optimizer.step()
        other.step()
        optimizer.update_masks(0.6 + step / 10)
        other.update_masks(0.6 + step / 10)
    assert all(torch.equal(one, copied) for one, copied in zip(ours, again, strict=True))
    assert torch.equal(optimizer.mask(ours[0]), other.mask(again[0]))


def test_masks_take_one_bit_a_weight_of_the_state():
    ours = parameters()
    optimizer = masked(ours)
    optimizer.update_masks(0.5)
    mask = optimizer.state_dict()["state"][0]["mask"]
    assert (mask.dtype, mask.numel()) == (torch.int32, math.ceil(40 * 33 / 32))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_have_kernels_of_their_own(duplicate):
    ours = parameters()
    optimizer = masked(ours, max_grad_norm=1.0)
    give_gradients(0, ours)
    optimizer.step()
    other = duplicate(optimizer)
    assert other.kernels is not optimizer.kernels
    assert other.max_grad_norm == 1.0
    copied = [p for group in other.param_groups for p in group["params"]]
    give_gradients(1, ours, copied)
    optimizer.step()
    other.step()
    assert all(torch.equal(one, two) for one, two in zip(ours, copied, strict=True))


def test_gradient_scaler_leaves_its_scale_to_the_step():
    ours, theirs = parameters(), parameters()
    optimizer, plain = masked(ours), masked(theirs)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    for losses, one in (((1.0, math.inf, 2.0), optimizer), ((1.0, None, 2.0), plain)):
        mine = ours if one is optimizer else theirs
        for factor in losses:
            if factor is None:
                continue
            one.zero_grad()
            loss = sum((p * factor).sum() for p in mine)
            if one is optimizer:
                scaler.scale(loss).backward()
                scaler.step(one)
                scaler.update()
            else:
                loss.backward()
                one.step()
    assert scaler.get_scale() == 32.0, "the infinite step was skipped"
    assert float(optimizer.state[ours[0]]["step"]) == 2.0
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_closure_gives_its_loss():
    ours = parameters()
    optimizer = masked(ours)

    def closure():
        optimizer.zero_grad()
        loss = sum((p**2).sum() for p in ours)
        loss.backward()
        return loss

    first = optimizer.step(closure)
    assert optimizer.step(closure).item() < first.item()


def test_result_does_not_depend_on_the_number_of_threads():
    before, results = torch.get_num_threads(), []
    try:
        for num_threads in (1, 2, 3):
            torch.set_num_threads(num_threads)
            ours = parameters(0, ((300, 401), (33,), (1, 70_001)))
            optimizer = MaskedAdamW(ours, prunable=True, max_grad_norm=1.0, kernels="numba")
            for step in range(3):
                give_gradients(step, ours)
                optimizer.step()
                optimizer.update_masks(0.3 * (step + 1))
            results.append(ours)
    finally:
        torch.set_num_threads(before)
    assert all(
        torch.equal(one, other)
        for other in results[1:]
        for one, other in zip(results[0], other, strict=True)
    )


def test_global_scope_prunes_small_layers_harder_and_layer_scope_all_alike():
    small, large = (
        nn.Parameter(torch.linspace(0.1, 1.0, 10)),
        nn.Parameter(torch.linspace(1.1, 2.0, 10)),
    )
    optimizer = MaskedAdamW([small, large], prunable=True)
    optimizer.update_masks(0.5, "global")
    assert [int((p == 0).sum()) for p in (small, large)] == [10, 0]
    small, large = (
        nn.Parameter(torch.linspace(0.1, 1.0, 10)),
        nn.Parameter(torch.linspace(1.1, 2.0, 10)),
    )
    MaskedAdamW([small, large], prunable=True).update_masks(0.5, "layer")
    assert [int((p == 0).sum()) for p in (small, large)] == [5, 5]


def test_an_empty_group_is_no_obstacle():
    ours = parameters()
    optimizer = MaskedAdamW([{"params": []}, {"params": ours, "prunable": True}])
    give_gradients(0, ours)
    optimizer.step()
    optimizer.update_masks(0.5)
    assert sum(int((p == 0).sum()) for p in ours) == round(0.5 * sum(p.numel() for p in ours))


def test_automatic_choice_follows_the_device_and_is_told():
    assert make_kernels("auto", torch.device("cpu")).name == "numba"
    assert make_kernels("auto", torch.device("meta")).name == "reference"
    assert MaskedAdamW(parameters(), kernels="reference").kernels.name == "reference"


# Pruning in groups, by scores, and by masks.


def rank_positions(scores: list[torch.Tensor]) -> list[int]:
    """Positions over all tensors from the lowest score on; ties by position."""
    return torch.cat([score.flatten() for score in scores]).sort(stable=True).indices.tolist()


def test_groups_are_pruned_apart_and_the_rest_is_left_alone():
    ours = parameters()
    optimizer = MaskedAdamW(ours, prunable=True)
    assert optimizer.prune([([ours[2]], 100), ([ours[0]], 7)]) == 0
    assert [int((p == 0).sum()) for p in ours] == [7, 0, 100]
    assert optimizer.mask(ours[1]) is None


@pytest.mark.parametrize("semantics", ["hard", "dense_shadow"])
def test_update_masks_is_pruning_by_magnitude_in_one_group(semantics):
    ours, theirs = parameters(), parameters()
    MaskedAdamW(ours, prunable=True, semantics=semantics).update_masks(0.4)
    total = sum(p.numel() for p in theirs)
    MaskedAdamW(theirs, prunable=True, semantics=semantics).prune([(theirs, round(0.4 * total))])
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


ODD_SCORES = (
    math.inf,
    -math.inf,
    -0.0,
    0.0,
    1e-45,
    -1e-45,
    1e-38,
    -1e-38,
    1.0,
    -1.0,
    1e37,
    -1e37,
    3e38,
    -3e38,
)


@EACH
def test_lowest_scores_go_whatever_their_sign(kernels):
    kernels, device = kernels
    for scale in (1.0, 1e-30, 1e30):
        scores = [value.detach() * scale for value in parameters(1)]
        lowest = rank_positions(scores)
        for num_pruned in (0, 1, 500, 900, len(lowest) - 1, len(lowest)):
            ours = on(device, parameters())
            optimizer = MaskedAdamW(ours, prunable=True, kernels=kernels)
            given = dict(zip(ours, on(device, scores), strict=True))
            assert optimizer.prune([(ours, num_pruned)], given) == 0
            kept = torch.cat([optimizer.mask(p).flatten() for p in ours]).cpu()
            assert (~kept).nonzero().flatten().tolist() == sorted(lowest[:num_pruned])


@EACH
def test_odd_scores_rank_by_size_and_ties_by_position(kernels):
    kernels, device = kernels
    # By size; ±0 tie with the smallest denormals, and infinities with what is as large as makes no
    # difference.
    order = [1, 13, 11, 9, 7, 5, 2, 3, 4, 6, 8, 10, 0, 12]
    for num_pruned in range(len(order) + 1):
        (weight,) = on(device, [nn.Parameter(torch.ones(len(order)))])
        optimizer = MaskedAdamW([weight], prunable=True, kernels=kernels)
        optimizer.prune([([weight], num_pruned)], {weight: torch.tensor(ODD_SCORES, device=device)})
        assert (~optimizer.mask(weight)).nonzero().flatten().tolist() == sorted(order[:num_pruned])


@EACH
def test_pruning_by_scores_equals_the_reference(kernels):
    kernels, device = kernels
    shapes = ((1,), (0,), (7,), (31, 1), (33,), (5, 13), (1024,), (3, 1367))
    results = []
    for name, where in (("reference", "cpu"), (kernels, device)):
        ours = on(where, parameters(0, shapes))
        optimizer = MaskedAdamW(ours, prunable=True, kernels=name)
        scores = dict(
            zip(
                ours,
                on(where, [p.detach().bfloat16().float() for p in parameters(1, shapes)]),
                strict=True,
            )
        )
        for step, sparsity in enumerate(
            (0.3, 0.2, 0.6, 0.95)
        ):  # in the second one less is asked for than is pruned
            for p, value in zip(ours, parameters(10 + step, shapes), strict=True):
                p.grad = value.detach().to(where)
            optimizer.step()
            optimizer.prune(
                [(ours[:5], round(sparsity * 73)), (ours[5:], round(sparsity * 5190))], scores
            )
            for p in ours:
                tensors = (p, optimizer.state[p]["exp_avg"], optimizer.state[p]["exp_avg_sq"])
                assert all(not tensor[~optimizer.mask(p)].any() for tensor in tensors)
                assert not torch.signbit(p[~optimizer.mask(p)]).any()
        states = [
            optimizer.state[p][key].cpu() for p in ours for key in ("exp_avg", "exp_avg_sq", "mask")
        ]
        results.append([*(p.detach().cpu() for p in ours), *states])
        assert [sum(int((p == 0).sum()) for p in part) for part in (ours[:5], ours[5:])] == [
            69,
            4930,
        ]
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def test_scores_themselves_are_left_as_they_are():
    ours = parameters()
    scores = {p: value.detach() for p, value in zip(ours, parameters(1), strict=True)}
    MaskedAdamW(ours, prunable=True).prune([(ours, 1000)], scores)
    assert all(
        torch.equal(score, value)
        for score, value in zip(scores.values(), parameters(1), strict=True)
    )


def test_rankable_scores_are_positive_and_lie_in_their_order():
    scores = (
        torch.cat([torch.randn(100_000) * 10.0**power for power in range(-36, 36, 8)]).sort().values
    )
    ranked = rankable(scores)
    assert ranked.min() > 0
    assert ranked.isfinite().all()
    assert (ranked[1:] >= ranked[:-1]).all()
    is_equal = ranked[1:] == ranked[:-1]  # in the last of 24 bits only
    assert (
        (scores[1:] - scores[:-1])[is_equal] <= scores[1:].abs()[is_equal] * 2.0**-22 + 1e-44
    ).all()
    assert rankable(torch.tensor([math.nan, -math.nan])).isnan().all()


@EACH
def test_nan_scores_change_nothing_and_count_only_where_weights_are_kept(kernels):
    kernels, device = kernels
    ours = on(device, parameters())
    optimizer = MaskedAdamW(ours, prunable=True, kernels=kernels)
    optimizer.prune([([ours[0]], 5)])
    before = [p.detach().clone() for p in ours]
    scores = {p: p.detach().clone() for p in ours}
    scores[ours[0]][~optimizer.mask(ours[0])] = math.nan
    scores[ours[2]][3, 4] = -math.nan
    if device == "cpu":
        with pytest.raises(
            ValueError, match="scores: 1 are NaN; they cannot be ranked, and no mask was changed"
        ):
            optimizer.prune([(ours, 1000)], scores)
    else:
        assert int(optimizer.prune([(ours, 1000)], scores)) == 1
    assert all(torch.equal(one, other) for one, other in zip(ours, before, strict=True))
    assert int((~optimizer.mask(ours[0])).sum()) == 5
    scores[ours[2]][3, 4] = 0.0
    assert int(optimizer.prune([(ours, 1000)], scores)) == 0


@EACH
def test_given_masks_prune_and_never_bring_back(kernels):
    kernels, device = kernels
    ours = on(device, parameters())
    optimizer = MaskedAdamW(ours, prunable=True, kernels=kernels)
    give_gradients(0, ours)
    optimizer.step()
    keep = torch.rand(40, 33, generator=torch.Generator().manual_seed(0)) > 0.5
    optimizer.set_masks({ours[0]: keep.to(device)})
    assert torch.equal(optimizer.mask(ours[0]).cpu(), keep)
    optimizer.set_masks({ours[0]: ~keep.to(device)})
    assert not optimizer.mask(ours[0]).any()
    state = optimizer.state[ours[0]]
    assert not any(tensor.any() for tensor in (ours[0], state["exp_avg"], state["exp_avg_sq"]))
    assert optimizer.mask(ours[1]) is None


# What is refused.


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
            r"scores: that of .* \(40, 33\) on cpu is torch.float32 of shape \(33, 40\) on cpu; give float32",
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
    assert all(torch.equal(one, other) for one, other in zip(ours, parameters(), strict=True))


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
        r"is torch.bfloat16; MaskedAdamW needs float32",
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
        r"is torch.sparse_coo; MaskedAdamW needs dense",
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
    assert all(torch.equal(one, other) for one, other in zip(ours, before, strict=True))


def test_gradient_of_another_shape_is_refused():
    weight = nn.Parameter(torch.ones(4))
    weight.grad = torch.ones(4)
    weight.data = torch.ones(4_000_000)
    with pytest.raises(
        ValueError, match=r"a parameter of shape \(4000000,\) has shape \(4,\); compute it anew"
    ):
        MaskedAdamW([weight]).step()


def test_sparse_gradients_are_refused():
    table = nn.Embedding(5, 3, sparse=True)
    optimizer = MaskedAdamW(table.parameters())
    table(torch.tensor([1, 2])).sum().backward()
    with pytest.raises(ValueError, match="is torch.sparse_coo; use dense gradients"):
        optimizer.step()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"lr": -1.0}, "lr: -1.0 is below 0"),
        ({"lr": math.nan}, "lr: nan is below 0"),
        ({"lr": torch.ones(2)}, "lr: a tensor of 2 elements"),
        ({"betas": (0.9, 1.0)}, r"betas: \(0.9, 1.0\) are not both in \[0, 1\)"),
        ({"eps": 0.0}, "eps: 0.0 is not above 0"),
        ({"weight_decay": -0.1}, "weight_decay: -0.1 is below 0"),
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


def test_kernels_for_another_device_are_refused(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(
        ValueError, match="kernels: numba computes on CPUs and the weights are on meta; use auto"
    ):
        make_kernels("numba", torch.device("meta"))
    if importlib.util.find_spec("triton"):
        with pytest.raises(
            ValueError,
            match="kernels: triton computes on GPUs and the weights are on cpu; use auto",
        ):
            make_kernels("triton", torch.device("cpu"))
    monkeypatch.setitem(sys.modules, "triton", None)  # as where it is not installed
    with pytest.raises(ValueError, match="kernels: triton is not installed; install it"):
        make_kernels("triton", torch.device("cuda"))
    assert set(NAMES) == {"reference", "triton", "numba"}


def state_of(optimizer: MaskedAdamW) -> dict:
    return copy.deepcopy(optimizer.state_dict())


@pytest.fixture
def trained() -> MaskedAdamW:
    ours = parameters()
    optimizer = masked(ours)
    give_gradients(0, ours)
    optimizer.step()
    optimizer.update_masks(0.5)
    return optimizer


def broken_states(good: dict) -> dict[str, dict]:
    """States that must not be loaded, by the message that says why."""
    broken = {}

    def change(match: str, edit) -> None:
        state = copy.deepcopy(good)
        edit(state)
        broken[match] = state

    change(
        r"mask is torch.int32 of shape \(41,\); expected int32 of shape \(42,\)",
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
    change(r"mask has bits beyond its 1320 weights", lambda s: s["state"][0]["mask"][-1:].fill_(-1))
    change(r"step is None", lambda s: s["state"][0].pop("step"))
    change(
        r"its group is not prunable",
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
    before = state_of(trained)
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


def test_states_are_no_part_of_the_saved_one(trained):
    saved = trained.state_dict()
    before = state_of(trained)
    ours = parameters()
    other = masked(ours)
    other.load_state_dict(saved)
    give_gradients(1, ours)
    other.step()
    other.update_masks(0.9)
    for number, values in saved["state"].items():
        assert all(
            torch.equal(value, before["state"][number][name]) for name, value in values.items()
        )
    assert int((~trained.mask(trained.param_groups[0]["params"][0])).sum()) == round(0.5 * 40 * 33)


def test_moments_that_lie_otherwise_in_memory_are_laid_out_anew(trained):
    state = state_of(trained)
    moment = state["state"][0]["exp_avg"]
    state["state"][0]["exp_avg"] = moment.t().contiguous().t()
    trained.load_state_dict(state)
    loaded = trained.state[trained.param_groups[0]["params"][0]]["exp_avg"]
    assert loaded.is_contiguous()
    assert torch.equal(loaded, moment)


def test_what_may_be_pruned_is_not_loaded(trained):
    dense = MaskedAdamW(groups_of(parameters()), lr=1e-2, weight_decay=0.1)
    trained.load_state_dict(dense.state_dict())
    assert [group["prunable"] for group in trained.param_groups] == [True, False]


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


@BOTH
def test_autograd_notices_that_weights_have_changed(kernels):
    weight = nn.Parameter(torch.ones(3))
    optimizer = MaskedAdamW([weight], prunable=True, kernels=kernels)
    for act in (optimizer.step, lambda: optimizer.update_masks(0.5)):
        weight.grad = torch.ones(3)
        loss = (weight * weight).sum()
        act()
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


def test_after_an_interrupt_no_thread_writes_on():
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def step_on_and_on() -> None:
        for _ in range(1000):
            optimizer.step()

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    weight = nn.Parameter(torch.ones(30_000_000))
    weight.grad = torch.ones_like(weight)
    optimizer = MaskedAdamW([weight], kernels="numba")
    optimizer.step()
    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.005)
        with pytest.raises(KeyboardInterrupt):
            step_on_and_on()
        seen = weight.detach().clone()
        time.sleep(0.2)
        assert torch.equal(weight, seen)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        torch.set_num_threads(before)


def test_duplicate_parameters_are_refused():
    weight = nn.Parameter(torch.ones(3))
    with pytest.raises(
        ValueError, match="a group of 2 parameters has one of them twice; list tied weights once"
    ):
        MaskedAdamW([weight, weight])


def test_no_warning_is_given():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = parameters()
        optimizer = masked(ours)
        give_gradients(0, ours)
        optimizer.step()
        optimizer.zero_grad()
