"""A model card says what rows say, and leaves its owner what only they know."""

from dataclasses import replace

import pytest
import yaml

from orchestrator.models.card import FILL_IN, make_card
from orchestrator.results.store import ResultStore
from tests.factories import (
    make_circumstances,
    make_predicted_set,
    make_trial_result,
    make_trial_spec,
)
from workers.trial import ModelSpec

HUB = ModelSpec(name="somebody/encoder", revision=None, init="pretrained", fingerprint=None)
BUILTIN = replace(HUB, name="builtin:small-bert", init="random")
FOLDER = replace(HUB, name="/home/somebody/encoder", fingerprint="0123456789abcdef")


def card_of(tmp_path, spec=None, encoder=HUB, **changes):
    store = ResultStore(str(tmp_path / "results"))
    store.commit_completed(
        spec or make_trial_spec(), make_trial_result(**changes), **make_circumstances()
    )
    (row,) = store.read("trials").to_pylist()
    return make_card(store, row, replace(spec or make_trial_spec(), model=encoder))


def fields_of(card):
    _, fields, text = card.split("---\n", 2)
    return yaml.safe_load(fields), text


def test_the_hub_reads_language_task_and_encoder(tmp_path):
    fields, _ = fields_of(card_of(tmp_path))
    assert fields == {
        "language": ["sw"],
        "library_name": "transformers",
        "pipeline_tag": "token-classification",
        "base_model": "somebody/encoder",
        "tags": ["named-entity-recognition", "pruned"],
    }


def test_language_codes_stay_text(tmp_path):
    """YAML takes no for false."""
    fields, _ = fields_of(card_of(tmp_path, make_trial_spec(language="no")))
    assert fields["language"] == ["no"]


def test_the_licence_is_left_to_the_owner(tmp_path):
    fields, text = fields_of(card_of(tmp_path))
    assert "license" not in fields
    assert f"## Licence\n\n{FILL_IN}" in text


def test_it_says_sparsity_and_scores_of_all_entities_and_of_each_type(tmp_path):
    card = card_of(tmp_path)
    assert "| sparsity of the pruned matrices | 0.5000 (asked for: 0.5) |" in card
    assert "| zeros of all parameters | 0.4000 of 50 |" in card
    assert "| pruned by | magnitude, global, unstructured |" in card
    assert "do not make a dense runtime faster" in card
    rows = [line for line in card.splitlines() if line.startswith("| sw | ")]
    assert len(rows) == 8  # two splits, all entities and three types
    assert rows[0].startswith("| sw | test | all | 0.500 | ")
    assert rows[4] == "| sw | validation | all | 0.250 | not known | 0.500 | 0.500 | 20 |"


def test_intervals_are_those_of_leaving_out_a_sentence(tmp_path):
    counts = {"support": [1, 2, 3], "num_predicted": [1, 2, 3], "num_correct": [1, 1, 2]}
    sentences = make_predicted_set().sentences
    three = {
        "tokens": [["a"]] * 3,
        "gold": [["O"]] * 3,
        "num_subwords": [1] * 3,
        "num_unseen_entities": [0] * 3,
        "is_seen": [False] * 3,
    }
    predicted = make_predicted_set(
        sentences=replace(sentences, **three),
        predicted=[["O"]] * 3,
        confidence=[[255]] * 3,
        **counts,
    )
    card = card_of(tmp_path, predictions=(predicted,))
    f1 = 2 * 4 / 12
    without = [2 * 3 / 10, 2 * 3 / 8, 2 * 2 / 6]
    mean = sum(without) / 3
    half = 4.302652729911275 * (2 / 3 * sum((one - mean) ** 2 for one in without)) ** 0.5
    line = next(line for line in card.splitlines() if line.startswith("| sw | test | all |"))
    shown = f"{max(f1 - half, 0):.3f} to {min(f1 + half, 1):.3f}"
    assert line.split(" | ")[4] == shown


def test_a_dense_model_is_not_called_pruned(tmp_path):
    card = card_of(tmp_path, make_trial_spec(target_sparsity=0.0))
    assert fields_of(card)[0]["tags"][-1] == "dense"
    assert "pruned by" not in card


@pytest.mark.parametrize("encoder", [FOLDER, BUILTIN])
def test_folders_are_not_named(tmp_path, encoder):
    card = card_of(tmp_path, encoder=encoder)
    assert "base_model" not in card
    assert "/home/somebody" not in card
    known = "random weights" if encoder.init == "random" else f"its owner ({FILL_IN}: which)"
    assert known in card
