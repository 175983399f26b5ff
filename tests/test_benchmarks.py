"""Benchmarks are run seldom: what they take from the sources has to be there nevertheless, and
what they train on can be made."""

import ast
import csv
import importlib
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import partial
from itertools import chain, product
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from torch import nn

from orchestrator.planning.plan import make_plan
from orchestrator.spec.sweep_spec import load_sweep_spec
from tests.benchmarks.__main__ import BENCHMARKS
from tests.factories import PRUNING, make_trial_spec
from tests.real_sweeps import TINY_MODEL
from tests.wikiann_tags import TAGS

FOLDER = Path(__file__).with_name("benchmarks")
ROOT = FOLDER.parents[1]
PACKAGES = ("orchestrator", "workers", "cluster", "tests")


@pytest.mark.parametrize("file", sorted(FOLDER.glob("[a-z]*.py")), ids=lambda file: file.name)
def test_what_a_benchmark_takes_is_there(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    modules = {}
    for node in ast.walk(tree):  # also inside functions
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in PACKAGES:
            for alias in node.names:
                taken = take(node.module, alias.name)
                if isinstance(taken, ModuleType):
                    modules[alias.asname or alias.name] = taken
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = modules.get(node.value.id)
            assert module is None or hasattr(module, node.attr), f"{module} has no {node.attr}"


def take(module: str, name: str) -> object:
    """As `from module import name` does."""
    loaded = importlib.import_module(module)
    if not hasattr(loaded, name):
        return importlib.import_module(f"{module}.{name}")
    return getattr(loaded, name)


def test_rows_of_the_kernels_benchmark_are_whole():
    from tests.benchmarks.kernels import random_rows

    split = random_rows(64, 24, 1000)
    assert (split.num_sequences, set(split.lengths), len(split.word_labels)) == (64, {24}, 64 * 24)

    split = random_rows(64, 24, 1000, shortest=8)
    assert (split.num_sequences, split.lengths.min(), split.lengths.max()) == (64, 8, 24)


def test_launches_are_counted_along_the_gradients_of_autograd():
    from tests.benchmarks.launches import Count, Engine

    torch.manual_seed(0)
    layers = nn.Sequential(nn.Embedding(9, 8), nn.Linear(8, 8), nn.LayerNorm(8), nn.Tanh())
    gate, ids = nn.Linear(8, 8), torch.tensor([[1, 2, 1], [8, 0, 3]])
    weights = [*layers.parameters(), *gate.parameters()]

    def loss() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            hidden = layers(ids)
            return (layers[1](hidden) * gate(hidden) + hidden).float().square().mean()

    loss().backward()
    wanted = [weight.grad for weight in weights]
    for weight in weights:
        weight.grad = None
    with Count() as count:
        count.weights = {id(weight) for weight in weights}
        Engine(count).backward(loss())
    assert all(torch.equal(a, b.grad) for a, b in zip(wanted, weights, strict=True))
    assert count.counts["forward", "casts of weights"] == 4, "both are cast once"
    assert count.counts["backward", "casts of weights"] == 4
    assert count.counts["backward", "other"] >= 9


@pytest.mark.slow
def test_a_training_step_launches_what_results_say():
    from tests.benchmarks.launches import launches

    stated = (ROOT / "RESULTS.md").read_text(encoding="utf-8")
    sums = [one for one in launches() if one.what.startswith("operations of")]
    assert len(sums) == 2
    for one in sums:
        assert f"| {one.what}, counted | {one.median:.0f} |" in stated


SMI = """#!/bin/sh
echo "$@" >> {folder}/asked
echo '580.65.06, 1980, 1980, 2619, 700.00, Disabled, Default'
"""


def test_the_state_of_a_gpu_stands_beside_its_figures(tmp_path, monkeypatch):
    from tests.benchmarks.measurement import Measurement, gpu_state, write_csv

    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
    (tmp_path / "nvidia-smi").write_text(SMI.format(folder=tmp_path))
    (tmp_path / "nvidia-smi").chmod(0o755)
    state = gpu_state()
    assert (state["driver"], state["clock_mhz"], state["mig"]) == ("580.65.06", "1980", "Disabled")
    assert state["mps"] in ("True", "False")
    assert "--id=3 --query-gpu=driver_version,clocks.sm," in (tmp_path / "asked").read_text()
    file = tmp_path / "bench-gpu.csv"
    write_csv(file, [("steps", Measurement(what="a step", values=(1.0,), unit="s"))])
    (row,) = csv.DictReader(file.read_text().splitlines())
    assert (row["what"], row["driver"], row["compute_mode"]) == ("a step", "580.65.06", "Default")


def test_without_a_gpu_its_state_is_empty(monkeypatch, tmp_path):
    from tests.benchmarks.measurement import gpu_state

    monkeypatch.setenv("PATH", str(tmp_path))
    assert set(gpu_state().values()) == {""}


TINY = ("languages=[ka]", "sparsities=[0.5]", "seeds=[0,1]", "training.num_steps=2")
SHAPES = [(64, 32), (32, 64)]
SMALL = {
    "__main__": {"REPEATS": 1, "QUEUED_SEEDS": 2},
    "stored": {"NUM_SEEDS": 1, "REPEATS": 1},
    "evaluation": {"NUM_SENTENCES": 20, "REPEATS": 1},
    "analysis": {"NUM_SENTENCES": 20, "NUM_LANGUAGES": 3},
    "report": {"NUM_SENTENCES": 20, "NUM_LANGUAGES": 3, "CHOICES": 1},
    "kernels": {
        "SHAPES": SHAPES,
        "NUM_WEIGHTS": sum(rows * columns for rows, columns in SHAPES),
        "REPEATS": 1,
        "NUM_TRAINING_STEPS": 11,
        "MBERT": {
            "vocab_size": 100,
            "intermediate_size": 32,
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
        },
    },
    "kept_models": {
        "REPEATS": 1,
        "CHANGED_ROWS": 20,
        "MBERT": {
            "vocab_size": 100,
            "intermediate_size": 32,
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
        },
    },
}
"""What the benchmarks measure, as little of it as can be; by module."""

NOT_SMALL = {"driver", "smoke", "sharing", "launches", "many_workers"}
"""Benchmarks that start Ray or a process; tests of their own run what they consist of."""
QUICK = {"scoring", "storing", "perturbing"}


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Benchmarks of as little as can be, on the embedded corpus."""
    from orchestrator.results import store

    for module, values in SMALL.items():
        for name, value in values.items():
            monkeypatch.setattr(importlib.import_module(f"tests.benchmarks.{module}"), name, value)
    monkeypatch.setattr(store, "COMPACT_EVERY_ATTEMPTS", 12)
    monkeypatch.setenv("SPARSWEEP_TEST_DATA", str(tmp_path))


@pytest.mark.usefixtures("process_as_before", "small")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in sorted(BENCHMARKS.keys() - NOT_SMALL)
    ],
)
def test_the_smallest_work_of_a_benchmark_is_done(name):
    measured = list(BENCHMARKS[name]())
    assert measured
    assert all(one.median >= 0 for one in measured)


def test_workers_are_busy_from_when_all_are_there_until_the_first_is_done():
    from tests.benchmarks.many_workers import Sleep, all_at_work, busy_share

    always = [Sleep(0, 10, 10), Sleep(11, 21, 10), Sleep(22, 32, 10)]
    half_of_one = [Sleep(4, 14, 5), Sleep(14, 24, 10)]
    sleeps = [always, half_of_one]
    assert all_at_work(sleeps) == (4, 24)
    assert busy_share(sleeps) == pytest.approx((6 + 10 + 2 + 5 + 10) / 40)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["coverage", "mixed", "few", "worst"])
def test_the_smallest_work_of_a_part_of_the_statistics_is_done(part, monkeypatch):
    from tests.benchmarks import statistics

    monkeypatch.setattr(statistics, "NUM_LANGUAGES", 2)
    monkeypatch.setattr(statistics, "SIZES", (20,))
    monkeypatch.setattr(statistics, "MIXED_SIZES", (20, 40))
    lines = list(statistics.PARTS[part](1))
    columns = {line.count("|") for line in lines[:-1]}
    assert len(columns) == 1, "a table of Markdown"
    assert "simulation error" in lines[-1]
    assert "nan" not in " ".join(lines)


@pytest.mark.parametrize("part", ["false_positives", "exchanged_seeds"])
def test_the_smallest_work_of_a_part_about_tests_is_done(part, monkeypatch):
    from tests.benchmarks import false_positives, statistics

    monkeypatch.setattr(false_positives, "DRAWS_PER_SET", 1)
    monkeypatch.setattr(false_positives, "MODELS_PER_SET", 1)
    monkeypatch.setattr(false_positives, "SHARES", (0.5,))
    lines = list(statistics.PARTS[part](1))
    assert len({line.count("|") for line in lines[:-1]}) == 1, "a table of Markdown"
    assert "simulation error" in lines[-1]
    assert "nan" not in " ".join(lines)


@pytest.mark.slow
def test_the_command_drives_a_few_trials_and_writes_its_figures(tmp_path):
    changed = f"""
from orchestrator.spec.sweep_spec import load_sweep_spec
from tests.benchmarks import __main__ as benchmarks, stored
stored.many_trials = lambda num_seeds: load_sweep_spec("smoke", {[*TINY, "results=unused"]})
benchmarks.sys.exit(benchmarks.main())
"""
    command = [sys.executable, "-c", changed]
    file = tmp_path / "bench.csv"
    done = subprocess.run(
        [*command, "driver", "--csv", str(file)], cwd=ROOT, capture_output=True, text=True
    )
    assert f"written to {file}" in done.stdout, done.stderr
    assert "Traceback" not in done.stderr
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert [(row["benchmark"], row["unit"]) for row in rows] == [("driver", "s"), ("driver", "x")]


@pytest.mark.slow
def test_the_smallest_work_of_the_benchmark_of_sharing_a_gpu_is_done(monkeypatch):
    import torch

    from tests.benchmarks import __main__ as benchmarks

    assert benchmarks.trials_an_hour(*TINY, "resources.gpus_per_trial=0") > 0
    asked = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(benchmarks, "trials_an_hour", lambda *words: asked.append(words) or 1.0)
    assert len(list(benchmarks.sharing())) == 3
    for words in asked:
        load_sweep_spec("smoke", list(words))
    assert asked[2][-1] == "resources.gpus_per_trial=0.25"


@pytest.fixture
def process_as_before():
    """What a benchmark sets in its process does not reach other tests."""
    import torch

    num_threads = torch.get_num_threads()
    yield
    torch.set_num_threads(num_threads)
    if torch.are_deterministic_algorithms_enabled():  # to ask is quick, to set is not
        torch.use_deterministic_algorithms(False)


@pytest.mark.slow
@pytest.mark.usefixtures("process_as_before")
def test_the_smallest_work_of_the_peers_benchmark_trains():
    from tests.benchmarks.peers import WARM_UP, Clock, make_work, train_ours

    work, clock = make_work(WARM_UP), Clock()
    train_ours(work, clock)
    assert set(work.split.lengths) == {16}
    assert work.split.num_sequences % work.spec.training.batch_size == 0
    assert len(clock.step_s) == WARM_UP.num_steps


def test_the_peer_of_whole_sweeps_prunes_along_the_same_schedule():
    from tests.benchmarks.sweep import Work
    from tests.benchmarks.tune_and_trainer import sparsity_at
    from workers.pruning.schedule import Schedule

    work = Work(corpus=FOLDER, encoder=TINY_MODEL, init="random")
    spec = make_trial_spec(target_sparsity=0.7, pruning=replace(PRUNING, **work.pruning))
    for num_steps in (1, 4, 12, 50):
        schedule = Schedule.from_spec(spec, num_steps)
        for step in range(num_steps + 1):
            theirs = sparsity_at(step, num_steps, 0.7, work.pruning)
            ours = schedule.sparsity(step) if schedule.is_due(step) else None
            assert theirs == (ours and pytest.approx(ours)), (num_steps, step)


@pytest.mark.slow
def test_the_peer_of_whole_sweeps_has_the_same_subwords_and_prunes_the_same_weights():
    from transformers import AutoTokenizer

    from tests.benchmarks.tune_and_trainer import encode, make_model, make_pruning
    from workers.data import align
    from workers.data.corpus import load_sentences
    from workers.pruning.scope import prunable_weights

    sentences = load_sentences(make_trial_spec().corpus, "ka", "test")
    tokenizer = AutoTokenizer.from_pretrained(TINY_MODEL)
    theirs = encode(sentences.tokens, sentences.labels, tokenizer, 128)
    ours = align.encode(sentences, tokenizer, 128)
    assert list(chain(*theirs["input_ids"])) == ours.input_ids.tolist()
    assert list(chain(*theirs["labels"])) == ours.labels.tolist()

    model = make_model(str(TINY_MODEL), "random")
    pruning = make_pruning(model, 0.7, {})
    pruning.prune_to(0.3)
    pruning.prune_to(0.7)
    pruning.on_train_end(None, None, None)
    weights = prunable_weights(model, None).values()
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    assert zeros == round(0.7 * sum(weight.numel() for weight in weights))
    assert pruning.achieved == pytest.approx(0.7, abs=1e-4)


def test_a_whole_sweep_is_set_beside_the_peer_in_the_same_precision():
    from tests.benchmarks.sweep import Outcome, make_table, measurements

    f1 = {("yo", 0.0): 0.7, ("yo", 0.7): 0.6}
    outcomes = {
        "peer, float32": [Outcome(100.0, 150.0, 2.0, f1), Outcome(110.0, 150.0, 2.0, f1)],
        "sparsweep, float32": [Outcome(50.0, 60.0, 1.0, f1), Outcome(44.0, 60.0, 1.0, f1)],
    }
    measured = list(measurements(outcomes))
    medians = {one.what: one.median for one in measured}
    assert medians["sparsweep, float32: seconds / the peer's"] == pytest.approx(0.45)
    assert medians["sparsweep, float32: cpu_seconds / the peer's"] == pytest.approx(0.4)
    assert medians["sparsweep, float32: peak_gib / the peer's"] == 0.5
    assert medians["peer, float32: yo 0.7"] == 0.6
    assert make_table(outcomes, measured).row_count == 2


@pytest.fixture
def tiny_work(tmp_path):
    """Two languages and two epochs of a little corpus in the hub's layout."""
    from tests.benchmarks.sweep import Work
    from workers.data.synthetic import make_sentences

    for language, split in product(("ka", "bn"), ("train", "validation", "test")):
        tokens, tags = make_sentences(language, split, 0)
        labels = [[TAGS.index(tag) for tag in sentence] for sentence in tags]
        (tmp_path / language).mkdir(exist_ok=True)
        rows = pa.table({"tokens": tokens, "ner_tags": labels})
        pq.write_table(rows, tmp_path / language / f"{split}-00000-of-00001.parquet")
    return Work(
        corpus=tmp_path,
        encoder=TINY_MODEL,
        init="random",
        languages=("ka", "bn"),
        num_epochs=2,
    )


@pytest.mark.slow
def test_what_a_command_and_its_processes_use_is_seen(tmp_path, monkeypatch):
    from tests.benchmarks import sweep

    monkeypatch.setattr(sweep, "LOOK_EVERY_S", 0.02)
    work = "x = b'1' * 2**28\nimport time\nwhile time.process_time() < 0.6: pass"
    program = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    seconds, cpu_s, peak_gib = sweep.watched([sys.executable, "-c", program, work], tmp_path)
    assert seconds > 0.6
    assert cpu_s > 0.4
    assert 0.25 < peak_gib < 0.5


def test_a_whole_sweep_is_one_that_can_be_planned(tiny_work, tmp_path):
    file = tmp_path / "sweep.yaml"
    file.write_text(yaml.safe_dump(tiny_work.as_sweep(tmp_path / "results")))
    trials = [trial.spec for trial in make_plan(load_sweep_spec(str(file)))]
    assert {(trial.language, trial.target_sparsity) for trial in trials} == set(
        product(tiny_work.languages, tiny_work.sparsities)
    )
    assert {trial.training.num_epochs for trial in trials} == {2}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["peer", "sparsweep"])
def test_the_smallest_whole_sweep_is_measured(tiny_work, name):
    if name == "peer":
        pytest.importorskip("accelerate")
    from tests.benchmarks import sweep

    commands = {"peer": sweep.run_peer, "sparsweep": partial(sweep.run_sparsweep, ROOT)}
    with tempfile.TemporaryDirectory(prefix="s") as folder:  # sockets need short paths
        found = commands[name](replace(tiny_work, precision="bfloat16"), Path(folder))
    assert found.seconds > 1
    assert found.cpu_seconds > 1
    assert 0.1 < found.peak_gib < 8
    assert all(0 <= f1 <= 1 for f1 in found.f1.values())


@pytest.mark.slow
@pytest.mark.usefixtures("process_as_before")
@pytest.mark.parametrize("name", ["plain", "torch.nn.utils.prune", "torch.ao.pruning"])
def test_the_smallest_work_of_a_peer_in_the_trainer_is_done(name):
    pytest.importorskip("accelerate")
    from tests.benchmarks.peers import PEERS, WARM_UP, Clock, make_work

    work, clock = make_work(WARM_UP), Clock()
    PEERS[name](work, clock)
    assert len(clock.step_s) == WARM_UP.num_steps
    zeros = sum(int((module.weight == 0).sum()) for module in work.linears().values())
    assert (zeros > 0) == (name != "plain") == bool(clock.update_s)
