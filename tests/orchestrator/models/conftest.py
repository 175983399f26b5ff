"""Results with a kept model, which is not trained: what it is does not matter here."""

from dataclasses import replace

import pytest

from orchestrator.models.kept import open_model
from orchestrator.results.store import ResultStore
from tests.factories import make_circumstances, make_trial_result, make_trial_spec
from tests.real_sweeps import TINY_MODEL
from workers.model.folder import fingerprint_model_folder
from workers.trial import ModelSpec


def small_spec(**changes):
    """Swahili, half pruned, a tiny model from random weights."""
    fingerprint = fingerprint_model_folder(TINY_MODEL, "random")
    model = ModelSpec(name=str(TINY_MODEL), revision=None, init="random", fingerprint=fingerprint)
    return make_trial_spec(**{"model": model} | changes)


def pruned_model(spec):
    """A model of which every second weight of each matrix is zero."""
    import torch

    from workers.model.encoder import make_model

    model = make_model(spec.model, spec.seed, torch.device("cpu")).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "encoder.layer" in name and weight.ndim == 2:
                weight.view(-1)[::2] = 0.0
    return model


def commit_model(store, spec, model=None, **changes):
    """Keep a model and its numbers."""
    from workers.model.kept_model import ModelFile

    result = make_trial_result(**changes)
    file = ModelFile(store.model(spec.trial_id()))
    model = pruned_model(spec) if model is None else model
    file.prepare(model, spec, None, result.without_scores())
    result = replace(result, model_digest=file.digest, model_bytes=file.publish())
    store.commit_completed(spec, result, **make_circumstances())
    store.write_plan("demo", [spec])
    return model


@pytest.fixture(scope="session")
def kept(tmp_path_factory):
    """A store with the model of one trial, and that model. Tests leave it as it is."""
    store = ResultStore(str(tmp_path_factory.mktemp("kept")))
    return store, commit_model(store, small_spec())


@pytest.fixture(scope="session")
def opened(kept):
    return open_model(kept[0], small_spec().trial_id())
