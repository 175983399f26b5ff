"""`sparsweep analyze` on as many results as the paper's grid gives: seconds and memory.

    python -m tests.benchmarks.analysis [--sentences N] [--languages N] [--keep FOLDER]

The results are made up, with effects that are plausible: what sparsity costs grows with it, and
more so for small languages and with pruned embeddings. They are written as the store's own files.
The analysis runs in a process of its own, so that its memory is its own.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from orchestrator.results.parquet import encode_small
from orchestrator.results.rows import Failure, Row, spec_columns, trial_row
from orchestrator.results.schema import TABLES
from orchestrator.results.store import ResultStore
from orchestrator.spec.languages import LANGUAGES, XTREME
from tests.benchmarks.measurement import Measurement, in_own_process
from tests.factories import (
    PRUNING,
    make_circumstances,
    make_robustness,
    make_trial_result,
    make_trial_spec,
)
from tests.wikiann_tags import ENTITY_TYPES, TAGS
from workers.trial import MICRO, PERTURBATIONS, SUBSETS, DonorPool, RobustnessSpec, TrialSpec

SPARSITIES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
SEEDS = (0, 1, 2)
DRAWS = 2
NUM_SENTENCES = 1_000
NUM_LANGUAGES = len(XTREME)
NUM_LAYERS = 12
MATRICES = {
    **{f"attention.self.{name}": 768 * 768 for name in ("query", "key", "value")},
    "attention.output.dense": 768 * 768,
    "intermediate.dense": 768 * 3072,
    "output.dense": 3072 * 768,
}
"""Matrices of a layer, and how many weights each has."""
ALONE = ("el", "he", "ja", "ka", "ko", "ml", "my", "ta", "te", "th", "zh")
"""Languages without donors of another language, as far as made-up results are concerned."""


def main() -> int:
    """Make results, analyze them in a process of its own, print seconds and memory."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.analysis", description=main.__doc__
    )
    parser.add_argument(
        "--sentences",
        type=int,
        default=NUM_SENTENCES,
        help="test sentences a language (default: %(default)s)",
    )
    parser.add_argument(
        "--languages", type=int, default=NUM_LANGUAGES, help="(default: %(default)s)"
    )
    parser.add_argument(
        "--keep", metavar="FOLDER", help="make the results here, or use those that are here"
    )
    parser.add_argument("--measure", metavar="FOLDER", help="analyze these results and print JSON")
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure)))
    else:
        for one in analysis(args.sentences, args.languages, args.keep):
            print(f"{one.what}: {one.median:.3g} {one.unit}, {one.target}")
    return 0


def analysis(
    num_sentences: int | None = None, num_languages: int | None = None, keep: str | None = None
) -> Iterator[Measurement]:
    """Seconds and peak memory of the whole analysis, intervals included, of 1,845 trials."""
    num_sentences = num_sentences or NUM_SENTENCES
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep or temporary
        if not ResultStore(folder).planned_sweeps():
            languages = XTREME[: num_languages or NUM_LANGUAGES]
            make_results(folder, languages, num_sentences=num_sentences)
            ResultStore(folder).compact()
        told = in_own_process("tests.benchmarks.analysis", "--measure", folder)
    what = f"analyze, {told['num_trials']:,} trials, {num_sentences:,} sentences a language"
    yield Measurement(what=what, values=(told["seconds"],), unit="s", at_most=20)
    yield Measurement(
        what="its peak memory, imports included",
        values=(told["peak_mib"],),
        unit="MiB",
        at_most=2_048,
    )


def measure(folder: str) -> dict[str, float]:
    """Analyze; the imports are part of what a person waits for."""
    started = time.perf_counter()
    from orchestrator.analysis.analyze import analyze

    store = ResultStore(folder)
    analyze(store)
    seconds = time.perf_counter() - started
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "peak_mib": peak_mib, "num_trials": len(store.statuses())}


@dataclass(frozen=True)
class Sentences:
    """A made-up test split.

    `tags`: places in TAGS of all words; `offsets`: the first word of each sentence, and the end. Of
    each entity: `owners`, its sentence; `starts`, its first word; `ends`, the word behind it;
    `hardness` in [0, 1].
    """

    set_id: str
    language: str
    tags: np.ndarray
    offsets: np.ndarray
    owners: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    hardness: np.ndarray
    perturbation: str = "none"

    @property
    def num_sentences(self) -> int:
        """How many there are."""
        return len(self.offsets) - 1

    def per_sentence(self, is_counted: np.ndarray) -> np.ndarray:
        """Entities that count, by sentence, int32."""
        return np.bincount(self.owners[is_counted], minlength=self.num_sentences).astype(np.int32)


def make_results(
    folder: str,
    languages: Sequence[str],
    *,
    sparsities: Sequence[float] = SPARSITIES,
    seeds: Sequence[int] = SEEDS,
    num_sentences: int = NUM_SENTENCES,
    state_of: Callable[[TrialSpec], str] = lambda spec: "completed",
    stores_perturbed: bool = False,
) -> list[TrialSpec]:
    """Write results of both regimes, all sparsities above 0 and dense, embeddings dense and pruned;
    returns the plan.

    Args:
        folder: the results location, local.
        languages: codes.
        sparsities: above 0.
        seeds: of each cell.
        num_sentences: of each language's test split.
        state_of: completed, failed or planned, for each trial.
        stores_perturbed: whether predictions of perturbed sentences are stored, too.
    """
    store, files = ResultStore(folder), Files(Path(folder))
    sets = {code: [make_sentences(code, num_sentences)] for code in languages}
    for code, (one,) in sets.items():
        if stores_perturbed:
            set_id = one.set_id[::-1]
            sets[code].append(replace(one, set_id=set_id, perturbation="within_language"))
        for each in sets[code]:
            files.write("sentences", each.set_id, sentence_table(each))
    specs = make_specs(languages, sparsities, seeds)
    if stores_perturbed:
        evaluation = replace(specs[0].evaluation, predictions=("test", "perturbed"))
        specs = [replace(spec, evaluation=evaluation) for spec in specs]
    for spec in specs:
        state = state_of(spec)
        if state == "failed":
            failure = Failure(kind="out_of_memory", message="it did not fit", traceback=None)
            files.write(
                "trials",
                spec.trial_id(),
                TABLES["trials"].build([make_trial_row(spec, failure, {})]),
            )
        elif state == "completed":
            write_trial(files, spec, [one for code in spec.languages for one in sets[code]])
    store.write_plan("bench", specs)
    return specs


class Files:
    """Writes as the store does, without waiting for the disk."""

    def __init__(self, folder: Path):
        self.folder = folder

    def write(self, name: str, key: str, rows: pa.Table) -> None:
        """One file."""
        file = self.folder / name / f"{key}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode_small(TABLES[name], rows))


def make_specs(
    languages: Sequence[str], sparsities: Sequence[float], seeds: Sequence[int]
) -> list[TrialSpec]:
    """One language each, and all together."""
    levels = [
        (0.0, None),
        *((sparsity, embedding) for sparsity in sparsities for embedding in (None, sparsity)),
    ]
    trained = [("monolingual", (code,)) for code in languages] + [
        ("multilingual", tuple(sorted(languages)))
    ]
    return [
        make_trial_spec(
            regime=regime,
            languages=codes,
            target_sparsity=sparsity,
            seed=seed,
            pruning=replace(PRUNING, embedding_sparsity=embedding) if sparsity else None,
            robustness=perturbed_as(codes),
        )
        for (regime, codes), (sparsity, embedding), seed in product(trained, levels, seeds)
    ]


def perturbed_as(languages: Sequence[str]) -> RobustnessSpec:
    pools = [
        DonorPool(language=code, perturbation=name, donors=() if reason else ("xx",), reason=reason)
        for code in languages
        for name in PERTURBATIONS
        for reason in [reason_of(code, name)]
    ]
    return make_robustness(*PERTURBATIONS, draws=DRAWS, pools=tuple(pools))


def reason_of(language: str, perturbation: str) -> str | None:
    """Why there are no donors."""
    return (
        f"{language} is alone" if language in ALONE and perturbation != "within_language" else None
    )


def make_sentences(language: str, num_sentences: int) -> Sentences:
    """Sentences of two to twenty words, with one to three entities of one or two words."""
    random = np.random.default_rng(list(language.encode()))
    lengths = np.clip(random.poisson(7, num_sentences), 2, 20)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tags = np.zeros(offsets[-1], np.uint8)
    owners, starts, ends = [], [], []
    for number, (start, length) in enumerate(zip(offsets, lengths, strict=False)):
        for place in range(0, min(length - 1, 3 * int(random.integers(1, 4))), 3):
            size = int(random.integers(1, 3))
            begin = 1 + 2 * int(random.integers(len(ENTITY_TYPES)))
            tags[start + place : start + place + size] = begin + 1
            tags[start + place] = begin
            owners.append(number)
            starts.append(start + place)
            ends.append(start + place + size)
    hardness = random.beta(0.6, 1.4, len(owners))
    columns = (np.array(values) for values in (owners, starts, ends))
    return Sentences(
        f"{int.from_bytes(language.encode(), 'big'):016x}",
        language,
        tags,
        offsets,
        *columns,
        hardness,
    )


def sentence_table(one: Sentences) -> pa.Table:
    random = np.random.default_rng(1)
    size, lengths = one.num_sentences, np.diff(one.offsets)
    columns = place_columns(one) | {
        "language": same(one.language, size),
        "tokens": lists(
            one.offsets, pa.array(["word"]).take(pa.array(np.zeros(one.offsets[-1], np.int32)))
        ),
        "gold": lists(one.offsets, pa.array(TAGS).take(pa.array(one.tags))),
        "num_subwords": pa.array((lengths + random.integers(0, 9, size)).astype(np.int32)),
        "num_unseen_entities": pa.array(one.per_sentence(one.hardness > 0.5)),
        "is_seen": pa.array(random.random(size) < 0.1),
    }
    return table_of("sentences", columns)


def place_columns(one: Sentences) -> dict[str, pa.Array]:
    size = one.num_sentences
    places = {"set_id": one.set_id, "split": "test", "perturbation": one.perturbation}
    return {name: same(value, size) for name, value in places.items()} | {
        "draw": same(0, size),
        "sentence": pa.array(np.arange(size, dtype=np.int32)),
    }


def same(value: Any, size: int) -> pa.Array:
    return pa.repeat(value, size)


def lists(offsets: np.ndarray, values: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values)


def table_of(name: str, columns: dict[str, pa.Array]) -> pa.Table:
    schema = TABLES[name].arrow_schema
    return pa.table([columns[column] for column in schema.names], schema.names).cast(schema)


def miss_rate(spec: TrialSpec, language: str) -> float:
    """The share of entities missed: larger if sparse, in small languages, without embeddings."""
    size = np.log10(LANGUAGES[language].num_train)
    base = 0.45 - 0.08 * size - (0.02 if spec.regime == "multilingual" else 0.0)
    cost = (0.5 - 0.08 * size) * spec.target_sparsity**6 + 0.15 * spec.embedding_sparsity**3
    noise = np.random.default_rng(
        [spec.seed, *language.encode(), int(1000 * spec.target_sparsity)]
    ).normal(0, 0.01)
    return float(np.clip(base + cost + noise, 0.02, 0.98))


def write_trial(files: Files, spec: TrialSpec, sets: Sequence[Sentences]) -> None:
    key = {name: value for name, value in spec_columns(spec).items() if name in KEY}
    own = key | {"is_zero_shot": False}
    scored = key | {"matching": spec.evaluation.matching}
    everything = [predict(spec, own, one) for one in sets]
    predicted = [each for each in everything if each[2].perturbation == "none"]
    scores = [row for _, counts, one in predicted for row in score_rows(scored | own, one, counts)]
    robustness = [
        row for _, counts, one in predicted for row in robustness_rows(scored, spec, one, counts)
    ]
    tables = {
        "predictions": pa.concat_tables([table for table, _, _ in everything]),
        "scores": pa.Table.from_pylist(scores, TABLES["scores"].arrow_schema),
        "robustness": pa.Table.from_pylist(robustness, TABLES["robustness"].arrow_schema),
    }
    for name, rows in tables.items():
        files.write(name, spec.trial_id(), rows)
    grid = key | {"language": spec_columns(spec)["language"]}
    layers = [grid | row for row in layer_rows(spec)]
    files.write("layers", spec.trial_id(), TABLES["layers"].build(layers))
    curve = [grid | row for row in curve_rows(spec)]
    files.write("curves", spec.trial_id(), TABLES["curves"].build(curve))
    used = [vocabulary_row(key, spec, one) for _, _, one in predicted]
    files.write("vocabulary", spec.trial_id(), TABLES["vocabulary"].build(used))
    counts = {"num_vocabularies": len(used), "num_layers": len(layers)}
    counts |= {"num_curve_points": len(curve)}
    counts |= {"num_scores": len(scores), "num_robustness_scores": len(robustness)}
    counts |= {"num_predictions": tables["predictions"].num_rows}
    result = make_trial_result(
        scores=(), robustness=(), predictions=(), curve=(), layers=(), vocabulary=(),
        num_train_sentences=sum(LANGUAGES[one.language].num_train for one in sets),
    )  # fmt: skip
    files.write(
        "trials", spec.trial_id(), TABLES["trials"].build([make_trial_row(spec, result, counts)])
    )


def vocabulary_row(key: Row, spec: TrialSpec, one: Sentences) -> Row:
    """What a language uses: as much as it has words here, and more zeros where more is pruned."""
    num_words = int(one.offsets[-1])
    num_weights = 8 * (num_words // 2)
    zeros = np.random.default_rng([spec.seed, *one.language.encode()]).uniform(0.9, 1.1)
    return key | {
        "language": one.language,
        "num_words": num_words,
        "num_subwords": num_words * (4 + len(LANGUAGES[one.language].name)) // 6,
        "num_unknown": num_words // (10 + ord(one.language[0]) % 7),
        "num_pieces": num_words // 2,
        "num_weights": num_weights,
        "num_zeros": min(num_weights, int(num_weights * zeros * spec.embedding_sparsity)),
    }


CURVE_POINTS = 60
"""Logged steps of a trial."""
KEY = ("trial_id", "regime", "target_sparsity", "embedding_sparsity", "seed")


def layer_rows(spec: TrialSpec) -> Iterator[Row]:
    """Zeros of mBERT's matrices: the deeper, the sparser; from 0.95 on the last have only zeros."""
    for layer, (kind, size) in product(range(NUM_LAYERS), MATRICES.items()):
        share = min(1.0, spec.target_sparsity * (0.9 + 0.2 * layer / (NUM_LAYERS - 1)))
        yield {
            "name": f"encoder.layer.{layer}.{kind}.weight",
            "shape": [size],
            "num_weights": size,
            "num_zeros": round(share * size),
            "sparsity": round(share * size) / size,
        }


def make_trial_row(spec: TrialSpec, outcome: Any, counts: dict[str, int]) -> Row:
    circumstances = make_circumstances(sweep="bench")
    row = trial_row(spec, outcome, circumstances, num_attempts=1, file_key=spec.trial_id())
    return row | counts


def predict(
    spec: TrialSpec, key: Row, one: Sentences
) -> tuple[pa.Table, tuple[int, int, int], Sentences]:
    """A trial's predictions for a set; entities annotated, predicted and right in all of it."""
    random = np.random.default_rng(
        [spec.seed, int(1000 * spec.target_sparsity), int(100 * spec.embedding_sparsity)]
    )
    chance = np.clip(one.hardness + random.normal(0, 0.05, len(one.hardness)), 0, 1)
    is_missed = chance > 1 - miss_rate(spec, one.language) * 0.9
    is_lost = is_missed & (random.random(len(chance)) < 0.5)  # the others get another type
    tags = one.tags.copy()
    for place in np.flatnonzero(is_missed):
        words = slice(one.starts[place], one.ends[place])
        tags[words] = 0 if is_lost[place] else (tags[words] + 1) % 6 + 1
    support, found = one.per_sentence(chance >= 0), one.per_sentence(~is_lost)
    correct = one.per_sentence(~is_missed)
    columns = place_columns(one) | {
        name: same(value, one.num_sentences) for name, value in key.items()
    }
    columns |= {
        "language": same(one.language, one.num_sentences),
        "predicted": lists(one.offsets, pa.array(TAGS).take(pa.array(tags))),
        "confidence": lists(one.offsets, pa.repeat(pa.scalar(250, pa.uint8()), one.offsets[-1])),
        "support": pa.array(support),
        "num_predicted": pa.array(found),
        "num_correct": pa.array(correct),
    }
    return (
        table_of("predictions", columns),
        (int(support.sum()), int(found.sum()), int(correct.sum())),
        one,
    )


def score_rows(key: Row, one: Sentences, counts: tuple[int, int, int]) -> Iterator[Row]:
    """A row a split, subset and entity type; only micro on all test sentences means something."""
    places: Iterable[tuple[str, str, str]] = product(
        ("validation", "test"), SUBSETS, (*ENTITY_TYPES, MICRO)
    )
    for split, subset, entity_type in places:
        is_wanted = (split, subset, entity_type) == ("test", "all", MICRO)
        place = {
            "language": one.language,
            "split": split,
            "subset": subset,
            "entity_type": entity_type,
        }
        yield (
            key
            | place
            | {"num_sentences": one.num_sentences}
            | values(counts if is_wanted else (8, 8, 1))
        )


def curve_rows(spec: TrialSpec) -> Iterator[Row]:
    """A loss that falls, and a sparsity that rises to its target in the first half."""
    for step in range(CURVE_POINTS):
        done = step / CURVE_POINTS
        yield {
            "step": 10 * (step + 1),
            "loss": 1 / (1 + step) + 0.1 * spec.target_sparsity,
            "lr": 1e-4 * (1 - done),
            "sparsity": spec.target_sparsity * min(1.0, 2 * done),
            "grad_norm": 1 + done,
        }


def values(counts: tuple[int, int, int]) -> Row:
    support, predicted, correct = counts
    return {
        "precision": correct / predicted if predicted else None,
        "recall": correct / support if support else None,
        "f1": 2 * correct / (support + predicted) if support + predicted else None,
        "support": support,
        "num_predicted": predicted,
        "num_correct": correct,
    }


def robustness_rows(
    key: Row, spec: TrialSpec, one: Sentences, counts: tuple[int, int, int]
) -> Iterator[Row]:
    for number, name in enumerate(PERTURBATIONS):
        place = key | {"language": one.language, "perturbation": name}
        reason = reason_of(one.language, name)
        if reason is not None:
            told = {
                "entity_type": MICRO,
                "draw": 0,
                "status": "not_applicable",
                "reason": reason,
                "num_replaced": None,
            }
            yield place | told | dict.fromkeys(values(counts))
            continue
        for draw, entity_type in product(range(DRAWS), (*ENTITY_TYPES, MICRO)):
            lost = 0.1 + 0.1 * number + 0.01 * draw + 0.1 * spec.embedding_sparsity
            told = {"entity_type": entity_type, "draw": draw, "status": "scored", "reason": None}
            worse = (counts[0], counts[1], int(counts[2] * (1 - lost)))
            yield place | told | {"num_replaced": counts[0]} | values(worse)


if __name__ == "__main__":
    sys.exit(main())
