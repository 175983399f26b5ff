"""The model card: what a model is and how well it does, from the trial's rows.

What only its owner can say, the licence above all, is left to them and named.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow.compute as pc

from orchestrator.analysis.inputs.predictions import read_predictions
from orchestrator.analysis.statistics.uncertainty import find_ends, find_influences
from orchestrator.results.store import ResultStore
from workers.tags import TagSet
from workers.trial import BUILTIN_MODEL, MICRO, ModelSpec, TrialSpec, describe_place

CONFIDENCE = 0.95
OF_SCORES = ["trial_id", "language", "split", "subset", "entity_type", "matching"]
NUMBERS = ["precision", "recall", "f1", "num_sentences"]

FILL_IN = "TO BE FILLED IN"
"""In the card where its owner has to say something."""

Row = Mapping[str, Any]


def make_card(store: ResultStore, row: Row, spec: TrialSpec) -> str:
    """The card of a trial's model, Markdown below the fields that the hub reads.

    Args:
        store: the results.
        row: of the trial in `trials`.
        spec: the trial.

    Raises:
        StoreError: a file is damaged.
    """
    tags = spec.corpus.tags
    parts = (
        _fields(row, spec.model),
        _what_it_is(row, spec.model, tags),
        _scores(store, row, tags),
        _data(row),
        _training(row),
        _use(),
        f"## Licence\n\n{FILL_IN}: it follows from the licences of the encoder and of the data.",
    )
    return "\n\n".join(parts) + "\n"


def _fields(row: Row, encoder: ModelSpec) -> str:
    """What the hub reads. A folder's name is nobody else's affair."""
    lines = ["---", "language:", *(f'- "{code}"' for code in row["languages"])]
    lines += ["library_name: transformers", "pipeline_tag: token-classification"]
    if is_of_hub(encoder):
        lines += [f"base_model: {encoder.name}"]
    if row["corpus_kind"] == "hub":
        lines += ["datasets:", f"- {row['corpus_name']}"]
    lines += ["tags:", "- named-entity-recognition", "- pruned" if _is_pruned(row) else "- dense"]
    lines += [f"# license: {FILL_IN}", "---"]
    return "\n".join(lines)


def is_of_hub(encoder: ModelSpec) -> bool:
    """Whether others can have the encoder by its name."""
    is_known = encoder.init == "pretrained" and encoder.name != BUILTIN_MODEL
    return is_known and encoder.fingerprint is None


def _is_pruned(row: Row) -> bool:
    return bool(row["target_sparsity"] or row["embedding_sparsity"])


def _what_it_is(row: Row, encoder: ModelSpec, tags: TagSet) -> str:
    place = (row["language"], row["target_sparsity"], row["embedding_sparsity"], row["seed"])
    name = f"[{encoder.name}](https://huggingface.co/{encoder.name})"
    source = name if is_of_hub(encoder) else f"an encoder of its owner ({FILL_IN}: which)"
    if encoder.init == "random":
        source = "random weights"
    lines = [
        f"# Named-entity recognition: {describe_place(*place)}",
        "",
        f"Finds entities of the types {', '.join(tags.entity_types)} in {_listed(row)}. It was "
        f"trained from {source} by sparsweep {row['provenance_sparsweep'] or ''}, as trial "
        f"`{row['trial_id']}`.".replace(" ,", ","),
        "",
        "| | |",
        "|---|---|",
        f"| sparsity of the pruned matrices | {row['achieved_sparsity']:.4f} (asked for: "
        f"{row['target_sparsity']:g}) |",
    ]
    if row["achieved_embedding_sparsity"] is not None:
        lines.append(f"| of the word embeddings | {row['achieved_embedding_sparsity']:.4f} |")
    lines += [
        f"| zeros of all parameters | {row['overall_sparsity']:.4f} of {row['num_parameters']:,} |",
    ]
    if _is_pruned(row):
        lines += [
            f"| pruned by | {row['pruning_saliency']}, {row['pruning_scope']}, "
            f"{row['pruning_granularity']} |",
            "",
            "Pruned weights are stored as zeros in dense matrices. They do not make a dense "
            "runtime faster, nor this file smaller unless it is compressed.",
        ]
    return "\n".join(lines)


def _listed(row: Row) -> str:
    return ", ".join(f"`{code}`" for code in row["languages"])


def _scores(store: ResultStore, row: Row, tags: TagSet) -> str:
    scores = store.read("scores", [*OF_SCORES, *NUMBERS])
    chosen = (
        (pc.field("trial_id") == row["trial_id"])
        & (pc.field("subset") == "all")
        & (pc.field("matching") == row["evaluation_matching"])
        & pc.field("split").isin(["validation", "test"])
    )
    rows = scores.filter(chosen).to_pylist()
    rows.sort(
        key=lambda one: (one["split"] != "test", one["language"], one["entity_type"] != MICRO)
    )
    lines = [
        "## Scores",
        "",
        f"F1 of whole entities, {row['evaluation_matching']} matching, in [0, 1]. Intervals "
        f"({CONFIDENCE:.0%}) tell how far F1 would vary with other sentences of the same kind, not "
        "with another seed.",
        "",
        "| language | split | entities | F1 | interval | precision | recall | sentences |",
        "|---|---|---|---|---|---|---|---|",
    ]
    ends = {split: _intervals(store, row, split, tags) for split in ("validation", "test")}
    for one in rows:
        is_micro = one["entity_type"] == MICRO
        shown = ends[one["split"]].get(one["language"], "not known") if is_micro else ""
        lines.append(
            f"| {one['language']} | {one['split']} | {'all' if is_micro else one['entity_type']} | "
            f"{_number(one['f1'])} | {shown} | {_number(one['precision'])} | "
            f"{_number(one['recall'])} | {one['num_sentences']:,} |"
        )
    return "\n".join(lines)


def _intervals(store: ResultStore, row: Row, split: str, tags: TagSet) -> dict[str, str]:
    """Of micro F1 by language, by leaving out one sentence at a time; only of sets of sentences
    whose predictions were stored, and by the rule of matching that these were counted by."""
    if not row["num_predictions"]:
        return {}
    return dict(_ends(store, row["trial_id"], split, tags))


def _ends(store: ResultStore, trial_id: str, split: str, tags: TagSet) -> Iterator[tuple[str, str]]:
    for one in read_predictions(store, [trial_id], split, tags=tags):
        influences = find_influences(one).get(trial_id)
        if influences is None:
            continue
        entities = one.support.sum() + one.num_predicted[0].sum()
        f1 = 2 * one.num_correct[0].sum() / entities
        variance = np.sum(np.square(influences, dtype=np.float64))
        low, high = find_ends(f1, variance, np.array(len(influences) - 1), CONFIDENCE)
        yield one.language, f"{max(low, 0.0):.3f} to {min(high, 1.0):.3f}"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _data(row: Row) -> str:
    names = {
        "hub": f"{row['corpus_name']} of the hub, revision {row['corpus_revision'] or 'latest'}",
        "path": f"a corpus of its owner ({FILL_IN}: which)",
        "synthetic": "the synthetic corpus of sparsweep, whose sentences are made up",
    }
    return (
        f"## Data\n\nTrained on {row['num_train_sentences']:,} sentences of {_listed(row)}, from "
        f"{names[row['corpus_kind']]}. Tags are IOB2."
    )


def _training(row: Row) -> str:
    shown = {
        "optimizer steps": row["num_steps"],
        "sentences a step": row["training_batch_size"],
        "peak learning rate": row["training_lr"],
        "seed": row["seed"],
        "precision": row["training_precision"],
        "device": row["device_name"],
    }
    lines = ["## Training", "", "| | |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {value} |" for name, value in shown.items())])


def _use() -> str:
    return (
        "## How to use it\n\n```python\nfrom transformers import pipeline\n\n"
        'tag = pipeline("token-classification", model="FOLDER OR REPOSITORY", '
        'aggregation_strategy="first")\nprint(tag("..."))\n```\n\n'
        "It was trained and scored on words: where a word has several sub-words, the first one's "
        "tag counts."
    )
