"""The command line: exit codes, one-line errors, and what each command prints."""

import json
import os
import subprocess
import sys

import pytest

from orchestrator.cli.main import main


def run(capsys, *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(words)
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


def test_help_lists_every_command(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    commands = (
        "plan",
        "run",
        "status",
        "aggregate",
        "analyze",
        "perturb",
        "compact",
        "verify",
        "schema",
        "sweeps",
    )
    for command in (*commands, "doctor"):
        assert f"    {command} " in out or f"    {command}\n" in out


def test_schema_is_json_with_descriptions(capsys):
    schema = json.loads(run(capsys, "schema")[1])
    assert schema["$defs"]["Training"]["properties"]["lr"]["description"] == "Peak learning rate."
    assert schema["required"] == ["name", "results", "languages", "sparsities", "seeds"]


def test_schema_of_results_names_every_table(capsys):
    out = run(capsys, "schema", "--results")[1]
    for table in (
        "trials",
        "scores",
        "predictions",
        "sentences",
        "attempts",
        "quality",
        "significance",
    ):
        assert f"## {table}" in out


def test_builtin_sweeps_are_listed_and_printed(capsys):
    assert "smoke" in run(capsys, "sweeps")[1]
    assert "name: smoke" in run(capsys, "sweeps", "smoke")[1]
    code, _, err = run(capsys, "sweeps", "smok")
    assert (code, err) == (
        2,
        "sparsweep: smok: no such built-in sweep; there are: low-resource, paper-mini-mono, paper-mini-multi, "
        "paper-mono, paper-multi, smoke, xtreme-dense\n",
    )


def test_plan_shows_the_grid_and_the_counts(capsys, tmp_path):
    code, out, _ = run(capsys, "plan", "smoke", "--set", f"results={tmp_path}/r")
    assert code == 0
    assert "smoke: 24 trials, 0 completed, 0 failed, 24 new" in out
    assert out.count("0/2") == 12
    assert not (tmp_path / "r").exists(), "planning writes nothing"


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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("plan", "nowhere.yaml"), "sparsweep: nowhere.yaml: no such file; "),
        (
            ("run", "smoke", "--set", "languages=[]"),
            "smoke.yaml: languages: []: list should have at least 1 item",
        ),
        (
            ("run", "smoke", "--set", "languages=[qq]"),
            "'qq' is not in the synthetic corpus; it has ar, ",
        ),
        (
            ("status", "smoke", "--set", "results=ftp://x/y"),
            "results: ftp://x/y: not a location that is known",
        ),
        (
            ("status", "smoke", "--set", "results=s3://me:secret@x/y"),
            "the location contains credentials",
        ),
        (
            ("aggregate", "/no/such/folder"),
            "/no/such/folder: holds no results; give the results of a sweep",
        ),
        (("verify", "smoke", "/no/such/folder"), "/no/such/folder: holds no results"),
        (("compact", "."), ".: holds no results"),
        (
            ("status", "smoke", "--set", "results=README.md"),
            "results: README.md is a file; give a folder",
        ),
        (
            ("plan", "smoke", "--set", 'results="a\\0b"'),
            "a location cannot contain a null character",
        ),
        (("plan", "smoke", "--set", "model.name=~nobody-here/x"), "'~nobody-here/x' is no path"),
        (("plan", "smoke", "--set", "x=" + "[" * 3000), "nested too deeply"),
    ],
)
def test_bad_input_gets_one_line_and_exit_code_2(capsys, words, message):
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert "secret" not in err


def test_a_path_with_brackets_is_shown_as_it_is(capsys, tmp_path):
    code, out, err = run(capsys, "plan", "smoke", "--set", f"results={tmp_path}/a[sw]/b[/b]")
    assert (code, err) == (0, "")
    assert f"results in {tmp_path}/a[sw]/b[/b]" in out


def test_many_faults_are_cut_short(capsys):
    code, _, err = run(
        capsys, "plan", "smoke", "--set", f"sparsities={[2.0 + n for n in range(100)]}"
    )
    assert code == 2
    assert len(err.splitlines()) == 11
    assert err.endswith("... and 90 more\n")


def test_debug_adds_the_traceback(capsys):
    code, _, err = run(capsys, "--debug", "plan", "nowhere.yaml")
    assert code == 2
    assert "Traceback" in err


@pytest.mark.parametrize("words", ["schema", "plan smoke"])
def test_a_reader_that_leaves_early_is_no_error(words):
    command = f"{sys.executable} -m orchestrator.cli {words} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_terminal_without_these_characters_gets_question_marks(tmp_path):
    environment = os.environ | {"PYTHONIOENCODING": "latin-1"}
    command = [
        sys.executable,
        "-m",
        "orchestrator.cli",
        "plan",
        "smoke",
        "--set",
        f"results={tmp_path}/Δ",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{tmp_path}/?" in done.stdout


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


def test_plan_of_the_paper_fits_a_terminal(capsys, tmp_path):
    code, out, _ = run(capsys, "plan", "paper-mono", "--set", f"results={tmp_path}/r")
    assert code == 0
    assert "…" not in out
    assert max(map(len, out.splitlines()[:-1])) <= 80


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
    assert "leave none of the encoder's 12 linear layers; names are like encoder.layer.0" in err


def test_perturb_writes_a_test_set_to_look_at(capsys, tmp_path):
    file = tmp_path / "perturbed.tsv"
    code, out, _ = run(capsys, "perturb", "smoke", "hi", "within_language", str(file))
    assert code == 0
    assert "entities replaced, from" in out
    assert "\tB-PER\n" in file.read_text()
    draws = ("--set", "robustness.draws=2", "--draw", "1")
    run(capsys, "perturb", "smoke", "hi", "within_language", str(tmp_path / "other.tsv"), *draws)
    assert (tmp_path / "other.tsv").read_text() != file.read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("ka", "within_script", "x.tsv"),
            "ka within_script: not applicable, no other language of the corpus shares its",
        ),
        (
            ("hi", "within_language", "x.docx"),
            "x.docx: suffix '.docx' is not known; give a name that ends in .tsv or",
        ),
        (
            ("hi", "within_language", "x.tsv", "--draw", "1"),
            "draw: 1 is outside 0 to 0; robustness.draws says how many",
        ),
        (("xx", "within_language", "x.tsv"), "'xx' is not in the synthetic corpus"),
    ],
)
def test_perturbed_sets_that_cannot_be_made_are_refused(
    capsys, tmp_path, monkeypatch, words, message
):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, "perturb", "smoke", *words)
    assert (code, len(err.splitlines())) == (2, 1)
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_analysis_of_a_folder_without_results_is_refused(capsys, tmp_path):
    code, _, err = run(capsys, "analyze", str(tmp_path))
    assert (code, "holds no results; give the results of a sweep that has been run" in err) == (
        2,
        True,
    )
