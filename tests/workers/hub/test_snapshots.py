"""Files get from a hub on loopback into the cache of the hub's own client, and are found there."""

import errno
import re
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.hub_server import TINY_MODEL, Fault, Hub, folder_files, hub, wikiann_files
from workers.hub import snapshots
from workers.hub.repository import Repository, hub_cache
from workers.hub.snapshots import (
    Want,
    commit_of,
    download,
    load_arguments,
    look,
    mend,
    obtain,
    survey,
)
from workers.trial import ModelSpec, TrialError

__all__ = ["hub"]

CORPUS = Repository("dataset", "unimelb-nlp/wikiann")
MODEL = Repository("model", "some/encoder")
TRAIN, TEST = (f"sw/{split}-00000-of-00001.parquet" for split in ("train", "test"))


@pytest.fixture
def corpus(hub: Hub, wikiann: Path) -> Want:
    commit = hub.publish("dataset", CORPUS.name, wikiann_files(wikiann, ["sw", "yo"]))
    return Want(CORPUS, commit, splits=(("sw", "train"), ("sw", "test")))


def refused(want: Want) -> TrialError:
    with pytest.raises(TrialError) as caught:
        obtain(want)
    assert "\n" not in str(caught.value)
    return caught.value


def files_in(folder: Path) -> list[str]:
    found = folder.rglob("*")
    return sorted(path.relative_to(folder).as_posix() for path in found if path.is_file())


def test_what_is_wanted_comes_and_nothing_else(hub, corpus, wikiann):
    folder = obtain(corpus).folder
    assert files_in(folder) == ["README.md", TEST, TRAIN]
    assert (folder / TRAIN).read_bytes() == (wikiann / TRAIN).read_bytes()
    assert hub.leaks == [], "the host of large files is shown no token"


def test_what_is_there_is_found_without_a_question(hub, corpus, monkeypatch):
    folder = obtain(corpus).folder
    hub.requests.clear()
    assert obtain(corpus).folder == folder
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert obtain(corpus).names == ["README.md", TRAIN, TEST]
    assert hub.requests == []


def test_a_survey_fetches_no_more_than_the_list_and_the_head(hub, corpus, wikiann):
    found = survey(corpus)
    assert [file.name for file in found.missing] == [TRAIN, TEST]
    assert found.missing[0].size == (wikiann / TRAIN).stat().st_size
    assert files_in(found.folder) == ["README.md"]


def test_offline_what_is_missing_is_named(hub, corpus, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    where = f"corpus.name: {CORPUS.name} at {corpus.commit[:12]}"
    cache = f"in the hub's cache {hub_cache()}, and HF_HUB_OFFLINE is set; run `sparsweep fetch"
    assert str(refused(corpus)).startswith(f"{where} is not {cache}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    obtain(corpus)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    more = Want(CORPUS, corpus.commit, splits=(*corpus.splits, ("yo", "test")))
    lack = f"{where}: 1 of 4 files, first yo/test-00000-of-00001.parquet, is not {cache}"
    assert str(refused(more)).startswith(lack)


def test_a_server_that_is_gone_is_no_hindrance_where_all_is_there(hub, corpus, monkeypatch):
    obtain(corpus)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert obtain(corpus).names
    fault = refused(Want(CORPUS, corpus.commit, splits=(("yo", "test"),)))
    assert fault.kind == "storage"
    assert str(fault).endswith(
        "and the hub cannot be reached; run `sparsweep fetch SPEC` where the hub can be reached"
    )


def test_a_cache_of_an_earlier_client_has_no_list_and_will_do(hub, corpus, monkeypatch):
    obtain(corpus)
    shutil.rmtree(CORPUS.folder() / "trees")
    monkeypatch.setattr("huggingface_hub._tree_cache._IN_MEMORY_TREE_CACHE", {})
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert survey(corpus) is None
    assert sorted(obtain(corpus).names) == ["README.md", TEST, TRAIN]
    (CORPUS.snapshot(corpus.commit) / TEST).unlink()
    assert "is not in the hub's cache" in str(refused(corpus))


@pytest.fixture
def without_list(corpus, monkeypatch) -> Want:
    """All files are there, as an earlier client left them."""
    obtain(corpus)
    shutil.rmtree(CORPUS.folder() / "trees")
    monkeypatch.setattr("huggingface_hub._tree_cache._IN_MEMORY_TREE_CACHE", {})
    return corpus


def test_the_list_that_a_cache_lacks_is_asked_for_once(hub, without_list):
    hub.requests.clear()
    assert obtain(without_list).names
    assert any("/tree/" in request for request in hub.requests)
    hub.requests.clear()
    assert obtain(without_list).names
    assert hub.requests == []


@pytest.mark.parametrize("status", [401, 404, 429, 503])
@pytest.mark.parametrize("path", ["/revision/", "/tree/"])
def test_a_hub_that_gives_no_list_is_no_hindrance_where_all_is_there(
    hub, without_list, path, status
):
    hub.faults.append(Fault(path, status))
    hub.requests.clear()
    assert sorted(obtain(without_list).names) == ["README.md", TEST, TRAIN]
    if path == "/revision/":
        assert len(hub.requests) == 1
    lacks = Want(CORPUS, without_list.commit, splits=(("yo", "test"),))
    if path == "/tree/":
        assert "is not in the hub" not in str(refused(lacks)), "but what the hub said"


def test_a_hub_behind_a_firewall_is_waited_for_once_and_for_seconds(hub, without_list, monkeypatch):
    monkeypatch.setattr("workers.hub.repository.ANSWERS_WITHIN_S", 0.1)
    hub.faults.append(Fault("/", delay_s=0.5))
    hub.requests.clear()
    for _ in range(2):
        assert sorted(obtain(without_list).names) == ["README.md", TEST, TRAIN]
    assert len(hub.requests) == 1
    with pytest.raises(TrialError, match="cannot be reached"):
        download(without_list)
    assert len(hub.requests) == 1


@pytest.mark.slow
def test_a_hub_that_hangs_over_its_list_is_not_waited_for_without_a_limit(
    hub, without_list, monkeypatch
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 0.05)
    hub.faults.append(Fault("/tree/", delay_s=0.2))
    assert obtain(without_list).names
    assert not (CORPUS.folder() / "trees").exists()


def test_the_client_of_others_is_left_as_it_was(hub, corpus):
    from huggingface_hub import get_session

    before = {event: list(hooks) for event, hooks in get_session().event_hooks.items()}
    obtain(corpus)
    assert get_session().event_hooks == before


def test_a_download_that_breaks_goes_on_where_it_broke(hub, corpus, wikiann, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    size = (wikiann / TRAIN).stat().st_size
    hub.faults.append(Fault("/large/", after=size // 2, times=1, method="GET"))
    folder = obtain(Want(CORPUS, corpus.commit, splits=(("sw", "train"),))).folder
    assert (folder / TRAIN).read_bytes() == (wikiann / TRAIN).read_bytes()
    resumed = [request for request in hub.requests if " from " in request]
    assert resumed, "the rest alone is asked for"


def test_a_download_that_was_given_up_goes_on_with_the_files_that_lack(hub, corpus):
    train = Want(CORPUS, corpus.commit, splits=(("sw", "train"),))
    obtain(train)
    hub.requests.clear()
    obtain(corpus)
    assert sum("/large/" in request and "GET" in request for request in hub.requests) == 1


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault("/tree/", 503), "the hub at http://127.0.0.1:[0-9]+ answers 503; try again later"),
        (Fault("/large/", 500), "answers 500; try again later"),
        (Fault("/resolve/", 429), "the hub has had too many requests; try again later"),
        (
            Fault("/resolve/", 429, {"Retry-After": "3600"}),
            "asks to wait 3,600 s; try again then",
        ),
        (
            Fault("/tree/", 429, {"RateLimit": '"api";r=0;t=900'}),
            "asks to wait 900 s; try again then",
        ),
        (Fault("/large/", None, method="GET"), "cannot be reached"),
    ],
)
def test_a_hub_that_goes_on_failing_is_told_in_a_line(hub, corpus, fault, message):
    hub.faults.append(fault)
    caught = refused(corpus)
    assert caught.kind == "storage"
    assert re.search(message, str(caught)), str(caught)


def test_a_hub_that_is_busy_for_a_while_is_waited_for(hub, corpus):
    hub.faults.append(Fault("/tree/", 429, {"Retry-After": "7"}, times=1))
    hub.faults.append(Fault("/resolve/", 502, times=2))
    assert obtain(corpus).names
    assert 8 in hub.waits, "as long as the hub says, and a second"


def test_a_gated_repository_needs_more_than_a_token(hub, wikiann, monkeypatch):
    files = wikiann_files(wikiann, ["sw"])
    rights = {"tokens": {"mine"}, "is_gated": True}
    commit = hub.publish("dataset", CORPUS.name, files, **rights)
    want = Want(CORPUS, commit, splits=(("sw", "test"),))
    hub.known_tokens |= {"mine", "other"}
    assert "is open only to those whom its owner let in, and no token is set" in str(refused(want))
    monkeypatch.setenv("HF_TOKEN", "other")
    fault = refused(want)
    assert "the user of this token is not among those; ask for access on its page" in str(fault)
    assert fault.kind == "bad_data", "which is not tried again"
    monkeypatch.setenv("HF_TOKEN", "mine")
    assert obtain(want).names
    assert hub.leaks == []


def test_no_token_is_kept_or_told(hub, corpus, monkeypatch, caplog, capfd):
    hub.known_tokens.add("hf_secret")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.faults.append(Fault("/resolve/", 503, times=1))
    caplog.set_level("DEBUG")
    obtain(corpus)
    said = "".join(capfd.readouterr()) + caplog.text
    assert "hf_secret" not in said
    for path in hub_cache().rglob("*"):
        assert not path.is_file() or b"hf_secret" not in path.read_bytes()


def test_a_disk_without_room_is_told_before(hub, corpus, monkeypatch):
    usage = SimpleNamespace(free=1000)
    monkeypatch.setattr(snapshots.shutil, "disk_usage", lambda path: usage)
    fault = refused(corpus)
    assert "are to come, 0 MB are free; make room, or set HF_HOME to a folder on" in str(fault)
    assert fault.kind == "storage"


def test_a_disk_that_fills_is_told(hub, corpus, monkeypatch):
    def fill(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/here/blob")

    monkeypatch.setattr("huggingface_hub.file_download.http_get", fill)
    assert "/here/blob: the disk is full; make room, then go on" in str(refused(corpus))


def test_a_cache_of_another_user_is_named(hub, corpus, monkeypatch):
    obtain(corpus)
    monkeypatch.setattr("os.access", lambda path, mode: False)
    said = f"{CORPUS.folder()}: Permission denied; set HF_HOME to a folder of your own"
    assert said in str(refused(corpus))


def test_two_at_once_end_with_one_copy(hub, corpus, wikiann):
    failures: list[BaseException] = []

    def fetch() -> None:
        try:
            obtain(corpus)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=fetch) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    folder = CORPUS.snapshot(corpus.commit)
    assert (folder / TRAIN).read_bytes() == (wikiann / TRAIN).read_bytes()
    gets = [request for request in hub.requests if "GET /large/" in request]
    assert len(gets) == 2, "the client holds back who comes second"
    assert not list(CORPUS.folder().rglob("*.incomplete"))


def test_a_damaged_file_is_found_and_comes_anew(hub, corpus, wikiann):
    folder = obtain(corpus).folder
    blob = (folder / TEST).resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    found = look(corpus)
    assert found is not None
    assert mend(corpus, found) == [TEST]
    assert (folder / TEST).read_bytes() == (wikiann / TEST).read_bytes()
    assert mend(corpus, found) == []


def test_a_file_that_the_hub_itself_damages_is_refused(hub, corpus, monkeypatch):
    found = download(corpus)
    (found.folder / "README.md").resolve().write_bytes(b"?")
    hub.repositories["dataset", CORPUS.name].commits[corpus.commit]["README.md"] = b"other"
    with pytest.raises(TrialError, match=r"README\.md came damaged from the hub, twice"):
        mend(corpus, found)


def test_into_a_folder(hub, corpus, tmp_path):
    found = download(corpus, tmp_path / "given")
    assert found.folder == CORPUS.snapshot(corpus.commit, tmp_path / "given")
    assert files_in(found.folder) == ["README.md", TEST, TRAIN]
    assert not hub_cache().exists()


def test_transformers_loads_a_commit_and_asks_no_hub(hub, monkeypatch):
    from transformers import AutoConfig, AutoTokenizer

    commit = hub.publish("model", MODEL.name, folder_files(TINY_MODEL))
    spec = ModelSpec(name=MODEL.name, revision=commit, init="random", fingerprint=None)
    arguments = load_arguments(spec)
    assert arguments == {"revision": commit, "local_files_only": True}
    hub.requests.clear()
    assert AutoTokenizer.from_pretrained(MODEL.name, **arguments).is_fast
    assert AutoConfig.from_pretrained(MODEL.name, **arguments).hidden_size == 32
    assert commit_of(spec) == commit
    assert hub.requests == []


def test_a_folder_is_loaded_as_it_is():
    spec = ModelSpec(name="/a/folder", revision=None, init="random", fingerprint="x")
    assert load_arguments(spec) == {"revision": None}
