"""Steps that are replayed compute what launched ones do, to the bit. `make test-gpu` runs these."""

from dataclasses import replace

import pytest
import torch
from transformers import CONFIG_MAPPING

from tests.factories import PRUNING
from tests.workers.model.test_families import tokenizer_folder, write_encoder  # noqa: F401
from tests.workers.trials import finish, numbers, small_trial, training_of
from workers.model.positions import CHOOSE_BY_VALUE, READ_PACKED_ROWS
from workers.replay import ReplayedSteps
from workers.run import prepare_process, run_trial
from workers.trial import TrialSpec

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]

FEWEST = 12
"""Of 40 steps that must be replayed: layouts are few."""


@pytest.fixture
def gpu():
    yield prepare_process(num_threads=1, use_gpu=True)
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def both_ways(gpu, monkeypatch):
    """Runs a trial with replayed steps and with launched ones; gives the numbers of both."""
    replay, record = ReplayedSteps._replay, ReplayedSteps._record
    num_replayed = 0

    def counted(self, *given):
        nonlocal num_replayed
        num_replayed += 1
        return replay(self, *given)

    def run(spec: TrialSpec):
        monkeypatch.setattr(ReplayedSteps, "_replay", counted)
        monkeypatch.setattr(ReplayedSteps, "_record", record)
        replayed = finish(run_trial(spec, gpu))
        assert num_replayed >= FEWEST
        monkeypatch.setattr(ReplayedSteps, "_record", lambda self, *given: self._launch(*given))
        return numbers(replayed), numbers(finish(run_trial(spec, gpu)))

    return run


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"precision": "bfloat16"},
        {"precision": "bfloat16", "weight_decay": 0.0},
        {"pruning": None},
        {"saliency": "movement"},
        {"saliency": "movement", "end": 0.6},
        {"semantics": "dense_shadow", "precision": "bfloat16"},
        {"embedding_sparsity": 0.5},
        {"granularity": "block", "block_shape": (4, 4), "precision": "bfloat16"},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_replayed_steps_have_the_bits_of_launched_ones(both_ways, changes):
    spec = training_of(small_trial(), num_steps=40, batch_size=16)
    ours = {name: value for name, value in changes.items() if hasattr(spec.training, name)}
    spec = training_of(spec, **ours)
    if "pruning" in changes:
        spec = replace(spec, pruning=None, target_sparsity=0.0)
    else:
        others = {name: value for name, value in changes.items() if name not in ours}
        spec = replace(spec, pruning=replace(PRUNING, update_every_steps=4, **others))
    replayed, launched = both_ways(spec)
    assert replayed == launched


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", sorted(READ_PACKED_ROWS - CHOOSE_BY_VALUE))
def test_a_family_that_reads_packed_rows_can_be_replayed(
    both_ways,
    tmp_path,
    tokenizer_folder,  # noqa: F811
    family,
    precision,
):
    if family not in CONFIG_MAPPING:
        pytest.skip(f"the installed transformers has no {family}")
    model = write_encoder(tmp_path, tokenizer_folder, family)
    spec = training_of(small_trial(model=model), num_steps=40, precision=precision)
    spec = replace(spec, corpus=replace(spec.corpus, max_train_sentences=30, max_eval_sentences=4))
    replayed, launched = both_ways(spec)
    assert replayed == launched
