"""What must hold of the models in the end is seen where it does not hold."""

from pathlib import Path

from orchestrator.results.store import ResultStore
from tests.chaos.campaign import SWEEP, computed, damaged_models
from tests.chaos.faults import FILES
from tests.orchestrator.models.conftest import commit_model, small_spec


def test_models_that_are_lost_damaged_or_exchanged_are_seen(tmp_path):
    store = ResultStore(str(tmp_path))
    specs = [small_spec(seed=seed) for seed in range(4)]
    for spec in specs:
        commit_model(store, spec)
    trials = computed(str(tmp_path))["trials"]
    assert len(trials) == len(specs)
    assert damaged_models(str(tmp_path), trials) == []

    files = [Path(store.model(spec.trial_id()).path) for spec in specs]
    whole = files[0].read_bytes()
    files[0].write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    files[1].unlink()
    files[2].write_bytes(files[3].read_bytes())
    found = {line.partition(": ")[0]: line for line in damaged_models(str(tmp_path), trials)}
    assert found.keys() == {str(file) for file in files[:3]}
    assert "is damaged" in found[str(files[0])]
    assert "is gone" in found[str(files[1])]
    assert "is another model" in found[str(files[2])]


def test_its_sweep_keeps_models_and_they_are_damaged_as_all_files_are():
    assert SWEEP["models"] == {"keep": "final"}
    assert {"flip models", "truncate models", "delete models"} <= {fault.name for fault in FILES}
