"""Event files, as TensorBoard's own reader reads them."""

import shlex
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS

from orchestrator.errors import SweepError
from orchestrator.trackers.runs import read_runs
from orchestrator.trackers.tensorboard import EVENTS, TensorBoard
from orchestrator.trackers.tracker import bring
from tests.factories import make_circumstances, make_trial_result, make_trial_spec

SPARSE = f"demo/sw-sparsity-0.5-seed-0-{make_trial_spec().trial_id()}"


@pytest.fixture
def logs(tmp_path):
    return tmp_path / "logs"


def export(store, folder):
    return bring(read_runs(store), TensorBoard(str(folder)))


def read(folder):
    """What TensorBoard reads."""
    read = EventMultiplexer()
    read.AddRunsFromDirectory(str(folder))
    read.Reload()
    return read


def settings_of(read, run):
    data = read.PluginRunToTagToContent(metadata.PLUGIN_NAME)[run]
    start = metadata.parse_session_start_info_plugin_data(data[metadata.SESSION_START_INFO_TAG])
    end = metadata.parse_session_end_info_plugin_data(data[metadata.SESSION_END_INFO_TAG])
    return start.hparams, end.status


def files(folder):
    """Each file with its content and its last change."""
    return {
        file: (file.read_bytes(), file.stat().st_mtime_ns)
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_tensorboard_reads_curves_scores_and_settings(store, logs):
    assert export(store, logs) == {"new": 3, "changed": 0, "unchanged": 0}
    there = read(logs)
    assert len(there.Runs()) == 3
    curve = [(point.step, point.value) for point in there.Scalars(SPARSE, "train/loss")]
    assert curve == [(10, 1.5), (20, 0.5)]
    (score,) = there.Scalars(SPARSE, "test/f1")
    assert (score.step, score.value) == (20, 0.5)
    assert score.wall_time == store.read("trials", ["ended_at"])["ended_at"][0].as_py().timestamp()
    settings, status = settings_of(there, SPARSE)
    assert settings["target_sparsity"].number_value == 0.5
    assert settings["pruning_saliency"].string_value == "magnitude"
    assert settings["pruning_prune_head"].bool_value is False
    assert status == STATUS_SUCCESS


def test_the_command_to_look_at_them_is_one_for_a_shell(tmp_path):
    folder = tmp_path / "a folder; or two"
    look = TensorBoard(str(folder)).look
    assert shlex.split(look) == ["tensorboard", "--logdir", str(folder)]


def test_no_run_says_which_settings_all_have(store, logs):
    """TensorBoard would show those of the first alone."""
    export(store, logs)
    there = read(logs).PluginRunToTagToContent(metadata.PLUGIN_NAME)
    assert not [run for run, tags in there.items() if metadata.EXPERIMENT_TAG in tags]


def test_a_failed_trial_has_settings_alone_until_it_is_completed(store, logs):
    export(store, logs)
    spec = make_trial_spec(seed=1)
    run = f"demo/sw-sparsity-0.5-seed-1-{spec.trial_id()}"
    assert settings_of(read(logs), run)[1] == STATUS_FAILURE
    store.commit_completed(spec, make_trial_result(), **make_circumstances())
    assert export(store, logs) == {"new": 0, "changed": 1, "unchanged": 2}
    assert settings_of(read(logs), run)[1] == STATUS_SUCCESS
    assert len(list((logs / run).iterdir())) == 1


def test_a_second_export_changes_no_file(store, logs):
    export(store, logs)
    before = files(logs)
    assert export(store, logs) == {"new": 0, "changed": 0, "unchanged": 3}
    assert files(logs) == before


def test_new_trials_are_added_and_logs_of_others_stay(store, logs):
    export(store, logs)
    others = logs / "mine" / f"{EVENTS}.1.here"
    others.parent.mkdir()
    others.write_bytes(b"of somebody")
    before = files(logs)
    store.commit_completed(make_trial_spec(seed=2), make_trial_result(), **make_circumstances())
    assert export(store, logs) == {"new": 1, "changed": 0, "unchanged": 3}
    assert before.items() <= files(logs).items()
    assert len(files(logs)) == len(before) + 1


def test_a_file_whose_place_another_took_is_removed_by_the_next_export(store, logs):
    """Whoever is killed in between leaves both."""
    export(store, logs)
    (file,) = (logs / SPARSE).iterdir()
    earlier = file.with_name(f"{EVENTS}.5.0123456789abcdef")
    earlier.write_bytes(file.read_bytes())
    assert export(store, logs) == {"new": 0, "changed": 1, "unchanged": 2}
    assert [file.name for file in (logs / SPARSE).iterdir()] == [file.name]


def test_a_folder_of_other_things_is_refused_and_left(store, logs):
    results = Path(store.location.path)
    before = files(results)
    for folder, message in ((results, "holds other things"), (results / "trials", "holds other")):
        with pytest.raises(SweepError, match=message):
            TensorBoard(str(folder))
    assert files(results) == before
    logs.write_text("a file")
    with pytest.raises(SweepError, match="logs: is a file; give a folder"):
        TensorBoard(str(logs))


def test_without_its_writer_it_says_what_to_install(monkeypatch, logs):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    message = r"tensorboard: tensorboardX is not installed; pip install 'sparsweep\[export\]'"
    with pytest.raises(SweepError, match=message):
        TensorBoard(str(logs))
    assert not logs.exists()
