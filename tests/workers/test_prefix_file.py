"""Trials that start from the state of another one come to the same bits."""

import json
import logging
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tests.workers.trials import (
    checkpoint_at,
    evaluation_of,
    finish,
    numbers,
    run_steps,
    small_trial,
    training_of,
    two_languages,
    undisturbed,
)
from workers import prefix_file
from workers.prefix_file import PrefixFile
from workers.pruning.prefix import SharedPrefix, prefix_id
from workers.run import prepare_process, run_trial
from workers.storage import Location
from workers.trial import TrialSpec

UNPRUNED = 6
"""Steps of a small trial before something is pruned: it begins after 2, with nothing."""


@pytest.fixture(autouse=True)
def worth_it(monkeypatch):
    """However short the steps were."""
    monkeypatch.setattr(prefix_file, "WORTH_BYTES_PER_S", float("inf"))


def pruned(spec: TrialSpec, sparsity: float = 0.5, **changes) -> TrialSpec:
    return replace(spec, target_sparsity=sparsity, pruning=replace(spec.pruning, **changes))


def dense(spec: TrialSpec) -> TrialSpec:
    return spec.dense_counterpart()


def prefix_of(tmp_path, spec: TrialSpec, num_steps: int = UNPRUNED) -> PrefixFile:
    shared = SharedPrefix(prefix_id(spec), num_steps)
    return PrefixFile(Location.parse(str(tmp_path / f"{shared.prefix_id}.safetensors")), shared)


def leave(tmp_path, spec: TrialSpec, device) -> PrefixFile:
    """The file that a trial leaves, which goes on to its end undisturbed."""
    prefix = prefix_of(tmp_path, spec)
    left = finish(run_trial(spec, device, prefix=prefix))
    assert numbers(left) == numbers(undisturbed(spec, device))
    assert (tmp_path / prefix.location.name).is_file()
    assert left.shared_steps == 0
    return prefix


def change(prefix: PrefixFile, **values) -> None:
    """Give the file other values, under a digest that fits."""
    tensors, old = prefix._file.load()
    prefix._file.write((tensors, old | values))


BASE = small_trial()
SCORED = small_trial(pruning=replace(BASE.pruning, saliency="movement"))


@pytest.mark.parametrize(
    ("first", "others"),
    [
        pytest.param(
            BASE,
            [dense(BASE), pruned(BASE, 0.9), pruned(BASE, scope="layer", saliency="random")],
            id="pruned first",
        ),
        pytest.param(dense(BASE), [BASE], id="dense first"),
        pytest.param(
            pruned(BASE, semantics="dense_shadow"),
            [BASE, pruned(BASE, granularity="n_of_m", n_of_m=(2, 4), scope="layer")],
            id="shadow first",
        ),
        pytest.param(
            pruned(BASE, embedding_sparsity=0.5),
            [pruned(BASE, 0.9, embedding_sparsity=0.9), BASE, dense(BASE)],
            id="embeddings first",
        ),
        pytest.param(
            dense(BASE),
            [pruned(BASE, embedding_sparsity=0.5), pruned(BASE, prune_head=True)],
            id="embeddings and other layers after",
        ),
        pytest.param(
            training_of(dense(BASE), weight_decay=0.0, precision="bfloat16"),
            [
                training_of(
                    pruned(BASE, embedding_sparsity=0.5), weight_decay=0.0, precision="bfloat16"
                )
            ],
            id="embeddings after, without decay",
        ),
        pytest.param(
            training_of(pruned(BASE, embedding_sparsity=0.5), weight_decay=0.0),
            [training_of(dense(BASE), weight_decay=0.0)],
            id="embeddings first, without decay",
        ),
        pytest.param(
            pruned(BASE, embedding_sparsity=0.5, granularity="block", block_shape=(4, 1)),
            [pruned(BASE, 0.9, embedding_sparsity=0.9, granularity="block", block_shape=(8, 1))],
            id="blocks of embeddings",
        ),
        pytest.param(SCORED, [pruned(SCORED, 0.9)], id="scores by gradient"),
        pytest.param(
            evaluation_of(BASE, selection="best_epoch"),
            [evaluation_of(pruned(BASE, 0.9), selection="best_epoch")],
            id="best epoch",
        ),
        pytest.param(
            evaluation_of(BASE, selection="best_epoch", select_after=0.7),
            [evaluation_of(dense(BASE), selection="best_epoch", select_after=0.7)],
            id="best epoch after pruning",
        ),
        pytest.param(
            training_of(BASE, weight_decay=0.0),
            [training_of(dense(BASE), weight_decay=0.0)],
            id="without decay",
        ),
        pytest.param(
            training_of(BASE, precision="bfloat16"),
            [training_of(dense(BASE), precision="bfloat16")],
            id="bfloat16",
        ),
        pytest.param(two_languages(), [dense(two_languages())], id="two languages"),
    ],
)
def test_siblings_start_from_what_the_first_left(device, tmp_path, first, others):
    leave(tmp_path, first, device)
    for spec in others:
        assert prefix_id(spec) == prefix_id(first)
        result = finish(run_trial(spec, device, prefix=prefix_of(tmp_path, spec)))
        assert numbers(result) == numbers(undisturbed(spec, device)), spec.describe()
        assert (result.shared_steps, result.num_resumes) == (UNPRUNED, 0)
        assert 0 < result.train_s < 10


@pytest.mark.parametrize("stopped_at", [UNPRUNED - 1, UNPRUNED, UNPRUNED + 1])
def test_trial_that_shared_its_first_steps_resumes(device, tmp_path, stopped_at):
    """Stopped before, at and after the last of them, with the file and without."""
    spec = pruned(BASE, 0.9)
    prefix = leave(tmp_path, BASE, device)
    for number, is_there in enumerate([True, False]):
        checkpoint = checkpoint_at(tmp_path / str(number), spec, every_s=1e9)
        running = run_trial(spec, device, checkpoint, prefix=prefix if is_there else None)
        run_steps(running, max(stopped_at, UNPRUNED + 1) if is_there else stopped_at)
        running.close()
        result = finish(run_trial(spec, device, checkpoint, prefix=prefix))
        assert numbers(result) == numbers(undisturbed(spec, device))
        assert (result.shared_steps, result.num_resumes) == (UNPRUNED if is_there else 0, 1)


def test_first_that_was_stopped_before_leaves_it_later(device, tmp_path):
    prefix, checkpoint = prefix_of(tmp_path, BASE), checkpoint_at(tmp_path, BASE)
    running = run_trial(BASE, device, checkpoint, prefix=prefix)
    run_steps(running, UNPRUNED - 2)
    running.close()
    assert not (tmp_path / prefix.location.name).exists()
    finish(run_trial(BASE, device, checkpoint, prefix=prefix))
    result = finish(run_trial(dense(BASE), device, prefix=prefix))
    assert result.shared_steps == UNPRUNED
    assert numbers(result) == numbers(undisturbed(dense(BASE), device))


def test_dense_trial_leaves_it_where_the_first_sibling_prunes(device, tmp_path):
    prefix = prefix_of(tmp_path, BASE, num_steps=3)
    finish(run_trial(dense(BASE), device, prefix=prefix))
    result = finish(run_trial(BASE, device, prefix=prefix))
    assert result.shared_steps == 3
    assert numbers(result) == numbers(undisturbed(BASE, device))


def truncate(prefix, file):
    file.write_bytes(file.read_bytes()[:-100])


def flip(prefix, file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def empty(prefix, file):
    file.write_bytes(b"")


def of_another_trial(prefix, file):
    with safe_open(file, "pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in list(opened.keys())}
        header = opened.metadata()
    save_file(tensors, file, header | {"trial_id": "0" * 16})


def of_another_code(prefix, file):
    _, values = prefix._file.load()
    change(prefix, maker=[*values["maker"][:-1], "sparsweep 0.0.1"])


def of_another_device(prefix, file):
    _, values = prefix._file.load()
    change(prefix, maker=["NVIDIA H100", *values["maker"][1:]])


def of_a_later_step(prefix, file):
    change(prefix, step=UNPRUNED + 1)


def without_a_step(prefix, file):
    tensors, values = prefix._file.load()
    del values["step"]
    prefix._file.write((tensors, values))


def of_another_model(prefix, file):
    tensors, values = prefix._file.load()
    name = next(name for name in tensors if name.startswith("model.") and tensors[name].ndim == 2)
    prefix._file.write((tensors | {name: tensors[name][:1]}, values))


def of_no_file(prefix, file):
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize(
    "spoil",
    [
        *(truncate, flip, empty, of_another_trial, of_another_code, of_another_device),
        *(of_a_later_step, without_a_step, of_another_model, of_no_file),
    ],
)
def test_file_that_does_not_serve_is_computed(device, tmp_path, spoil, caplog):
    prefix = leave(tmp_path, BASE, device)
    spoil(prefix, tmp_path / prefix.location.name)
    spec = pruned(BASE, 0.9)
    with caplog.at_level(logging.INFO, "workers"):
        result = finish(run_trial(spec, device, prefix=prefix))
    assert result.shared_steps == 0
    assert numbers(result) == numbers(undisturbed(spec, device))
    assert str(prefix.location) in caplog.text


@pytest.mark.slow
def test_other_threads_are_other_bits(tmp_path):
    prefix = leave(tmp_path, BASE, prepare_process(1, use_gpu=False))
    try:
        device = prepare_process(2, use_gpu=False)
        assert finish(run_trial(dense(BASE), device, prefix=prefix)).shared_steps == 0
    finally:
        torch.set_num_threads(1)


def test_steps_that_are_quicker_than_a_file_are_not_shared(device, tmp_path, monkeypatch):
    monkeypatch.setattr(prefix_file, "WORTH_BYTES_PER_S", 1.0)
    prefix = prefix_of(tmp_path, BASE)
    finish(run_trial(BASE, device, prefix=prefix))
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_written_costs_time_only(device, tmp_path, caplog):
    (tmp_path / "in the way").write_text("")
    prefix = prefix_of(tmp_path / "in the way", BASE)
    assert numbers(finish(run_trial(BASE, device, prefix=prefix))) == numbers(
        undisturbed(BASE, device)
    )
    assert "no checkpoint" not in caplog.text
    assert str(prefix.location) in caplog.text


def test_values_are_json(device, tmp_path):
    prefix = leave(tmp_path, BASE, device)
    with safe_open(tmp_path / prefix.location.name, "pt") as opened:
        names, values = set(opened.keys()), json.loads(opened.metadata()["values"])
    assert not [name for name in names if "mask" in name]
    assert values["step"] == UNPRUNED
