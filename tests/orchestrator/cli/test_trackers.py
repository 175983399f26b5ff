"""The command that brings trials into a tracker."""

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


def test_it_says_what_was_brought_and_how_to_look_at_it(capsys, results, tmp_path):
    logs = tmp_path / "logs"
    words = ("export", str(results), "--to", "tensorboard", str(logs))
    code, out, err = run(capsys, *words)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"{logs}: 1 trial, 1 new, 0 changed, 0 unchanged",
        f"Look at them: tensorboard --logdir {logs}",
    ]
    assert run(capsys, *words)[1].startswith(f"{logs}: 1 trial, 0 new, 0 changed, 1 unchanged\n")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")  # in MLflow
def test_it_brings_them_to_mlflow(capsys, results, tmp_path):
    folder = tmp_path / "runs"
    code, out, err = run(capsys, "export", str(results), "--to", "mlflow", str(folder))
    assert (code, err) == (0, "")
    assert out.endswith(
        f"Look at them: mlflow ui --backend-store-uri sqlite:///{folder}/mlflow.db\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--to", "tensorbord", "x"), "--to: no tracker 'tensorbord'; did you mean tensorboard?"),
        (("--to", "wandb", "x"), "--to: no tracker 'wandb'; there are: tensorboard, mlflow"),
        (("--to", "tensorboard", "s3://bucket/x"), "trackers read folders of this machine"),
        (("--to", "tensorboard", "/dev/null/x"), "/dev/null/x: cannot be written"),
        (("--to", "mlflow", "/dev/null/x"), "/dev/null/x: cannot be written"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(capsys, results, words, message):
    code, out, err = run(capsys, "export", str(results), *words)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert message in err


def test_results_without_a_trial_that_ended_are_refused(capsys, tmp_path):
    ResultStore(str(tmp_path / "results")).write_plan("demo", [make_trial_spec()])
    words = ("export", str(tmp_path / "results"), "--to", "tensorboard", str(tmp_path / "x"))
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert err.endswith("results: no trial has ended yet; export again when one has\n")
    assert not (tmp_path / "x").exists()
