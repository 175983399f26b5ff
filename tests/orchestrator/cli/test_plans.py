"""The command that says what is ahead of a sweep."""

import json
import os
import subprocess
import sys

import pytest

from tests.benchmarks.analysis import make_results
from tests.orchestrator.cli.command import run


def test_plan_shows_the_grid_and_the_counts(capsys, tmp_path):
    code, out, _ = run(capsys, "plan", "smoke", "--set", f"results={tmp_path}/r")
    assert code == 0
    assert "smoke: 24 trials, 0 completed, 0 failed, 24 new" in out
    assert out.count("0/2") == 12
    assert not (tmp_path / "r").exists(), "planning writes nothing"


def test_plan_warns_of_few_steps_and_goes_on(capsys, tmp_path):
    words = ("plan", "smoke", "--set", f"results={tmp_path}/r", "--set")
    code, out, _ = run(capsys, *words, "training.num_steps=40")
    assert code == 0
    assert len([line for line in out.splitlines() if "fewer than" in line]) == 3
    code, out, _ = run(capsys, *words, "training.num_steps=300")
    assert (code, "fewer than" in out) == (0, False)


def test_plan_says_what_does_not_apply_to_languages_that_nobody_knows(capsys, tmp_path):
    text = "token\tB-PER\n"
    for split in ("train", "validation", "test"):
        (tmp_path / "xx").mkdir(exist_ok=True)
        (tmp_path / "xx" / f"{split}.tsv").write_text(text)
    spec = tmp_path / "sweep.yaml"
    spec.write_text(
        f"name: other\nresults: {tmp_path}/r\nlanguages: [xx]\nsparsities: [0]\nseeds: [0]\n"
        f"corpus: {{path: {tmp_path}}}\nmodel: {{name: some/encoder}}\n"
    )
    code, out, _ = run(capsys, "plan", str(spec))
    assert (code, "script and family of xx: not known" in out) == (0, True)
    described = "language_table={xx: {script: Latn, family: Xian}}"
    code, out, _ = run(capsys, "plan", str(spec), "--set", described)
    assert (code, "not known" in out) == (0, False)


@pytest.mark.slow
def test_a_planned_trial_runs_by_itself(capsys, tmp_path):
    sets = (
        "--set",
        "languages=[ka]",
        "--set",
        "sparsities=[0.5]",
        "--set",
        "seeds=[3]",
        "--set",
        "training.num_steps=2",
    )
    trial = json.loads(run(capsys, "plan", "smoke", *sets, "--json")[1])["trials"][0]
    (tmp_path / "trial.json").write_text(json.dumps(trial["spec"]))
    command = [sys.executable, "-m", "workers.run", str(tmp_path / "trial.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["achieved_sparsity"] == 0.5


def test_a_path_with_brackets_is_shown_as_it_is(capsys, tmp_path):
    code, out, err = run(capsys, "plan", "smoke", "--set", f"results={tmp_path}/a[sw]/b[/b]")
    assert (code, err) == (0, "")
    assert f"results in {tmp_path}/a[sw]/b[/b]" in out


def test_plan_has_a_row_for_pruned_embeddings(capsys, tmp_path):
    words = (
        "plan",
        "smoke",
        "--set",
        f"results={tmp_path}/r",
        "--set",
        "pruning.embedding_sparsity=[off, same, 0.3]",
    )
    code, out, _ = run(capsys, *words)
    assert code == 0
    rows = [line.split() for line in out.splitlines()]
    assert ["language", "embeddings", "0", "0.5", "0.9"] in rows
    at = rows.index(["en", "dense", "0/2", "0/2", "0/2"])
    assert rows[at + 1 : at + 3] == [
        ["pruned", "0/2", "0/2"],
        ["pruned", "to", "0.3", "0/2", "0/2"],
    ]


@pytest.mark.slow
def test_plan_of_the_paper_fits_a_terminal(capsys, tmp_path):
    code, out, _ = run(capsys, "plan", "paper-mono", "--set", f"results={tmp_path}/r")
    assert code == 0
    assert "…" not in out
    assert "memory of a trial: " in out
    before, counts, _ = out.partition("paper-mono: 1800 trials")
    assert counts, "from there on a line is as long as what it says"
    assert max(map(len, before.splitlines())) <= 80


def test_plan_compares_memory_with_this_machine_and_with_a_profile(capsys, monkeypatch, tmp_path):
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\ncase $1 in *uuid*) echo GPU-1;; *) echo 16384;; esac\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    words = ("smoke", "--set", f"results={tmp_path}/r", "--set", "resources.gpus_per_trial=0.01")
    code, out, err = run(capsys, "plan", *words)
    said = " ".join(out.split())
    assert (code, err) == (0, "")
    assert "0.5 GiB of a GPU, estimated (it may fill 0.01 of the 16 GiB here, 0.2 GiB)" in said
    assert "0.01 of a GPU with 16 GiB is 0.2 GiB, and a trial takes 0.5 GiB without its" in said
    for place in ("slurm", "local"):
        said = " ".join(run(capsys, "plan", *words, "--on", place)[1].split())
        assert said.count("without its batches; give it") == 1
        assert ("(A100, assumed)" in said) == (place == "slurm")
        assert ("of the 16 GiB here" in said) == (place == "local")
    large = ("--set", "clusters.large={backend: slurm, gpu_memory_gib: 80}", "--on", "large")
    assert "(it may fill 0.01 of the 80 GiB there, 0.8 GiB)" in " ".join(
        run(capsys, "plan", *words, *large)[1].split()
    )
    assert json.loads(run(capsys, "plan", *words, "--on", "slurm", "--json")[1])["estimate"][
        "outlook"
    ]["memory"]


def test_plan_refuses_mps_where_trials_share_no_gpu(capsys, tmp_path):
    words = ("--set", f"results={tmp_path}/r", "--set", "clusters.mine={backend: local, mps: true}")
    code, _, err = run(capsys, "plan", "smoke", *words, "--on", "mine")
    assert (code, err.count("\n")) == (2, 1)
    assert "mps: trials do not share a GPU (resources.gpus_per_trial: not given, so a whole" in err
    shared = ("--set", "resources.gpus_per_trial=0.25")
    assert run(capsys, "plan", "smoke", *words, *shared, "--on", "mine")[0] == 0


def test_plan_of_several_languages_together_has_one_row(capsys, tmp_path):
    code, out, _ = run(
        capsys, "plan", "smoke", "--set", f"results={tmp_path}/r", "--set", "regime=multilingual"
    )
    assert code == 0
    assert "multilingual" in out
    assert "smoke: 6 trials" in out


def test_plan_names_the_weights_that_a_pattern_finds(capsys, tmp_path):
    settings = (
        "--set",
        f"results={tmp_path}/r",
        "--set",
        "pruning={include: [attention], exclude: [key]}",
    )
    code, out, _ = run(capsys, "plan", "smoke", *settings)
    assert code == 0
    lines = [line.strip() for line in out.splitlines() if line.startswith("  encoder")]
    assert lines == [
        "encoder.layer.{0-1}.attention.self.query.weight 128x128 x2",
        "encoder.layer.{0-1}.attention.self.value.weight 128x128 x2",
        "encoder.layer.{0-1}.attention.output.dense.weight 128x128 x2",
    ]
    with_head = run(capsys, "plan", "smoke", "--weights", "--set", "pruning.prune_head=true")[1]
    assert "classifier.weight 7x128 x1" in with_head


def test_patterns_that_find_nothing_are_refused(capsys, tmp_path):
    settings = ("--set", f"results={tmp_path}/r", "--set", "pruning.include=[decoder]")
    code, _, err = run(capsys, "plan", "smoke", *settings)
    assert code == 2
    assert "pruning.include: ['decoder']" in err
    assert "leave none of the encoder's 12 linear layers; correct them, names are like" in err


@pytest.mark.slow
def test_plan_says_how_many_seeds_and_sentences_see_a_change(capsys, tmp_path):
    make_results(str(tmp_path), ("de", "my"), sparsities=(0.5, 0.9), seeds=(0, 1), num_sentences=20)
    words = ["plan", "smoke", "--set", f"results={tmp_path}", "--power"]
    code, out, _ = run(capsys, *words, "0.01")
    assert code == 0
    for words_of_it in ("seeds needed", "smallest change that is seen now", "mean dense"):
        assert words_of_it in out
    code, out, _ = run(capsys, *words, "0.01", "--json")
    assert {row["language"] for row in json.loads(out)["power"]} == {"de", "my", "mean"}
    for given, message in (
        ("much", "--power: 'much' is no number; give one such as 0.01"),
        ("2", "power: 2 is no change of F1; give a number above 0 and below 1, such as 0.01"),
    ):
        assert run(capsys, *words, given)[::2] == (2, f"sparsweep: {message}\n")
    words[3] = f"results={tmp_path}/none"
    code, _, err = run(capsys, *words, "0.01")
    assert (code, "no trials, run or planned" in err) == (2, True)
