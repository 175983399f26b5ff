"""Sentences and their tags, checked before use: from the hub, a folder or the embedded corpus.

What is checked: there are sentences, each has words, and each word has a tag of the corpus. An I-
tag that does not continue an entity of its type (WikiANN's ja and zh have some) is legal here; it
is counted, and scored as `EvaluationSpec.matching` says.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from workers.data import synthetic
from workers.data.corpus_files import (
    find_files,
    has_split,
    list_files,
    read_files,
    read_split,
)
from workers.data.fingerprints import fingerprint_files
from workers.data.tagged_text import (
    Mended,
    TaggedText,
    as_label_lists,
    count_starts,
    from_lists,
    to_labels,
    types_of,
)
from workers.hub.contents import CARD
from workers.hub.repository import Repository, resolve
from workers.hub.snapshots import Want, obtain
from workers.tags import MAX_TYPES, WIKIANN, TagSet
from workers.trial import SPLITS, CorpusSpec, Scheme, TrialError, combine_fingerprints

HELD_OUT_SEED = 0
"""Draws the validation split of a language that has none from its train split."""


@dataclass(frozen=True)
class Sentences:
    """Words of some sentences and the label of each word, a list a sentence.

    Attributes:
        tokens: the words.
        labels: of `tags`, as many as words.
        tags: what labels stand for.
    """

    tokens: list[list[str]]
    labels: list[list[int]]
    tags: TagSet = WIKIANN


@dataclass(frozen=True)
class Reading:
    """How a corpus shall be read, as a sweep asks for it.

    Attributes:
        scheme: see `workers.trial.CorpusSpec`.
        entity_types: those that are asked for; None: those of the files.
        validation_from_train: see `workers.trial.CorpusSpec`; where it is asked for.
    """

    scheme: Scheme = "auto"
    entity_types: tuple[str, ...] | None = None
    validation_from_train: float | None = None


@dataclass(frozen=True)
class CorpusFacts:
    """What planning needs to know of one language.

    Attributes:
        fingerprint: of its files; None where it has none.
        num_sentences: by split, without any limit.
        types: by split, the entity types that its files declare, or else have; none of a file that
            has numbers without names.
        unnamed: splits with such files.
        mended: by split, what was read otherwise than it stands there.
        is_held_out: its validation split is a part of its train split.
        num_starts: by split, how many entities there are and how many of them begin with I-.
    """

    fingerprint: str | None
    num_sentences: dict[str, int]
    types: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unnamed: tuple[str, ...] = ()
    mended: dict[str, Mended] = field(default_factory=dict)
    is_held_out: bool = False
    num_starts: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def without_begin(self) -> tuple[str, ...]:
        """Splits that have entities of which none begins with a B- tag."""
        starts = self.num_starts.items()
        return tuple(split for split, (number, unstarted) in starts if 0 < number == unstarted)


def load_sentences(corpus: CorpusSpec, language: str, split: str) -> Sentences:
    """Read and check one split of one language.

    Args:
        corpus: where it is, and how many of its sentences are used.
        language: the language's code.
        split: train, validation or test.

    Raises:
        TrialError: kind `bad_data`; the message names the file or data set, the value and what is
            accepted.
    """
    table = load_table(corpus, language, split)
    return Sentences(table["tokens"].to_pylist(), table["labels"].to_pylist(), corpus.tags)


def load_table(corpus: CorpusSpec, language: str, split: str) -> pa.Table:
    """Like `load_sentences`, without a Python object a word.

    Args:
        corpus: where the split is, and how many of its sentences are used.
        language: the language's code.
        split: train, validation or test.

    Returns:
        A row a sentence: `tokens`, list of strings, and `labels`, list of int64, as many.

    Raises:
        TrialError: as `load_sentences`.
    """
    limit = corpus.max_train_sentences if split == "train" else corpus.max_eval_sentences
    table = _read_table(corpus, language, split)
    if split != "train" or corpus.subset_seed is None or limit is None:
        return table.slice(0, limit)
    return table.take(draw_subset(table.num_rows, limit, corpus.subset_seed, language))


def draw_subset(size: int, limit: int, seed: int, language: str) -> np.ndarray:
    """Which sentences of a train split are kept, ascending, int64 (min(size, limit),).

    Those of a smaller limit are among those of a larger one.

    Args:
        size: of the split.
        limit: how many are kept.
        seed: of the draw; at least 0.
        language: the language's code; each has a draw of its own.
    """
    order = np.random.default_rng([seed, *language.encode()]).permutation(size)
    return np.sort(order[:limit])


def examine_folder(
    path: Path, language: str, splits: Sequence[str], reading: Reading | None = None
) -> CorpusFacts:
    """Check a language's files in a corpus folder without keeping them.

    Args:
        path: the corpus folder.
        language: the language's code, which is the name of its folder or stands in a column.
        splits: those that are wanted.
        reading: how they are read; None: with all that is asked for left out.

    Raises:
        TrialError: kind `bad_data`, as `load_sentences`.
    """
    reading = reading or Reading()
    is_held_out = holds_out(path, language, reading.validation_from_train)
    read = [split for split in splits if not (is_held_out and split == "validation")]
    texts = {split: read_split(path, language, split) for split in read}
    types = {
        split: in_order([types_of(text, reading.scheme) for text in of_split])
        for split, of_split in texts.items()
    }
    tags = TagSet(reading.entity_types or resolve_types(list(types.values())))
    if tags.num_types > MAX_TYPES:
        raise TrialError(
            "bad_data",
            f"{path / language}: {tags.num_types} entity types; at most {MAX_TYPES} are told apart",
        )
    num_sentences = {split: sum(len(text.tokens) for text in of) for split, of in texts.items()}
    counted = {split: _count(of_split, tags, reading.scheme) for split, of_split in texts.items()}
    if is_held_out and "train" in num_sentences:
        num_held = _num_held_out(num_sentences["train"], reading.validation_from_train)
        num_sentences["validation"] = num_held
        num_sentences["train"] -= num_held
    fingerprint = fingerprint_folder(path, language, read)
    return CorpusFacts(
        fingerprint,
        num_sentences,
        types,
        tuple(split for split, of in texts.items() if any(text.names is None for text in of)),
        {split: mended for split, (mended, _) in counted.items()},
        is_held_out,
        {split: num_starts for split, (_, num_starts) in counted.items()},
    )


def _count(
    texts: Sequence[TaggedText], tags: TagSet, scheme: Scheme
) -> tuple[Mended, tuple[int, int]]:
    """What of a split is read otherwise than it stands in its files; how many entities it has, and
    how many of them begin with I-."""
    mended, num_entities, num_unstarted = Mended(), 0, 0
    for text in texts:
        labels, of_text = to_labels(text, tags, scheme)
        starts = count_starts(labels, text.starts)
        mended += of_text
        num_entities += starts[0]
        num_unstarted += starts[1]
    return mended, (num_entities, num_unstarted)


def in_order(types: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The types of several files or languages: in their order where that is the same everywhere,
    else sorted."""
    if len(set(types)) == 1:
        return types[0]
    return tuple(sorted({name for one in types for name in one}))


def resolve_types(types: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The entity types of a corpus whose files have these: WikiANN's where there are no others."""
    together = in_order(list(types))
    known = set(WIKIANN.entity_types)
    return WIKIANN.entity_types if set(together) <= known else together


def holds_out(path: Path, language: str, fraction: float | None) -> bool:
    """Whether the validation split of a language is a part of its train split: where that is asked
    for, and it has none."""
    return fraction is not None and not has_split(path, language, "validation")


def _num_held_out(num_train: int, fraction: float | None) -> int:
    """Sentences of train that are the validation split; at least one, and not all."""
    if num_train < 2:
        raise TrialError(
            "bad_data",
            f"corpus.validation_from_train: {num_train} train sentence cannot be parted; give the "
            "language a validation split",
        )
    return min(num_train - 1, max(1, round(num_train * (fraction or 0.0))))


def fingerprint_folder(path: Path, language: str, splits: Iterable[str]) -> str:
    """Hash of a language's files of these splits; quick for files that were hashed before.

    Args:
        path: the corpus folder.
        language: the language's code, which is the name of its folder.
        splits: in any order.

    Returns:
        16 hexadecimal digits.

    Raises:
        TrialError: kind `bad_data`, when a file is missing.
    """
    files = [(split, file) for split in splits for file in find_files(path, language, split)]
    return fingerprint_files((f"{split}/{file.name}", file) for split, file in files)


def fingerprint_language(path: Path, language: str) -> str:
    """Hash of a language's files of all splits that are there, whichever of them a trial scores.

    Args:
        path: the corpus folder.
        language: the language's code, which is the name of its folder.

    Returns:
        16 hexadecimal digits.

    Raises:
        TrialError: kind `bad_data`, when there is no train split.
    """
    others = [split for split in SPLITS[1:] if has_split(path, language, split)]
    return fingerprint_folder(path, language, ("train", *others))


def fingerprint_scored(path: Path, language: str) -> str:
    """Hash of the files of a language that is scored and not trained on: those of validation and
    test, as far as they are there.

    Args:
        path: the corpus folder.
        language: the language's code, which is the name of its folder.

    Returns:
        16 hexadecimal digits.
    """
    present = [split for split in SPLITS[1:] if has_split(path, language, split)]
    return fingerprint_folder(path, language, present)


def fingerprints_before(path: Path, languages: Sequence[str]) -> list[str | None]:
    """What stood for the files of these languages until schema version 4, where one split was
    scored: the hash of those of train and that split.

    Raises:
        TrialError: kind `bad_data`, when a language has no train split.
    """
    return [
        combine_fingerprints(
            {code: fingerprint_folder(path, code, ("train", split)) for code in languages}
        )
        for split in reversed(SPLITS[1:])
        if all(list_files(path / code, split) for code in languages)
    ]


def _read_table(corpus: CorpusSpec, language: str, split: str) -> pa.Table:
    """The sentences of a split, a row each: `tokens` and `labels`."""
    if corpus.kind == "path":
        path = Path(str(corpus.path))
        fraction = corpus.validation_from_train
        if split in ("train", "validation") and holds_out(path, language, fraction):
            table = _as_table(corpus, read_split(path, language, "train"))
            held = draw_subset(
                table.num_rows, _num_held_out(table.num_rows, fraction), HELD_OUT_SEED, language
            )
            kept = np.setdiff1d(np.arange(table.num_rows), held)
            return table.take(held if split == "validation" else kept)
        return _as_table(corpus, read_split(path, language, split))
    if corpus.kind == "synthetic":
        tokens, tags = synthetic.make_sentences(language, split, corpus.seed or 0)
        return _as_table(corpus, [from_lists(f"synthetic {language} {split}", tokens, tags)])
    return _as_table(corpus, _read_hub(corpus, language, split))


def _as_table(corpus: CorpusSpec, texts: Sequence[TaggedText]) -> pa.Table:
    tables = []
    for text in texts:
        labels, _ = to_labels(text, corpus.tags, corpus.scheme)
        tables.append(as_label_lists(text, labels))
    return pa.concat_tables(tables)


def _read_hub(corpus: CorpusSpec, language: str, split: str) -> list[TaggedText]:
    repository = Repository("dataset", str(corpus.name))
    commit = resolve(repository, str(corpus.revision))
    obtained = obtain(Want(repository, commit, splits=((language, split),)))
    files = [obtained.folder / name for name in obtained.names if name != CARD]
    names = obtained.card(str(repository)).names_of_tags(language)
    texts = read_files(files, f"{corpus.name} {language} {split}", names)
    is_wikiann = repository.name.rpartition("/")[2].lower() == "wikiann"
    if corpus.entity_types is None and not is_wikiann:
        for text in texts:
            _refuse_unnamed(text)
    return texts


def _refuse_unnamed(text: TaggedText) -> None:
    """Refuse numbers of which nobody says what they mean. Of a folder `plan` says how they are
    read; files of the hub are not there yet when a sweep is planned.

    Raises:
        TrialError: kind `bad_data`.
    """
    if text.names is None:
        raise TrialError(
            "bad_data",
            f"{text.where}: has numbers in place of tags and no names for them; list the types in "
            "the order of the numbers in corpus.entity_types, or, where they are those of WikiANN "
            "(PER, ORG, LOC), download its files and set corpus.path",
        )
