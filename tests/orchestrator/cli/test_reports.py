"""The command that makes the report."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

import pytest

from orchestrator.results.store import ResultStore
from tests.factories import make_circumstances, make_trial_result, make_trial_spec
from tests.orchestrator.cli.command import run


@pytest.fixture
def results(tmp_path):
    """A folder with one trial."""
    store = ResultStore(str(tmp_path / "results"))
    spec = make_trial_spec()
    store.commit_completed(spec, make_trial_result(), **make_circumstances())
    store.write_plan("demo", [spec])
    return tmp_path / "results"


@pytest.mark.slow
def test_a_report_of_one_trial_is_one_file(capsys, results, tmp_path):
    code, out, err = run(capsys, "report", str(results))
    assert (code, err) == (0, "")
    assert out == f"Report: {results}/report.html\n"
    assert (results / "report.html").read_text().startswith("<!DOCTYPE html>")
    code, out, _ = run(capsys, "report", str(results), "--out", str(tmp_path / "there" / "a.html"))
    assert (code, out) == (0, f"Report: {tmp_path}/there/a.html\n")


def test_a_folder_without_results_is_refused(capsys, tmp_path):
    code, out, err = run(capsys, "report", str(tmp_path))
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "holds no results; give the results of a sweep that has been run" in err


@pytest.mark.slow
def test_figures_are_files_with_names_that_stay(capsys, results, tmp_path):
    folder = tmp_path / "figures"
    words = ["report", str(results), "--figures", str(folder), "--theme", "dark"]
    code, out, err = run(capsys, *words, "--only", "trials", "f1-by-language")
    assert (code, err) == (0, "")
    stems = ("trials", "f1-by-language-monolingual-dense")
    assert out.splitlines() == [f"{folder}/{stem}: pdf, svg, png, tex, csv" for stem in stems]
    assert {file.stem for file in folder.iterdir()} == set(stems)
    assert len(list(folder.iterdir())) == 10
    assert not (results / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--figures", "x", "--only", "f1-by-lang"),
            "--only: no figure 'f1-by-lang'; did you mean",
        ),
        (
            ("--figures", "x", "--theme", "papper"),
            "--theme: no theme 'papper'; did you mean paper?",
        ),
        (("--only", "trials"), "--only: is for --figures FOLDER; give that, too"),
        (("--theme", "dark"), "--theme: is for --figures FOLDER"),
        (("--figures", "x", "--out", "a.html"), "--out: is for a page that is written"),
        (("--port", "80"), "--port: is for --live"),
        (("--live", "--figures", "x"), "--live: serves the page; give it or --figures"),
        (("--live", "--port", "http"), "--port: 'http' is no port"),
        (("--live", "--every", "0"), "--every: 0; give seconds, at least 1"),
        (("--live", "--every", "nan"), "--every: nan; give seconds"),
    ],
)
def test_options_that_would_not_be_heeded_are_refused(capsys, results, words, message):
    code, out, err = run(capsys, "report", str(results), *words)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith(f"sparsweep: {message}")


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -15)])
def test_a_live_report_is_served_until_it_is_interrupted(results, sent, code):
    words = ["report", str(results), "--live", "--every", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split()[1]
        until = time.monotonic() + 200
        state = ""
        while not state and time.monotonic() < until:
            time.sleep(0.2)
            with urllib.request.urlopen(f"{address}state", timeout=60) as answer:
                state = json.load(answer)["state"]
        with urllib.request.urlopen(address, timeout=60) as answer:
            page = answer.read().decode()
        assert f'data-state="{state}"' in page
        assert "connect-src 'self'" in page
        process.send_signal(sent)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (code, "", "")
    finally:
        process.kill()
        process.wait()
