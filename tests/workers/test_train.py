"""The training loop: learning rate, clipping, precision, kernels, losses that are not finite."""

import gc
import weakref
from dataclasses import replace

import pytest
import torch

from tests.factories import PRUNING
from tests.workers.trials import finish, small_trial, undisturbed
from workers.run import run_trial
from workers.train import Training
from workers.trial import TrialError, TrialSpec


def parts(spec: TrialSpec, device: torch.device):
    from workers.data.align import load_encoded
    from workers.model.encoder import make_model

    return (
        make_model(spec.model, 0, device),
        load_encoded(spec.corpus, spec.model, "ka", "train", 128),
        device,
    )


def test_learning_rate_warms_up_and_decays(device):
    spec = small_trial()
    training = replace(spec.training, num_steps=10, lr=1.0, warmup=0.2)
    made = Training(replace(spec, training=training), *parts(spec, device))
    assert [round(made.learning_rate(step), 4) for step in (0, 1, 2, 6, 9)] == [
        0.5,
        1.0,
        1.0,
        0.5,
        0.125,
    ]
    constant = Training(
        replace(spec, training=replace(training, lr_schedule="constant", warmup=0.0)),
        *parts(spec, device),
    )
    assert constant.learning_rate(0) == constant.learning_rate(9) == 1.0


def test_clipping_takes_the_norm_over_kept_weights(device):
    spec = small_trial(pruning=replace(PRUNING, begin=0.0, end=0.0), target_sparsity=0.9)
    spec = replace(spec, training=replace(spec.training, num_steps=1, max_grad_norm=1e9))
    training = Training(spec, *parts(spec, device))
    for _ in training.run():
        masks = {
            id(weight): training.optimizer.mask(weight) for weight in training.weights.values()
        }
        parameters = list(training.model.parameters())
        gradients = [
            p.grad if masks.get(id(p)) is None else p.grad[masks[id(p)]] for p in parameters
        ]
    kept = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    assert training.curve[0].grad_norm == pytest.approx(float(kept), rel=1e-5)
    everything = torch.cat([parameter.grad.flatten() for parameter in parameters]).norm()
    assert float(everything) > float(kept), "gradients of pruned weights are dense"


def test_a_finished_trial_leaves_no_memory_behind(device):
    spec = small_trial()
    training = Training(spec, *parts(spec, device))
    for _ in training.run():
        pass
    model = weakref.ref(training.model)
    gc.disable()
    try:
        del training
        assert model() is None, "a cycle keeps the model until the garbage collector runs"
    finally:
        gc.enable()


def test_loss_that_is_not_finite_stops_the_trial(device):
    spec = small_trial()
    wild = replace(spec, training=replace(spec.training, lr=1e30, max_grad_norm=1e30))
    with pytest.raises(
        TrialError,
        match=r"loss is .* and gradient norm (nan|inf) at step \d+ of 23; "
        r"lower training.lr \(1e\+30\)",
    ) as caught:
        finish(run_trial(wild, device))
    assert caught.value.kind == "non_finite_loss"


def test_weights_that_are_nan_at_a_mask_update_stop_the_trial(device):
    training = Training(small_trial(), *parts(small_trial(), device))
    steps = training.run()
    for _ in range(9):
        next(steps)
    with torch.no_grad():
        next(iter(training.weights.values()))[0, 0] = float("nan")
    training._losses.clear()
    training._grad_norms.clear()
    training.step = 10
    with pytest.raises(TrialError, match="weights.* are NaN.*; lower training.lr") as caught:
        next(steps)
    assert caught.value.kind == "non_finite_loss"


@pytest.mark.parametrize("changes", [{"precision": "bfloat16"}])
def test_bfloat16_keeps_weights_and_moments_in_float32(device, changes):
    spec = small_trial()
    spec = replace(spec, training=replace(spec.training, **changes))
    training = Training(spec, *parts(spec, device))
    for _ in training.run():
        pass
    assert {weight.dtype for weight in training.model.parameters()} == {torch.float32}
    assert {state["exp_avg"].dtype for state in training.optimizer.state.values()} == {
        torch.float32
    }
    assert training.curve[-1].loss < training.curve[0].loss


@pytest.mark.parametrize(
    "changes",
    [
        {"saliency": "random"},
        {"saliency": "movement"},
        {"embedding_sparsity": 0.5, "scope": "erk"},
        {"granularity": "block", "block_shape": (4, 4)},
    ],
)
def test_trials_of_a_seed_share_weights_and_data_until_they_are_pruned(device, changes):
    late = replace(
        PRUNING, begin=0.5, end=0.8, update_every_steps=4, **changes
    )  # 12 of 23 steps are dense
    dense = undisturbed(small_trial(target_sparsity=0.0, pruning=None), device)
    sparse = finish(run_trial(small_trial(pruning=late), device))
    assert sparse.curve[0].loss == dense.curve[0].loss, (
        "the first ten steps are the same to the bit"
    )
    assert sparse.curve[-1].loss != dense.curve[-1].loss
    assert sparse.achieved_sparsity == pytest.approx(0.5, abs=1e-3)


def test_embeddings_have_their_own_count(device):
    spec = small_trial(pruning=replace(PRUNING, embedding_sparsity=0.25), target_sparsity=0.5)
    result = finish(run_trial(spec, device))
    assert (result.achieved_sparsity, result.achieved_embedding_sparsity) == (0.5, 0.25)
    assert undisturbed(small_trial(), device).achieved_embedding_sparsity is None


def test_kernels_are_named_in_the_log_and_the_result(device, caplog):
    caplog.set_level("INFO", "workers")
    reference = finish(run_trial(small_trial(), device, kernels="reference"))
    automatic = finish(run_trial(small_trial(), device))
    expected = "triton" if device.type == "cuda" else "numba"
    assert (reference.kernels, automatic.kernels) == ("reference", expected)
    assert f"kernels: {expected} on {device}" in caplog.text


def test_kernels_that_cannot_compute_here_are_refused(device, monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    wrong = "numba" if device.type == "cuda" else "triton"
    with pytest.raises(
        TrialError, match=f"pruning.kernels: {wrong} computes on .* use auto"
    ) as caught:
        finish(run_trial(small_trial(), device, kernels=wrong))
    assert caught.value.kind == "bad_data"


def test_all_kernels_train_to_the_same_result(device):
    """Norms are added up in different orders, so losses agree closely and not to the bit."""
    names = ("reference", "numba") if device.type == "cpu" else ("reference", "triton")
    first, second = (finish(run_trial(small_trial(), device, kernels=name)) for name in names)
    assert [point.loss for point in first.curve] == pytest.approx(
        [point.loss for point in second.curve], rel=1e-4
    )
    assert first.achieved_sparsity == second.achieved_sparsity == 0.5
