"""A whole trial: the same bits every time, also when it was stopped, or run by a worker that ran
others before."""

import gc
import json
import shutil
import subprocess
import sys
import weakref
from dataclasses import replace

import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertModel

from tests.factories import PRUNING, make_trial_spec
from workers.checkpoint import Checkpoint
from workers.data import synthetic
from workers.data.corpus import fingerprint_folder
from workers.model.folder import fingerprint_model_folder
from workers.result import TrialResult
from workers.run import prepare_process, run_trial
from workers.storage import Location
from workers.train import Training
from workers.trial import CorpusSpec, ModelSpec, TrialError, TrialSpec

TIMES = {"load_s", "train_s", "evaluate_s", "subwords_per_s", "peak_memory_gib", "num_resumes"}


def small_trial(**changes) -> TrialSpec:
    """Georgian, 100 sentences, the built-in model, 23 steps: through 5 epochs and into a sixth."""
    spec = make_trial_spec(language="ka", pruning=replace(PRUNING, update_every_steps=4))
    training = replace(spec.training, num_steps=23, lr=1e-3, weight_decay=0.01)
    corpus = replace(spec.corpus, fingerprint=synthetic.fingerprint(0))
    return replace(spec, **{"training": training, "corpus": corpus} | changes)


def finish(running) -> TrialResult:
    while True:
        try:
            next(running)
        except StopIteration as finished:
            return finished.value


def run_steps(running, num_steps: int) -> None:
    for progress in running:
        if progress.phase == "training" and progress.step == num_steps:
            return


def numbers(result: TrialResult) -> dict:
    """All that must be equal, to the last bit."""
    return {key: value for key, value in vars(result).items() if key not in TIMES}


def checkpoint_at(tmp_path, spec: TrialSpec, every_s: float | None = 0) -> Checkpoint:
    return Checkpoint(Location.parse(str(tmp_path / "trial.safetensors")), spec.trial_id(), every_s)


def test_trial_hits_its_sparsity_and_reports_what_it_did(device):
    result = finish(run_trial(small_trial(), device))
    zeros = sum(layer.num_zeros for layer in result.layers)
    assert zeros == round(0.5 * result.num_prunable)
    assert result.achieved_sparsity == 0.5
    assert result.overall_sparsity == zeros / result.num_parameters
    assert [point.step for point in result.curve] == [10, 20, 23]
    assert result.curve[-1].loss < result.curve[0].loss
    assert {score.split for score in result.scores} == {"validation", "test"}
    assert (result.num_steps, result.num_train_sentences, result.num_resumes) == (23, 100, 0)
    assert result.num_train_subwords > 0
    assert 0.1 < result.peak_memory_gib < 8


def test_data_has_a_fingerprint_that_follows_its_content(device):
    def fingerprint(**corpus) -> str:
        spec = small_trial()
        spec = replace(
            spec,
            training=replace(spec.training, num_steps=1),
            corpus=replace(spec.corpus, **corpus),
        )
        return finish(run_trial(spec, device)).data_fingerprint

    assert fingerprint() == fingerprint(max_train_sentences=100)
    assert (
        len(
            {fingerprint(), fingerprint(max_train_sentences=99), fingerprint(max_eval_sentences=99)}
        )
        == 3
    )


def test_gpu_that_is_not_there_is_refused():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(
        TrialError,
        match="was given a GPU, but torch .* sees none .* set resources.gpus_per_trial=0",
    ) as caught:
        prepare_process(1, use_gpu=True)
    assert caught.value.kind == "no_gpu"


def test_two_runs_are_equal_and_another_seed_is_not(device):
    first = finish(run_trial(small_trial(), device))
    assert numbers(finish(run_trial(small_trial(), device))) == numbers(first)
    assert finish(run_trial(small_trial(seed=1), device)).curve != first.curve


def test_a_process_that_ran_other_trials_gives_the_bits_of_a_fresh_one(device, tmp_path):
    (tmp_path / "trial.json").write_text(small_trial().to_json())
    finish(run_trial(small_trial(languages=("bn",), seed=5), device))
    reused = finish(run_trial(small_trial(), device))
    command = [sys.executable, "-m", "workers.run", str(tmp_path / "trial.json"), "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    fresh = json.loads(done.stdout)
    assert [row["f1"] for row in fresh["scores"]] == [score.f1 for score in reused.scores]
    assert [point["loss"] for point in fresh["curve"]] == [point.loss for point in reused.curve]
    assert [layer["num_zeros"] for layer in fresh["layers"]] == [
        layer.num_zeros for layer in reused.layers
    ]


@pytest.mark.parametrize("stopped_after", [1, 4, 10, 16, 22, 23])
def test_stopped_trial_goes_on_to_the_same_bits(device, tmp_path, stopped_after):
    spec = small_trial()
    whole = finish(run_trial(spec, device))
    interrupted = run_trial(spec, device, checkpoint_at(tmp_path, spec, every_s=1e9))
    run_steps(interrupted, stopped_after)
    interrupted.close()
    resumed = finish(run_trial(spec, device, checkpoint_at(tmp_path, spec)))
    assert numbers(resumed) == numbers(whole)
    assert resumed.num_resumes == 1


def test_frozen_values_outlive_a_stop(device, tmp_path):
    spec = small_trial(pruning=replace(PRUNING, semantics="dense_shadow", update_every_steps=2))
    interrupted = run_trial(spec, device, checkpoint_at(tmp_path, spec, every_s=1e9))
    run_steps(interrupted, 11)
    interrupted.close()
    resumed = finish(run_trial(spec, device, checkpoint_at(tmp_path, spec)))
    whole = finish(run_trial(spec, device))
    assert numbers(resumed) == numbers(whole)
    assert whole.achieved_sparsity == 0.5
    hard = finish(run_trial(replace(spec, pruning=replace(spec.pruning, semantics="hard")), device))
    assert whole.layers != hard.layers, "some weights came back"


def test_embeddings_are_pruned_when_asked(device):
    spec = small_trial(pruning=replace(PRUNING, embedding_sparsity=0.5, scope="layer"))
    result = finish(run_trial(spec, device))
    (embeddings,) = (layer for layer in result.layers if "word_embeddings" in layer.name)
    assert embeddings.num_zeros == round(0.5 * embeddings.num_weights)


def test_trial_stopped_while_it_is_scored_is_not_trained_again(device, tmp_path):
    spec = small_trial()
    interrupted = run_trial(spec, device, checkpoint_at(tmp_path, spec, every_s=1e9))
    assert any(
        progress.phase == "evaluating" for progress in interrupted
    )  # `any` stops at the first
    interrupted.close()
    resumed = run_trial(spec, device, checkpoint_at(tmp_path, spec))
    assert [progress.phase for progress in (next(resumed), next(resumed))] == [
        "loading",
        "evaluating",
    ]
    assert numbers(finish(resumed)) == numbers(finish(run_trial(spec, device)))


def test_memory_that_is_not_there_is_named(device, tmp_path):
    from workers.data.wordpiece import small_tokenizer

    small_tokenizer(0).save_pretrained(tmp_path)
    BertConfig(vocab_size=10**11).save_pretrained(tmp_path)
    model = ModelSpec(
        name=str(tmp_path),
        revision=None,
        init="random",
        fingerprint=fingerprint_model_folder(tmp_path, "random"),
    )
    with pytest.raises(
        TrialError, match=r"can't allocate memory.* lower training.batch_size \(32\)"
    ) as caught:
        finish(run_trial(small_trial(model=model), device))
    assert caught.value.kind == "out_of_memory"


def test_trial_may_be_stopped_again_and_again(device, tmp_path):
    spec = small_trial()
    for step in (3, 9, 18):
        interrupted = run_trial(spec, device, checkpoint_at(tmp_path, spec))
        run_steps(interrupted, step)
        interrupted.close()
    resumed = finish(run_trial(spec, device, checkpoint_at(tmp_path, spec)))
    assert numbers(resumed) == numbers(finish(run_trial(spec, device)))
    assert resumed.num_resumes == 3


def test_checkpoints_hold_masks_of_one_bit_a_weight(device, tmp_path):
    spec = small_trial()
    running = run_trial(spec, device, checkpoint_at(tmp_path, spec))
    run_steps(running, 20)
    tensors, values = checkpoint_at(tmp_path, spec).load()
    masks = {name: tensor for name, tensor in tensors.items() if name.startswith("optimizer.mask.")}
    num_bytes = sum(mask.numel() * mask.element_size() for mask in masks.values())
    assert num_bytes == 2 * (4 * 128 * 128 + 2 * 128 * 512) // 8
    assert values["step"] == 20


@pytest.mark.parametrize("content", [b"", b"junk", b"\x10" + b"\0" * 7 + b'{"__metadata__":'])
def test_unreadable_checkpoint_starts_the_trial_anew_and_says_so(tmp_path, caplog, content):
    (tmp_path / "trial.safetensors").write_bytes(content)
    assert checkpoint_at(tmp_path, small_trial()).load() is None
    assert "trial.safetensors: not this trial's checkpoint, it cannot be read" in caplog.text


def test_checkpoint_of_another_trial_is_not_taken(device, tmp_path, caplog):
    spec = small_trial()
    running = run_trial(spec, device, checkpoint_at(tmp_path, spec))
    run_steps(running, 2)
    assert checkpoint_at(tmp_path, spec).load() is not None
    assert checkpoint_at(tmp_path, small_trial(seed=9)).load() is None
    assert f"of trial {spec.trial_id()}" in caplog.text


def test_without_an_interval_nothing_is_saved(device, tmp_path):
    spec = small_trial()
    running = run_trial(spec, device, checkpoint_at(tmp_path, spec, every_s=None))
    run_steps(running, 2)
    running.close()
    assert list(tmp_path.iterdir()) == []


def test_loss_that_is_not_finite_stops_the_trial(device):
    spec = small_trial()
    wild = replace(spec, training=replace(spec.training, lr=1e30, max_grad_norm=1e30))
    with pytest.raises(
        TrialError,
        match=r"loss is .* and gradient norm (nan|inf) at step \d+ of 23; lower training.lr \(1e\+30\)",
    ) as caught:
        finish(run_trial(wild, device))
    assert caught.value.kind == "non_finite_loss"


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


def parts(spec: TrialSpec, device: torch.device):
    from workers.data.align import load_encoded
    from workers.model.encoder import make_model

    return (
        make_model(spec.model, 0, device),
        load_encoded(spec.corpus, spec.model, "ka", "train", 128),
        device,
    )


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


def test_files_that_changed_since_planning_are_refused(device, wikiann, pretrained):
    spec = real_trial(wikiann, pretrained)
    other_corpus = replace(spec, corpus=replace(spec.corpus, fingerprint="another"))
    with pytest.raises(
        TrialError,
        match=r"corpus.path: .*/ka has changed since the sweep was planned \(another, now",
    ):
        finish(run_trial(other_corpus, device))
    other_model = replace(spec, model=replace(spec.model, fingerprint="another"))
    with pytest.raises(
        TrialError, match=r"model.name: .* has changed since the sweep was planned \(another, now"
    ):
        finish(run_trial(other_model, device))


def test_sequences_longer_than_the_model_takes_are_refused(device):
    spec = small_trial()
    long = replace(spec, training=replace(spec.training, max_length=513))
    with pytest.raises(
        TrialError, match=r"training.max_length: 513 is more than the model's 512 positions"
    ):
        finish(run_trial(long, device))


def test_state_of_another_model_is_not_taken(device, tmp_path, caplog):
    spec = small_trial()
    running = run_trial(spec, device, checkpoint_at(tmp_path, spec))
    run_steps(running, 2)
    tensors, values = checkpoint_at(tmp_path, spec).load()
    tensors.pop("model.classifier.bias")
    checkpoint_at(tmp_path, spec).save((tensors, values))
    resumed = finish(run_trial(spec, device, checkpoint_at(tmp_path, spec)))
    assert "does not fit ('model.classifier.bias'); starting from step 0" in caplog.text
    assert numbers(resumed) == numbers(finish(run_trial(spec, device)))


# Real data and a pretrained folder: mBERT's own vocabulary, and weights that went to disk and came
# back.


@pytest.fixture(scope="module")
def pretrained(mbert, tmp_path_factory) -> ModelSpec:
    folder = tmp_path_factory.mktemp("model")
    tokenizer = AutoTokenizer.from_pretrained(mbert)
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    model = BertModel(BertConfig(vocab_size=len(tokenizer), **sizes), add_pooling_layer=False)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    fingerprint = fingerprint_model_folder(folder, "pretrained")
    return ModelSpec(name=str(folder), revision=None, init="pretrained", fingerprint=fingerprint)


def real_trial(wikiann, model: ModelSpec, **changes) -> TrialSpec:
    corpus = CorpusSpec(
        kind="path",
        name=None,
        revision=None,
        path=str(wikiann),
        seed=None,
        fingerprint=fingerprint_folder(wikiann, "ka", ("train", "validation", "test")),
        max_train_sentences=40,
        max_eval_sentences=20,
    )
    return small_trial(corpus=corpus, model=model, **changes)


def test_real_wikiann_with_a_pretrained_folder(device, wikiann, pretrained):
    spec = real_trial(wikiann, pretrained)
    first = finish(run_trial(spec, device))
    finish(run_trial(real_trial(wikiann, pretrained, seed=3), device))
    again = finish(run_trial(spec, device))
    assert numbers(again) == numbers(first), "the weights were put back between trials"
    assert first.achieved_sparsity == 0.5
    assert first.num_train_sentences == 40


def test_same_seed_starts_dense_and_sparse_trials_from_the_same_weights_and_data(
    device, wikiann, pretrained
):
    sparse = finish(run_trial(real_trial(wikiann, pretrained), device))
    dense = finish(
        run_trial(real_trial(wikiann, pretrained, target_sparsity=0.0, pruning=None), device)
    )
    late = replace(PRUNING, begin=1.0, end=1.0)
    pruned_at_the_end = finish(run_trial(real_trial(wikiann, pretrained, pruning=late), device))
    assert [point.loss for point in pruned_at_the_end.curve] == [
        point.loss for point in dense.curve
    ]
    assert sparse.curve != dense.curve


def test_folder_that_lacks_encoder_weights_is_refused(device, wikiann, pretrained, tmp_path):
    from safetensors.torch import load_file, save_file

    for file in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(f"{pretrained.name}/{file}", tmp_path)
    weights = load_file(f"{pretrained.name}/model.safetensors")
    weights.pop("encoder.layer.1.output.dense.weight")
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    broken = replace(
        pretrained, name=str(tmp_path), fingerprint=fingerprint_model_folder(tmp_path, "pretrained")
    )
    with pytest.raises(
        TrialError, match="lacks 1 weights of the encoder, first bert.encoder.layer.1.output.dense"
    ):
        finish(run_trial(real_trial(wikiann, broken), device))


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


def test_checkpoint_whose_masks_are_of_another_step_is_not_taken(device, tmp_path, caplog):
    spec = small_trial()
    running = run_trial(spec, device, checkpoint_at(tmp_path, spec))
    run_steps(running, 8)
    tensors, values = checkpoint_at(tmp_path, spec).load()
    checkpoint_at(tmp_path, spec).save((tensors, values | {"step": 9}))
    resumed = finish(run_trial(spec, device, checkpoint_at(tmp_path, spec)))
    assert (
        "does not fit (its weights are of step 9 and their moments and masks of step 8)"
        in caplog.text
    )
    assert numbers(resumed) == numbers(finish(run_trial(spec, device)))


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
