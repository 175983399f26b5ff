"""MaskedAdamW as an optimizer: torch's arithmetic without masks, torch's habits, and pruning."""

import copy
import math
import pickle
import signal
import time
import warnings

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from tests.workers.pruning.optimizers import (
    BOTH,
    EACH,
    all_equal,
    give_gradients,
    groups_of,
    masked,
    on,
    parameters,
)
from workers.pruning.masked_adamw import MaskedAdamW

pytestmark = pytest.mark.usefixtures("quick_interpreter")


@BOTH
def test_without_masks_it_is_torchs_adamw(kernels):
    ours, theirs = parameters(), parameters()
    optimizer = masked(ours, kernels=kernels)
    peer = torch.optim.AdamW(groups_of(theirs), lr=1e-2, weight_decay=0.1)
    schedules = [LambdaLR(each, lambda step: 1 / (1 + step)) for each in (optimizer, peer)]
    for step in range(30):
        give_gradients(step, ours, theirs)
        for stepped, schedule in zip((optimizer, peer), schedules, strict=True):
            stepped.step()
            schedule.step()
    torch.testing.assert_close(ours, theirs, rtol=2e-6, atol=2e-7)


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
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


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
    for parameter in (*ours, *theirs):
        parameter.grad = torch.zeros_like(parameter)
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
    assert all_equal(ours, again)
    assert torch.equal(optimizer.mask(ours[0]), other.mask(again[0]))


def test_masks_take_one_bit_a_weight_of_the_state():
    ours = parameters()
    optimizer = masked(ours)
    optimizer.update_masks(0.5)
    mask = optimizer.state_dict()["state"][0]["mask"]
    assert (mask.dtype, mask.numel()) == (torch.int32, math.ceil(40 * 33 / 32))


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda given: pickle.loads(pickle.dumps(given))]
)
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
    assert all_equal(ours, copied)


def test_copies_have_rounded_weights_of_their_own():
    ours = parameters()
    rounded = {one: one.detach().bfloat16().requires_grad_() for one in ours}
    optimizer = MaskedAdamW(ours, lr=0.5, prunable=True, rounded=rounded)
    for duplicate in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        before = [one.detach().clone() for one in rounded.values()]
        copied = duplicate.param_groups[0]["params"]
        for own in copied:
            duplicate._rounded[own].grad = torch.ones_like(own, dtype=torch.bfloat16)
            assert duplicate.gradient(own) is not None is optimizer.gradient(ours[0])
        duplicate.step()
        assert all(torch.equal(duplicate._rounded[own], own.bfloat16()) for own in copied)
        assert all_equal(before, list(rounded.values()))
        assert not all_equal(ours, copied)
        duplicate.zero_grad()
        assert duplicate.gradient(copied[0]) is None


@pytest.mark.parametrize("how", ["update", "scores", "set", "round"])
def test_rounded_weights_follow_whatever_prunes(how):
    ours = parameters()
    rounded = {one: one.detach().bfloat16() for one in ours}
    optimizer = MaskedAdamW(ours, prunable=True, rounded=rounded)
    if how == "update":
        optimizer.update_masks(0.5)
    elif how == "scores":
        optimizer.prune([(ours, 100)], {one: torch.rand_like(one) for one in ours})
    elif how == "set":
        optimizer.set_masks({one: one > 0 for one in ours})
    else:
        ours[0].data.zero_()
        optimizer.round()
    assert sum(int((one == 0).sum()) for one in rounded.values()) >= 100
    assert all(torch.equal(rounded[one], one.bfloat16()) for one in ours)


def test_gradient_scaler_leaves_its_scale_to_the_step():
    ours, theirs = parameters(), parameters()
    optimizer, plain = masked(ours), masked(theirs)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    for factor in (1.0, math.inf, 2.0):
        optimizer.zero_grad()
        scaler.scale(sum((p * factor).sum() for p in ours)).backward()
        scaler.step(optimizer)
        scaler.update()
    for factor in (1.0, 2.0):
        plain.zero_grad()
        sum((p * factor).sum() for p in theirs).backward()
        plain.step()
    assert scaler.get_scale() == 32.0, "the infinite step was skipped"
    assert float(optimizer.state[ours[0]]["step"]) == 2.0
    assert all_equal(ours, theirs)


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
    assert all(all_equal(results[0], other) for other in results[1:])


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
    assert all_equal(ours, theirs)


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
    assert all_equal(*results)


def test_scores_themselves_are_left_as_they_are():
    ours = parameters()
    scores = {p: value.detach() for p, value in zip(ours, parameters(1), strict=True)}
    MaskedAdamW(ours, prunable=True).prune([(ours, 1000)], scores)
    assert all(
        torch.equal(score, value)
        for score, value in zip(scores.values(), parameters(1), strict=True)
    )


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
    assert all_equal(ours, before)
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


def state_of(optimizer: MaskedAdamW) -> dict:
    return copy.deepcopy(optimizer.state_dict())


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
def test_autograd_notices_that_weights_have_changed(kernels):
    weight = nn.Parameter(torch.ones(3))
    optimizer = MaskedAdamW([weight], prunable=True, kernels=kernels)
    for act in (optimizer.step, lambda: optimizer.update_masks(0.5)):
        weight.grad = torch.ones(3)
        loss = (weight * weight).sum()
        act()
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


@pytest.mark.slow
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


def test_no_warning_is_given():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = parameters()
        optimizer = masked(ours)
        give_gradients(0, ours)
        optimizer.step()
        optimizer.zero_grad()
