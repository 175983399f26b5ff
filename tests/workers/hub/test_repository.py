"""Which commit a revision is: by a hub on loopback, by the cache, or by neither."""

import pytest

from tests.hub_server import Fault, Hub, hub
from workers.hub.repository import (
    Repository,
    cached_commit,
    hub_cache,
    keep_revision,
    resolve,
)
from workers.trial import TrialError

__all__ = ["hub"]

MODEL = Repository("model", "some/encoder")


@pytest.fixture
def commit(hub: Hub) -> str:
    return hub.publish("model", MODEL.name, {"config.json": b"{}"})


def refused(revision: str = "main") -> TrialError:
    with pytest.raises(TrialError) as caught:
        resolve(MODEL, revision)
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_branch_is_asked_for_and_a_commit_is_not(hub, commit):
    assert resolve(MODEL, "main") == commit
    assert len(hub.requests) == 1
    assert resolve(MODEL, commit) == commit
    assert resolve(MODEL, "f" * 40) == "f" * 40
    assert len(hub.requests) == 1


def test_a_branch_that_moved_is_another_commit(hub, commit):
    keep_revision(MODEL, "main", commit)
    moved = hub.publish("model", MODEL.name, {"config.json": b"{ }"})
    assert resolve(MODEL, "main") == moved != commit
    assert cached_commit(MODEL, "main") == commit, "asking changes nothing here"


def test_offline_the_cache_answers_and_nobody_is_asked(hub, commit, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    fault = refused()
    assert fault.kind == "storage"
    assert str(fault) == (
        f"model.name: some/encoder: main is not in the hub's cache {hub_cache()}, and "
        "HF_HUB_OFFLINE is set; run `sparsweep fetch SPEC` where the hub can be reached"
    )
    keep_revision(MODEL, "main", commit)
    assert resolve(MODEL, "main") == commit
    assert hub.requests == []


def test_a_hub_that_is_gone_is_asked_once(hub, commit, monkeypatch):
    gone = "http://127.0.0.1:9"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", gone)
    assert f"the hub at {gone} cannot be reached" in str(refused())
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.address)
    assert resolve(MODEL, "main") == commit, "another hub"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", gone)
    monkeypatch.setattr("huggingface_hub.HfApi.repo_info", None)
    assert "cannot be reached" in str(refused()), "known from the first time"
    keep_revision(MODEL, "main", commit)
    assert resolve(MODEL, "main") == commit


def test_a_silent_hub_is_waited_for_seconds(hub, commit, monkeypatch):
    monkeypatch.setattr("workers.hub.repository.ANSWERS_WITHIN_S", 0.2)
    hub.faults.append(Fault("/revision/", delay_s=1.0))
    assert "cannot be reached" in str(refused())


@pytest.mark.parametrize(
    ("token", "rights", "message"),
    [
        (
            None,
            {"tokens": {"mine"}},
            "is not on the hub, or is private, no token is set; check the",
        ),
        ("other", {"tokens": {"mine"}}, "is not on the hub, or this token's user may not see it"),
        ("expired", {}, r"the hub refuses the token \(expired, wrong, or of another"),
    ],
)
def test_who_may_not_read_is_told_why(hub, monkeypatch, token, rights, message):
    hub.publish("model", MODEL.name, {"config.json": b"{}"}, **rights)
    hub.known_tokens |= {"mine", "other"}
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(TrialError, match=message) as caught:
        resolve(MODEL, "main")
    assert caught.value.kind == "bad_data"
    assert "hf auth login" in str(caught.value)
    assert token is None or token not in str(caught.value).replace("(expired", "")
    monkeypatch.setenv("HF_TOKEN", "mine")
    assert resolve(MODEL, "main")


def test_a_token_that_is_refused_does_not_take_away_what_is_there(hub, commit, monkeypatch):
    keep_revision(MODEL, "main", commit)
    monkeypatch.setenv("HF_TOKEN", "expired")
    assert resolve(MODEL, "main") == commit


def test_what_the_hub_has_not_is_refused(hub, commit):
    keep_revision(MODEL, "gone", commit)
    assert "the hub has no revision 'gone' of it" in str(refused("gone"))
    with pytest.raises(TrialError, match="give one such as owner/name"):
        resolve(Repository("model", "; rm -rf /"), "main")


def test_a_cache_of_another_is_named(hub, commit, monkeypatch):
    def deny(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied", str(hub_cache()))

    monkeypatch.setattr("pathlib.Path.read_text", deny)
    fault = refused()
    assert fault.kind == "storage"
    assert f"{hub_cache()}: Permission denied; set HF_HOME to a folder of your own" in str(fault)


def test_a_revision_is_kept_where_the_client_of_the_hub_looks(hub, commit):
    from huggingface_hub import HfApi

    keep_revision(MODEL, "main", commit)
    keep_revision(MODEL, commit, commit)
    found = HfApi().resolve_revision(MODEL.name, revision="main", local_files_only=True)
    assert found.resolved == commit
    assert [file.name for file in (MODEL.folder() / "refs").iterdir()] == ["main"]
