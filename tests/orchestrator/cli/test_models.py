"""The commands that hand on kept models."""

import pytest

from orchestrator.results.store import ResultStore
from tests.orchestrator.cli.command import run
from tests.orchestrator.models.conftest import commit_model, small_spec


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    commit_model(ResultStore(str(folder)), small_spec())
    return folder


def test_a_model_is_written_and_its_licence_is_asked_for(capsys, results, tmp_path):
    words = ("model", str(results), small_spec().trial_id()[:8], str(tmp_path / "new" / "model"))
    code, out, err = run(capsys, *words)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"{tmp_path}/new/model: the model of trial {small_spec().trial_id()}",
        f"Its licence is yours to say: {tmp_path}/new/model/README.md has 'TO BE FILLED IN'",
    ]
    assert (tmp_path / "new" / "model" / "model.safetensors").exists()
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert err.endswith("model: is there already; give a new folder, or remove it\n")


def test_a_text_is_tagged(capsys, results, tmp_path):
    text = tmp_path / "text.tsv"
    text.write_text("Asha\tB-PER\nwa\tO\nTanga\tB-LOC\n")
    code, out, err = run(capsys, "predict", str(results), small_spec().trial_id(), str(text))
    assert (code, err) == (0, "")
    assert out.splitlines()[-1].startswith("1 sentences, ")
    words = ("predict", str(results), small_spec().trial_id(), str(text), "--words")
    code, out, _ = run(capsys, *words)
    assert [line.split("\t")[:2] for line in out.splitlines()] == [
        ["Asha", "B-PER"],
        ["wa", "O"],
        ["Tanga", "B-LOC"],
        [""],
    ]


@pytest.mark.parametrize("command", ["model", "predict"])
def test_a_trial_that_is_not_there_is_refused(capsys, results, tmp_path, command):
    file = tmp_path / "file"
    if command == "predict":
        file.write_text("Asha")
    code, out, err = run(capsys, command, str(results), "nothing", str(file))
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "'nothing': no trial of " in err
