"""A small trial and a result of it, for tests to change one thing of."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cluster.backend import JobSpec
from workers.result import (
    CurvePoint,
    DeviceStretch,
    EntityScore,
    LayerSparsity,
    PredictedSet,
    RobustnessScore,
    SentenceSet,
    TrialResult,
    Vocabulary,
)
from workers.trial import (
    CorpusSpec,
    EvaluationSpec,
    ModelSpec,
    Perturbation,
    PruningSpec,
    RobustnessSpec,
    TrainingSpec,
    TrialSpec,
)

if TYPE_CHECKING:
    from workers.data.align import EncodedSplit

PRUNING = PruningSpec(
    sparsity_schedule="cubic",
    scope="global",
    saliency="magnitude",
    granularity="unstructured",
    n_of_m=None,
    block_shape=None,
    semantics="hard",
    embedding_sparsity=None,
    include=(),
    exclude=(),
    prune_head=False,
    initial_sparsity=0.0,
    begin=0.1,
    end=0.7,
    update_every_steps=10,
    num_updates=None,
)


def make_robustness(*perturbations: Perturbation, **changes: Any) -> RobustnessSpec:
    """One draw of these perturbations, donors from train splits of no folder, no pools."""
    spec = RobustnessSpec(
        perturbations=perturbations,
        draws=1,
        seed=0,
        donor_fingerprint=None,
        donor_split="train",
        pools=(),
    )
    return replace(spec, **changes)


def make_trial_spec(**changes: Any) -> TrialSpec:
    """Swahili, half pruned, seed 0, on the synthetic corpus; dense when `target_sparsity` is 0."""
    if "language" in changes:
        changes["languages"] = (changes.pop("language"),)
    pruning = PRUNING if changes.get("target_sparsity", 0.5) else None
    spec = TrialSpec(
        regime="monolingual",
        languages=("sw",),
        target_sparsity=0.5 if pruning else 0.0,
        seed=0,
        corpus=CorpusSpec(
            kind="synthetic",
            name=None,
            revision=None,
            path=None,
            seed=0,
            fingerprint="0123456789abcdef",
            max_train_sentences=None,
            max_eval_sentences=None,
        ),
        model=ModelSpec(name="builtin:small-bert", revision=None, init="random", fingerprint=None),
        pruning=pruning,
        training=TrainingSpec(
            num_epochs=None,
            num_steps=20,
            sampling=None,
            sampling_temperature=None,
            batch_size=32,
            lr=2e-5,
            lr_schedule="linear",
            warmup=0.0,
            weight_decay=0.0,
            adam_epsilon=1e-8,
            max_grad_norm=1.0,
            max_length=128,
            precision="float32",
        ),
        evaluation=EvaluationSpec(
            splits=("validation", "test"),
            languages=(),
            language_fingerprints=(),
            batch_size=128,
            matching="strict",
            selection="last",
            select_after=None,
            predictions=("test",),
        ),
        robustness=None,
    )
    return replace(spec, **changes)


def make_split(
    input_ids: np.ndarray, labels: np.ndarray, lengths: Sequence[int] | np.ndarray, **changes: Any
) -> "EncodedSplit":
    """A split of sequences of these lengths, each a sentence, without special ids."""
    from workers.data.align import EncodedSplit

    split = EncodedSplit(
        input_ids=input_ids.astype(np.int32),
        labels=labels.astype(np.int8),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        sentence_of_sequence=np.arange(len(lengths)),
        num_unstarted_entities=0,
        pad_id=0,
        unknown_id=None,
        num_specials=0,
        parts=(len(lengths),),
    )
    return replace(split, **changes)


def make_trial_result(**changes: Any) -> TrialResult:
    """Two unlike layers, a curve of two points, scores on two splits; `f1`: micro F1 on test."""
    f1 = changes.pop("f1", 0.5)
    result = TrialResult(
        achieved_sparsity=0.5,
        achieved_embedding_sparsity=None,
        overall_sparsity=0.4,
        num_parameters=50,
        num_prunable=40,
        num_steps=20,
        selected_step=20,
        num_train_sentences=100,
        num_train_subwords=1700,
        num_split_sentences=1,
        num_unstarted_entities=0,
        data_fingerprint="fedcba9876543210",
        model_commit=None,
        num_resumes=0,
        shared_steps=0,
        load_s=0.25,
        train_s=2.0,
        evaluate_s=0.5,
        subwords_per_s=850.0,
        peak_memory_gib=0.75,
        peak_gpu_memory_gib=None,
        device="cpu",
        device_name="a processor",
        num_threads=1,
        kernels="numba",
        scores=tuple(
            make_score(
                split=split,
                subset=subset,
                entity_type=entity_type,
                f1=f1 if split == "test" else 0.25,
            )
            for split in ("validation", "test")
            for subset in ("all", "seen", "unseen")
            for entity_type in ("PER", "ORG", "LOC", "micro")
        ),
        robustness=(make_robustness_score(), make_not_applicable()),
        predictions=(make_predicted_set(),),
        curve=(
            CurvePoint(step=10, loss=1.5, lr=2e-5, sparsity=0.25, grad_norm=3.0),
            CurvePoint(step=20, loss=0.5, lr=0.0, sparsity=0.5, grad_norm=1.0),
        ),
        layers=(
            LayerSparsity(
                name="encoder.layer.10.weight", shape=(4, 6), num_zeros=15, num_weights=24
            ),
            LayerSparsity(name="encoder.layer.2.weight", shape=(8, 2), num_zeros=5, num_weights=16),
        ),
        vocabulary=(make_vocabulary(),),
        devices=(DeviceStretch(name="a processor", from_step=0),),
    )
    return replace(result, **changes)


def make_score(**changes: Any) -> EntityScore:
    """Eight of sixteen entities found, with sixteen predicted."""
    score = EntityScore(
        language="sw",
        split="test",
        subset="all",
        entity_type="micro",
        num_sentences=20,
        precision=0.5,
        recall=0.5,
        f1=0.5,
        support=16,
        num_predicted=16,
        num_correct=8,
    )
    return replace(score, **changes)


def make_robustness_score(**changes: Any) -> RobustnessScore:
    """As `make_score`, with fifteen of sixteen entities replaced."""
    score = RobustnessScore(
        language="sw",
        perturbation="within_language",
        draw=0,
        entity_type="micro",
        status="scored",
        reason=None,
        num_replaced=15,
        precision=0.5,
        recall=0.5,
        f1=0.5,
        support=16,
        num_predicted=16,
        num_correct=8,
    )
    return replace(score, **changes)


def make_not_applicable(**changes: Any) -> RobustnessScore:
    """The row of an empty pool."""
    numbers = (
        "num_replaced",
        "precision",
        "recall",
        "f1",
        "support",
        "num_predicted",
        "num_correct",
    )
    nothing = dict.fromkeys(numbers)
    fields = {
        "perturbation": "within_family",
        "status": "not_applicable",
        "reason": "sw is alone in its family",
    }
    return make_robustness_score(**nothing | fields | changes)


def make_vocabulary(**changes: Any) -> Vocabulary:
    """Of 60 words, two of whose sub-words are unknown; 4 of 40 pieces' 320 weights are zero."""
    vocabulary = Vocabulary(
        language="sw",
        num_words=60,
        num_subwords=90,
        num_unknown=2,
        num_pieces=40,
        num_weights=320,
        num_zeros=4,
    )
    return replace(vocabulary, **changes)


def make_predicted_set(**changes: Any) -> PredictedSet:
    """Sentences of two and three words; the first was in training, the second lacks an entity."""
    sentences = SentenceSet(
        set_id="00112233445566ff",
        language="sw",
        split="test",
        perturbation="none",
        draw=0,
        tokens=[["habari", "Nairobi"], ["Asha", "wa", "Tanga"]],
        gold=[["O", "B-LOC"], ["B-PER", "O", "B-LOC"]],
        num_subwords=[3, 5],
        num_unseen_entities=[0, 1],
        is_seen=[True, False],
    )
    predicted = PredictedSet(
        sentences=sentences,
        predicted=[["O", "B-LOC"], ["B-PER", "O", "O"]],
        confidence=[[255, 204], [128, 250, 60]],
        support=[1, 2],
        num_predicted=[1, 1],
        num_correct=[1, 1],
    )
    return replace(predicted, **changes)


STARTED_AT = datetime(2026, 11, 23, 12, 0, 0, 250_000, tzinfo=UTC)


def make_circumstances(**changes: Any) -> Any:
    """What `ResultStore.commit_completed` wants beside trial and result; it took 90.5 s."""
    circumstances = {
        "sweep": "demo",
        "asked_json": '{"name":"demo"}',
        "provenance": {"commit": "c0ffee", "is_dirty": False, "torch": "2.13.0", "host": "node-1"},
        "started_at": STARTED_AT,
        "ended_at": STARTED_AT + timedelta(seconds=90.5),
    }
    return circumstances | changes


def make_job(folder: Path, **changes: Any) -> JobSpec:
    """A job of a sweep that nobody planned."""
    fields: dict[str, Any] = {
        "name": "tiny",
        "sweep_id": "0123abcd",
        "folder": folder,
        "results": str(folder / "results"),
        "sweep_json": '{"name": "tiny"}',
        "plan_digest": None,
        "cpus_per_trial": 1,
        "gpus_per_trial": None,
    }
    return JobSpec(**fields | changes)
