"""Runs in a database, as MLflow's own client reads them."""

import os
import shlex
import shutil
import sys

import pytest

from orchestrator.errors import SweepError
from orchestrator.trackers import mlflow as tracker
from orchestrator.trackers.mlflow import DATABASE, DIGEST, TRIAL_ID, MLflow
from orchestrator.trackers.runs import read_runs
from orchestrator.trackers.tracker import bring
from tests.factories import make_circumstances, make_trial_result, make_trial_spec

pytestmark = [
    pytest.mark.slow,  # MLflow takes seconds to load, and to make its tables
    pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning"),  # in MLflow
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A database without runs, which takes seconds to make."""
    folder = tmp_path_factory.mktemp("mlflow")
    MLflow(str(folder)).known()
    return folder / DATABASE


@pytest.fixture
def folder(made, tmp_path):
    folder = tmp_path / "a folder"
    folder.mkdir()
    shutil.copy(made, folder)
    return folder


def export(store, folder):
    return bring(read_runs(store), MLflow(str(folder)))


def client(folder):
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{folder / DATABASE}")


def runs(folder, experiment="demo"):
    """Runs that MLflow shows, by the id of the trial."""
    reading = client(folder)
    known = reading.get_experiment_by_name(experiment)
    found = reading.search_runs([known.experiment_id])
    assert len({run.data.tags[TRIAL_ID] for run in found}) == len(found)
    return {run.data.tags[TRIAL_ID]: run for run in found}


def test_mlflow_reads_curves_scores_and_settings(store, folder):
    assert export(store, folder) == {"new": 3, "changed": 0, "unchanged": 0}
    run = runs(folder)[make_trial_spec().trial_id()]
    assert (run.info.run_name, run.info.status) == ("sw sparsity 0.5 seed 0", "FINISHED")
    ended_at = store.read("trials", ["ended_at"])["ended_at"][0].as_py()
    assert run.info.end_time == round(ended_at.timestamp() * 1000)
    assert (run.data.params["target_sparsity"], run.data.params["seed"]) == ("0.5", "0")
    assert run.data.params["evaluation_splits"] == "validation, test"
    assert (run.data.metrics["test/f1"], run.data.metrics["train/loss"]) == (0.5, 0.5)
    history = client(folder).get_metric_history(run.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in history] == [(10, 1.5), (20, 0.5)]
    assert run.data.tags["sparsweep.provenance_commit"] == "c0ffee"


def test_a_failed_trial_says_why_until_it_is_completed(store, folder):
    export(store, folder)
    spec = make_trial_spec(seed=1)
    run = runs(folder)[spec.trial_id()]
    assert (run.info.status, run.data.metrics) == ("FAILED", {})
    assert run.data.tags["sparsweep.error_message"] == "no words"
    store.commit_completed(spec, make_trial_result(), **make_circumstances())
    assert export(store, folder) == {"new": 0, "changed": 1, "unchanged": 2}
    assert runs(folder)[spec.trial_id()].info.status == "FINISHED"


def test_a_second_export_changes_nothing(store, folder):
    export(store, folder)
    before = (folder / DATABASE).read_bytes()
    assert export(store, folder) == {"new": 0, "changed": 0, "unchanged": 3}
    assert (folder / DATABASE).read_bytes() == before


def test_new_trials_are_added_and_what_others_keep_there_stays(store, folder):
    others = client(folder).create_experiment("mine")
    theirs = client(folder).create_run(others).info.run_id
    export(store, folder)
    before = {trial_id: run.info.run_id for trial_id, run in runs(folder).items()}
    store.commit_completed(make_trial_spec(seed=2), make_trial_result(), **make_circumstances())
    assert export(store, folder) == {"new": 1, "changed": 0, "unchanged": 3}
    after = {trial_id: run.info.run_id for trial_id, run in runs(folder).items()}
    assert len(after) == 4
    assert before.items() <= after.items()
    assert [run.info.run_id for run in client(folder).search_runs([others])] == [theirs]


def test_more_runs_than_a_page_are_known(store, folder, monkeypatch):
    monkeypatch.setattr(tracker, "PAGE", 2)
    export(store, folder)
    assert export(store, folder) == {"new": 0, "changed": 0, "unchanged": 3}


def test_a_run_that_was_left_half_written_is_written_again(store, folder):
    trial_id = make_trial_spec().trial_id()
    experiment = client(folder).create_experiment("demo")
    half = client(folder).create_run(experiment, tags={TRIAL_ID: trial_id}).info.run_id
    assert export(store, folder) == {"new": 2, "changed": 1, "unchanged": 0}
    run = runs(folder)[trial_id]
    assert run.info.run_id != half
    assert len(run.data.tags[DIGEST]) == 16


def test_what_cannot_be_used_is_refused_in_one_line(store, folder, tmp_path):
    experiment = client(folder).create_experiment("demo")
    client(folder).delete_experiment(experiment)
    with pytest.raises(SweepError, match="its experiment demo was deleted; restore it with"):
        export(store, folder)
    (folder / DATABASE).write_text("no database" * 100)
    with pytest.raises(SweepError, match=r"mlflow\.db: MLflow cannot use it \(") as refused:
        export(store, folder)
    assert len(str(refused.value).splitlines()) == 1
    with pytest.raises(SweepError, match=r"results: holds other things, and no mlflow\.db; give"):
        MLflow(str(tmp_path / "results"))
    (tmp_path / "file").touch()
    with pytest.raises(SweepError, match="file: is a file; give a folder"):
        MLflow(str(tmp_path / "file"))


def test_any_letter_may_be_in_the_path(store, made, tmp_path):
    folder = tmp_path / "a 100%25 sure? #1's"
    folder.mkdir()
    shutil.copy(made, folder)
    tracker = MLflow(str(folder))
    bring(read_runs(store), tracker)
    *command, uri = shlex.split(tracker.look)
    assert command == ["mlflow", "ui", "--backend-store-uri"]
    from mlflow.tracking import MlflowClient

    assert MlflowClient(tracking_uri=uri).get_experiment_by_name("demo") is not None
    assert [path.name for path in folder.iterdir() if path.name != "artifacts"] == [DATABASE]


def test_it_does_not_report_its_use(folder):
    from mlflow.telemetry.utils import is_telemetry_disabled

    MLflow(str(folder))
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert is_telemetry_disabled()


@pytest.mark.parametrize("package", ["mlflow.tracking", "sqlalchemy", "alembic"])
def test_without_a_package_it_says_what_to_install(monkeypatch, tmp_path, package):
    monkeypatch.setitem(sys.modules, package, None)
    message = rf"mlflow: {package} is not installed; pip install 'sparsweep\[export\]'"
    with pytest.raises(SweepError, match=message):
        MLflow(str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()
