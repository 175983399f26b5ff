"""A trial that was stopped goes on to the same bits, from a checkpoint that is its own."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save

from tests.factories import PRUNING
from tests.workers.trials import (
    checkpoint_at,
    finish,
    numbers,
    run_steps,
    small_trial,
    stop_and_resume,
    training_of,
    two_languages,
    undisturbed,
)
from workers.measured import peak_memory_gib, reset_peak_memory
from workers.result import CurvePoint, EntityScore
from workers.run import run_trial


@pytest.mark.parametrize("stopped_after", [1, 4, 10, 16, 22, 23])
def test_stopped_trial_goes_on_to_the_same_bits(device, tmp_path, stopped_after):
    spec = small_trial()
    whole = undisturbed(spec, device)
    resumed = stop_and_resume(spec, device, tmp_path, stopped_after, every_s=1e9)
    assert numbers(resumed) == numbers(whole)
    assert resumed.num_resumes == 1


def test_a_stopped_trial_goes_on_in_another_process(device, tmp_path):
    """As `make test-gpu` asks of a GPU."""
    spec = small_trial()
    (tmp_path / "trial.json").write_text(spec.to_json())
    command = [sys.executable, "-m", "tests.workers.one_trial", str(tmp_path / "trial.json")]
    command += ["--checkpoint", str(tmp_path)]
    subprocess.run([*command, "--stop-after", "9"], check=True, capture_output=True)
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    resumed, whole = json.loads(done.stdout), undisturbed(spec, device)
    assert (resumed["num_resumes"], resumed["reserved_bytes"]) == (1, 0)
    assert [CurvePoint(**point) for point in resumed["curve"]] == list(whole.curve)
    assert [EntityScore(**score) for score in resumed["scores"]] == list(whole.scores)


def test_frozen_values_outlive_a_stop(device, tmp_path):
    spec = small_trial(pruning=replace(PRUNING, semantics="dense_shadow", update_every_steps=2))
    resumed = stop_and_resume(spec, device, tmp_path, 11, every_s=1e9)
    whole = undisturbed(spec, device)
    assert numbers(resumed) == numbers(whole)
    assert whole.achieved_sparsity == 0.5
    hard = finish(run_trial(replace(spec, pruning=replace(spec.pruning, semantics="hard")), device))
    assert whole.layers != hard.layers, "some weights came back"


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
    assert numbers(finish(resumed)) == numbers(undisturbed(spec, device))


def test_trial_may_be_stopped_again_and_again(device, tmp_path):
    spec = small_trial()
    for step in (3, 9, 18):
        interrupted = run_trial(spec, device, checkpoint_at(tmp_path, spec))
        run_steps(interrupted, step)
        interrupted.close()
    resumed = finish(run_trial(spec, device, checkpoint_at(tmp_path, spec)))
    assert numbers(resumed) == numbers(undisturbed(spec, device))
    assert resumed.num_resumes == 3


def test_movement_that_was_interrupted_goes_on_to_the_same_bits(device, tmp_path):
    spec = small_trial(pruning=replace(PRUNING, saliency="movement", update_every_steps=4))
    resumed = stop_and_resume(spec, device, tmp_path, 7, every_s=1e9)
    assert numbers(resumed) == numbers(undisturbed(spec, device))


def test_multilingual_trial_goes_on_to_the_same_bits(device, tmp_path):
    spec = training_of(two_languages(), sampling="temperature", sampling_temperature=3.0)
    resumed = stop_and_resume(spec, device, tmp_path, 9, every_s=1e9)
    assert numbers(resumed) == numbers(undisturbed(spec, device))
    proportional = undisturbed(two_languages(), device)
    assert proportional.curve != resumed.curve


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


STATE = (
    {
        "weights": torch.arange(6.0).reshape(2, 3),
        "half": torch.ones(3, dtype=torch.bfloat16),
        "mask": torch.tensor([True, False]),
        "step": torch.tensor(3),
        "nothing": torch.zeros(0),
    },
    {"step": 3, "curve": [0.5, 0.25]},
)


def test_what_is_saved_is_what_is_loaded(tmp_path):
    checkpoint_at(tmp_path, small_trial()).save(STATE)
    tensors, values = checkpoint_at(tmp_path, small_trial()).load()
    assert values == STATE[1]
    assert all(torch.equal(tensors[name], tensor) for name, tensor in STATE[0].items())


@pytest.mark.slow
def test_a_state_is_saved_in_much_less_memory_than_it_takes(tmp_path):
    """On a GPU each tensor has to be copied; here each has, since none lies in its order."""
    matrix = torch.rand(1024, 4096)  # 16 MiB
    state = ({str(number): matrix.clone().t() for number in range(16)}, {})
    checkpoint = checkpoint_at(tmp_path, small_trial())
    reset_peak_memory(torch.device("cpu"))
    before = peak_memory_gib()
    checkpoint.save(state)
    assert peak_memory_gib() - before < 0.2, "a copy of all takes 0.25"
    tensors, _ = checkpoint.load()
    assert all(torch.equal(tensor, matrix.t()) for tensor in tensors.values())


def test_no_bit_of_a_checkpoint_may_flip(tmp_path, caplog):
    """Wherever it does: in the tensors, in their names, in the values beside them."""
    checkpoint = checkpoint_at(tmp_path, small_trial())
    checkpoint.save(STATE)
    file = tmp_path / "trial.safetensors"
    whole = file.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        file.write_bytes(damaged)
        if (state := checkpoint.load()) is not None:  # a blank that is padding, or a word's case
            assert state[1] == STATE[1], position
            assert all(torch.equal(state[0][name], STATE[0][name]) for name in STATE[0]), position
    assert "trial.safetensors: not this trial's checkpoint, it is damaged; starting" in caplog.text


def test_checkpoint_of_the_format_without_a_digest_is_taken(tmp_path):
    """Trials that were stopped before an upgrade go on."""
    header = {"format": "sparsweep-checkpoint-1", "trial_id": small_trial().trial_id()}
    data = save(STATE[0], header | {"values": json.dumps(STATE[1])})
    (tmp_path / "trial.safetensors").write_bytes(data)
    assert checkpoint_at(tmp_path, small_trial()).load()[1] == STATE[1]


def test_checkpoint_of_another_trial_is_not_taken(device, tmp_path, caplog):
    spec = small_trial()
    running = run_trial(spec, device, checkpoint_at(tmp_path, spec))
    run_steps(running, 2)
    assert checkpoint_at(tmp_path, spec).load() is not None
    assert checkpoint_at(tmp_path, small_trial(seed=9)).load() is None
    assert f"of trial {spec.trial_id()}" in caplog.text


def test_a_checkpoint_that_cannot_be_written_is_a_warning_and_training_goes_on(
    device, tmp_path, caplog
):
    spec = small_trial()
    folder = tmp_path / "folder"
    folder.symlink_to("nowhere")
    checkpoint = checkpoint_at(folder, spec)
    running = run_trial(spec, device, checkpoint)
    run_steps(running, 2)
    assert checkpoint.unsaved == (
        f"{folder}: checkpoints cannot be written (File exists); make room or mend the place; "
        "trials go on, but one that is stopped starts anew, or from what was saved before"
    )
    assert "trial.safetensors: no checkpoint, training goes on without: [Errno" in caplog.text

    folder.unlink()
    running.close()
    assert checkpoint.unsaved is None, "it was saved now"


def test_without_an_interval_nothing_is_saved(device, tmp_path):
    spec = small_trial()
    running = run_trial(spec, device, checkpoint_at(tmp_path, spec, every_s=None))
    run_steps(running, 2)
    running.close()
    assert list(tmp_path.iterdir()) == []


def test_state_of_another_model_is_not_taken(device, tmp_path, caplog):
    spec = small_trial()
    running = run_trial(spec, device, checkpoint_at(tmp_path, spec))
    run_steps(running, 2)
    tensors, values = checkpoint_at(tmp_path, spec).load()
    tensors.pop("model.classifier.bias")
    checkpoint_at(tmp_path, spec).save((tensors, values))
    resumed = finish(run_trial(spec, device, checkpoint_at(tmp_path, spec)))
    assert "does not fit ('classifier.bias'); starting from step 0" in caplog.text
    assert numbers(resumed) == numbers(undisturbed(spec, device))


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
    assert numbers(resumed) == numbers(undisturbed(spec, device))


# Another device


def rename_device(monkeypatch, name: str) -> None:
    monkeypatch.setattr("workers.run.name_device", lambda device: name)


def test_the_device_of_each_stretch_of_a_trial_is_recorded(device, tmp_path, monkeypatch, caplog):
    """One that goes on adds no stretch, and one that was stopped while it scored leaves none."""
    spec = small_trial()
    whole = undisturbed(spec, device)
    for name, stopped_after in (("A", 5), ("A", 9), ("B", 23), ("C", None)):
        rename_device(monkeypatch, name)
        interrupted = run_trial(spec, device, checkpoint_at(tmp_path, spec, every_s=1e9))
        if stopped_after is None:
            assert any(progress.phase == "evaluating" for progress in interrupted)
        else:
            run_steps(interrupted, stopped_after)
        interrupted.close()
    rename_device(monkeypatch, "D")
    resumed = finish(run_trial(spec, device, checkpoint_at(tmp_path, spec)))
    assert "computed on B until now, goes on on D" in caplog.text
    assert [(stretch.name, stretch.from_step) for stretch in resumed.devices] == [
        ("A", 0),
        ("B", 9),
        ("D", 23),
    ]
    assert (resumed.curve, resumed.num_resumes) == (whole.curve, 4)


def test_a_checkpoint_of_an_earlier_version_does_not_say_its_device(device, tmp_path):
    spec = small_trial()
    running = run_trial(spec, device, checkpoint_at(tmp_path, spec))
    run_steps(running, 8)
    tensors, values = checkpoint_at(tmp_path, spec).load()
    del values["devices"]
    checkpoint_at(tmp_path, spec).save((tensors, values))
    resumed = finish(run_trial(spec, device, checkpoint_at(tmp_path, spec)))
    assert [(stretch.name, stretch.from_step) for stretch in resumed.devices] == [
        ("unknown", 0),
        (resumed.device_name, values["step"]),
    ]


def test_a_checkpoint_of_another_kind_of_device_is_not_taken(device, tmp_path, caplog):
    """Dropout on a GPU draws from a generator of its own."""
    spec = small_trial()
    running = run_trial(spec, device, checkpoint_at(tmp_path, spec))
    run_steps(running, 8)
    tensors, values = checkpoint_at(tmp_path, spec).load()
    on_gpu = tensors | {"rng.cuda": torch.zeros(16, dtype=torch.uint8)}
    checkpoint_at(tmp_path, spec).save((on_gpu, values))
    anew = finish(run_trial(spec, device, checkpoint_at(tmp_path, spec)))
    message = "trial.safetensors: does not fit (a GPU computed it and a CPU goes on); starting from"
    assert message in caplog.text
    assert numbers(anew) == numbers(undisturbed(spec, device))
    assert (anew.num_resumes, len(anew.devices)) == (0, 1)
