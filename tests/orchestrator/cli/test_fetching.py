"""`sparsweep fetch`, at a hub on loopback; and what other commands say of what is not there."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.submission.jobs import Jobs
from tests.hub_server import TINY_MODEL, Fault, Hub, folder_files, hub, wikiann_files
from tests.orchestrator.cli.command import run
from workers.hub.repository import hub_cache

__all__ = ["hub"]

CORPUS, MODEL = "unimelb-nlp/wikiann", "some/encoder"


@pytest.fixture
def spec(hub: Hub, wikiann: Path, tmp_path: Path) -> str:
    """A sweep on the hub."""
    hub.publish("dataset", CORPUS, wikiann_files(wikiann, ["sw", "yo", "jv"]))
    hub.publish("model", MODEL, folder_files(TINY_MODEL) | {"tf_model.h5": b"of no use"})
    file = tmp_path / "mine.yaml"
    file.write_text(
        f"name: mine\nresults: {tmp_path}/results\nlanguages: [sw, yo]\nsparsities: [0]\n"
        f"seeds: [0]\nmodel: {{name: {MODEL}, init: random}}\n"
    )
    return str(file)


def test_a_sweep_is_fetched_once_and_then_needs_no_hub(hub, spec, capsys, monkeypatch):
    code, out, err = run(capsys, "fetch", spec)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    commit = hub.repositories["model", MODEL].main
    assert lines[0] == f"model.name: {MODEL}: main is commit {commit}"
    assert lines[2].startswith("fetched 8 files, ")
    assert lines[2].endswith("; all are, to the bit, what the hub lists")
    assert lines[3:] == [
        f"They lie in {hub_cache()}. Where jobs run without internet:",
        "export HF_HUB_OFFLINE=1",
    ]
    assert not list(hub_cache().rglob("tf_model.h5")), "which no trial reads"

    code, out, _ = run(capsys, "fetch", spec)
    assert code == 0
    assert "fetched 0 files, 0 bytes, in 0 s; 8 files, " in out

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub.requests.clear()
    code, out, err = run(capsys, "plan", spec)
    assert (code, err) == (0, "")
    assert "hub" not in out
    assert hub.requests == []


def test_more_languages_fetch_only_what_they_add(spec, capsys):
    run(capsys, "fetch", spec)
    code, out, _ = run(capsys, "fetch", spec, "--set", "evaluation.languages=[jv]")
    assert code == 0
    assert "fetched 1 file, " in out


def test_a_folder_can_be_carried_to_where_there_is_no_internet(spec, capsys, tmp_path, monkeypatch):
    code, out, _ = run(capsys, "fetch", spec, "--to", str(tmp_path / "carried"))
    assert code == 0
    assert out.splitlines()[-1] == f"export HF_HUB_CACHE={tmp_path}/carried HF_HUB_OFFLINE=1"
    assert not hub_cache().exists()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "carried"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    _, out, _ = run(capsys, "plan", spec)
    assert "hub" not in out


def test_plan_says_how_much_is_to_come_and_how(spec, capsys):
    code, out, _ = run(capsys, "plan", spec)
    assert code == 0
    (line,) = (line for line in out.splitlines() if "hub's cache" in line)
    assert line.startswith(f"not in the hub's cache yet: 2 files, 16.9 kB of {MODEL} and 4 files, ")
    assert line.endswith(f" (0 s at 100 Mbit/s); `sparsweep fetch {spec}` brings it")


def test_where_neither_hub_nor_cache_answers_plan_says_so_and_run_stops(spec, capsys, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    lack = f"model.name: {MODEL}: main is not in the hub's cache {hub_cache()}, and HF_HUB_OFFLINE"
    code, out, _ = run(capsys, "plan", spec)
    assert code == 0
    assert lack in out
    for words in (("run", spec), ("submit", spec, "--on", "local")):
        code, _, err = run(capsys, *words)
        assert code == 2, "a job that came back would find no more"
        assert err.startswith(f"sparsweep: {lack}")
        assert err.count("\n") == 1


def test_submit_offers_to_fetch_what_is_not_there(hub, spec, capsys, monkeypatch):
    sent: list[str] = []

    def send(jobs: Jobs, name: str, profile: Any, **kwargs: object) -> tuple[object, bool]:
        sent.append(jobs.draft(profile).sweep_json)
        return SimpleNamespace(status=SimpleNamespace(job_id="7")), True

    monkeypatch.setattr("orchestrator.submission.jobs.Jobs.submit", send)
    code, out, _ = run(capsys, "submit", spec, "--on", "local")
    assert code == 0
    first, second = out.splitlines()
    assert first.startswith(f"not in the hub's cache yet: 2 files, 16.9 kB of {MODEL} and 4 files")
    assert first.endswith(
        "; the job fetches it where its nodes reach the hub, else run "
        f"`sparsweep fetch {spec}` before it starts"
    )
    assert "local job 7 runs 2 trials" in second
    for kind, name in (("model", MODEL), ("dataset", CORPUS)):
        assert hub.repositories[kind, name].main in sent[0], "the job loads these, and no other"
    run(capsys, "fetch", spec)
    _, out, _ = run(capsys, "submit", spec, "--on", "local")
    assert out == f"{second}\n", "nothing is missing"


@pytest.mark.parametrize(
    ("setting", "fault", "code", "message"),
    [
        ("model.name=some/other", None, 2, "model.name: some/other: is not on the hub, or"),
        ("model.revision=v9", None, 2, "the hub has no revision 'v9' of it; give a commit"),
        ("languages=[sw, fr]", None, 2, f"corpus.name: {CORPUS}: has no language 'fr'; it has jv,"),
        ("seeds=[0]", Fault("/api/", 503), 75, "answers 503; try again later"),
        ("seeds=[0]", Fault("/large/", 429, {"Retry-After": "600"}), 75, "asks to wait 600 s"),
        ("seeds=[0]", Fault("/resolve/", 403), 2, "is open only to those whom its owner let in"),
    ],
)
def test_each_fault_is_one_line(hub, spec, capsys, setting, fault, code, message):
    hub.faults += [fault] if fault else []
    ended, _, err = run(capsys, "fetch", spec, "--set", setting)
    assert ended == code
    assert message in err
    assert err.startswith("sparsweep: ")
    assert err.count("\n") == 1


def test_fetch_offline_is_refused(spec, capsys, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    code, _, err = run(capsys, "fetch", spec)
    assert code == 2
    assert err == (
        "sparsweep: HF_HUB_OFFLINE is set, so nothing can be fetched; unset it for `fetch`\n"
    )


def test_a_sweep_that_needs_no_hub_has_nothing_to_fetch(capsys):
    assert run(capsys, "fetch", "smoke")[:2] == (0, "smoke: needs nothing of the hub\n")


# Clusters whose nodes have no internet


@pytest.fixture
def offline(spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The sweep, with profiles of clusters whose nodes have no internet; this process has it."""
    monkeypatch.setenv("HF_HUB_CACHE", str(hub_cache()))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    image = "backend: kubernetes, image: registry/sparsweep:1"
    with Path(spec).open("a") as file:
        file.write(
            "clusters:\n"
            "  home: {backend: local, offline: true}\n"
            f"  shared: {{backend: local, offline: true, hub_cache: '{tmp_path}/my hub'}}\n"
            f"  pods: {{{image}, offline: true, hub_cache: /data/hub}}\n"
            f"  bare: {{{image}, offline: true}}\n"
        )
    return spec


def test_what_nodes_without_internet_would_not_find_is_not_sent_there(
    hub, offline, capsys, tmp_path, monkeypatch
):
    sent: list[str] = []

    def send(jobs: Jobs, name: str, profile: Any, **kwargs: object) -> tuple[object, bool]:
        sent.append(jobs.draft(profile).sweep_json)
        return SimpleNamespace(status=SimpleNamespace(job_id="7")), True

    monkeypatch.setattr("orchestrator.submission.jobs.Jobs.submit", send)
    place = f"{tmp_path}/my hub"
    line = (
        f"shared: its nodes have no internet (offline), and {place}, where they look, lacks 2 "
        f"files, 16.9 kB of {MODEL} and 4 files, "
    )
    fetch = f"`sparsweep fetch {offline} --to '{place}'`"
    code, out, err = run(capsys, "submit", offline, "--on", "shared")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"sparsweep: {line}")
    assert err.endswith(f"; run {fetch} first\n")
    code, out, _ = run(capsys, "plan", offline, "--on", "shared")
    assert code == 0
    assert line in out
    assert sent == []

    assert run(capsys, "fetch", offline, "--to", place)[0] == 0
    hub.requests.clear()
    code, out, err = run(capsys, "submit", offline, "--on", "shared")
    assert (code, err) == (0, "")
    assert out.startswith("mine: shared job 7 runs 2 trials")
    assert "no internet" not in run(capsys, "plan", offline, "--on", "shared")[1]
    assert {request.partition("/revision/")[2] for request in hub.requests} == {"main"}
    assert hub.repositories["model", MODEL].main in sent[0]


def test_nodes_without_internet_may_see_the_cache_of_who_submits(offline, capsys):
    code, _, err = run(capsys, "submit", offline, "--on", "home")
    assert code == 2
    assert f", and {hub_cache()}, where they look, lacks 2 files" in err
    assert err.endswith(f"; run `sparsweep fetch {offline}` first\n")


def test_of_a_cluster_whose_folders_are_not_seen_submit_says_what_must_be_there(offline, capsys):
    _, out, _ = run(capsys, "plan", offline, "--on", "pods")
    assert (
        f"pods: its nodes have no internet, and whether they find {MODEL} and {CORPUS} in "
        f"/data/hub is not seen from here; `sparsweep fetch {offline} --to FOLDER` brings what "
        "belongs there" in out
    )
    code, _, err = run(capsys, "submit", offline, "--on", "bare")
    assert code == 2
    assert "bare: its nodes have no internet (offline), and the profile does not say where" in err
    assert err.count("\n") == 1
