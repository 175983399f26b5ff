"""A sweep on files of the hub whose jobs have no internet: fetched beforehand, and asked for no
more."""

import json
from pathlib import Path

import pytest
import yaml

from cluster.local.backend import LocalBackend
from cluster.local.profile import LocalProfile
from orchestrator.results.store import ResultStore
from tests.hub_server import TINY_MODEL, folder_files, run_hub, wikiann_files
from tests.real_sweeps import ONE_BY_ONE, sparsweep, wait_until

CORPUS, MODEL = "unimelb-nlp/wikiann", "some/encoder"


@pytest.fixture
def spec(tmp_path: Path) -> str:
    """A sweep of one trial on the hub, and a profile that says that there is no internet."""
    cluster = {"backend": "local", "offline": True, "hub_cache": f"{tmp_path}/my hub"}
    fields = {
        "name": "of-the-hub",
        "results": f"{tmp_path}/results",
        "corpus": {"kind": "hub", "name": CORPUS, "max_eval_sentences": 50},
        "model": {"name": MODEL, "init": "random"},
        "languages": ["yo"],
        "sparsities": [0.5],
        "seeds": [0],
        "pruning": {"update_every_steps": 5, "kernels": "reference"},
        "training": {"num_steps": 20, "batch_size": 8},
        "resources": ONE_BY_ONE,
        "clusters": {"nodes": cluster},
    }
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(fields))
    return str(file)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of a login node, which has internet."""
    return {
        "XDG_STATE_HOME": f"{tmp_path}/state",
        "XDG_CONFIG_HOME": f"{tmp_path}/config",
        "HF_HOME": f"{tmp_path}/home",
        "HF_HUB_OFFLINE": "0",
    }


def test_a_fetched_sweep_runs_without_a_question_to_the_hub(
    spec, environment, wikiann, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_STATE_HOME", environment["XDG_STATE_HOME"])
    with run_hub() as hub:
        hub.publish("dataset", CORPUS, wikiann_files(wikiann, ["yo"]))
        commit = hub.publish("model", MODEL, folder_files(TINY_MODEL))
        online = environment | {"HF_ENDPOINT": hub.address}
        code, output = sparsweep("submit", spec, "--on", "nodes", **online)
        assert (code, output.count("\n")) == (2, 1), output
        assert f"its nodes have no internet (offline), and {tmp_path}/my hub" in output

        code, output = sparsweep("fetch", spec, "--to", f"{tmp_path}/my hub", **online)
        assert code == 0, output
        code, output = sparsweep("submit", spec, "--on", "nodes", **online)
        assert code == 0, output
        num_asked = len(hub.requests)
        code, output = sparsweep("status", spec, "--json", **online | {"HF_HUB_OFFLINE": "1"})
        assert code == 0, output
        job = json.loads(output)["job"]
        backend = LocalBackend(LocalProfile())
        folder = Path(job["folder"])
        wait_until(lambda: backend.status(job["job_id"], folder).state.is_terminal)
        assert hub.requests[num_asked:] == [], "by the job"
    store = ResultStore(f"{tmp_path}/results")
    (trial,) = store.read("trials").to_pylist()
    assert trial["status"] == "completed", list(backend.logs(job["job_id"], folder, False))
    assert trial["model_revision"] == trial["model_commit"] == commit

    # The hub is gone, and nobody says that there is no internet.
    gone = environment | {"HF_ENDPOINT": hub.address, "HF_HUB_CACHE": f"{tmp_path}/my hub"}
    code, output = sparsweep("run", spec, "--set", "seeds=[0, 1]", **gone)
    assert code == 0, output
    trials = store.read("trials", ["status", "model_revision"]).to_pylist()
    assert trials == [{"status": "completed", "model_revision": commit}] * 2
