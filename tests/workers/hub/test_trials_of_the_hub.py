"""A trial of the hub trains where the hub is gone, to the numbers of the same files in folders."""

from dataclasses import replace
from pathlib import Path

from tests.hub_server import folder_files, hub, wikiann_files
from tests.workers.trials import finish, numbers, real_trial
from workers.hub.repository import Repository, keep_revision
from workers.hub.snapshots import Want, obtain
from workers.run import run_trial
from workers.trial import ModelSpec

__all__ = ["hub"]

CORPUS, MODEL = "unimelb-nlp/wikiann", "some/encoder"


def test_a_trial_needs_no_hub_and_computes_as_from_folders(
    hub, device, wikiann, pretrained, monkeypatch
):
    of_folders = real_trial(wikiann, pretrained)
    corpus = hub.publish("dataset", CORPUS, wikiann_files(wikiann, ["ka"]))
    model = hub.publish("model", MODEL, folder_files(Path(pretrained.name)))
    of_hub = replace(
        of_folders,
        corpus=replace(
            of_folders.corpus,
            kind="hub",
            name=CORPUS,
            revision=corpus,
            path=None,
            fingerprint=None,
        ),
        model=ModelSpec(name=MODEL, revision=model, init="pretrained", fingerprint=None),
    )
    splits = tuple(("ka", split) for split in ("train", *of_hub.evaluation.splits))
    obtain(Want(Repository("dataset", CORPUS), corpus, splits=splits))
    obtain(Want(Repository("model", MODEL), model))
    keep_revision(Repository("model", MODEL), "main", model)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    hub.requests.clear()
    result = finish(run_trial(of_hub, device))
    assert result.model_commit == model
    expected = finish(run_trial(of_folders, device))
    assert numbers(replace(result, model_commit=None)) == numbers(expected)

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    by_branch = replace(of_hub, model=replace(of_hub.model, revision="main"))
    assert numbers(finish(run_trial(by_branch, device))) == numbers(result)
    assert hub.requests == []
