"""Test sentences in which each entity is another one of its type, taken from the train splits of a
pool of languages.

What is scored on them tells a model that reads the context from one that knows names by heart. The
three perturbations follow Ogueji et al. 2022, who take the new entities from the same language,
script or family. They do not publish how they draw, so this is ours: an entity is a distinct
sequence of words, whatever its frequency; its language is drawn first, each with the same chance,
so that one of 100 sentences counts as much as one of 20,000; an entity never takes its own place;
and what is drawn depends on seed, language, perturbation and draw alone, so that all trials are
scored on the same sentences. Which languages are in a pool is decided in
`orchestrator.planning.plan`.

Source: Ogueji et al. 2022, "Intriguing Properties of Compression on Multilingual Models" (EMNLP,
arXiv 2211.02738).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workers.data.corpus import LABEL_OF_TAG, Sentences, load_sentences, load_table
from workers.data.entities import (
    Entities,
    entity_keys,
    find_entities,
    flatten,
    flatten_table,
    words_of_key,
)
from workers.storage import Location
from workers.tags import ENTITY_TYPES, TAGS
from workers.trial import CorpusSpec, DonorPool, RobustnessSpec

Donors = tuple[pa.Array, ...]
"""Distinct entities of one language, by type in the order of `ENTITY_TYPES`: sorted keys, see
`entity_keys`."""


@dataclass(frozen=True, kw_only=True)
class Perturbed:
    """Test sentences of a language before and after their entities were replaced.

    Attributes:
        original: as published.
        sentences: the same, with other entities, whose tags are laid anew. One that began with an
            I- tag still does, so that by either rule of matching there are as many entities as
            before.
        num_replaced: int64 (num_sentences, 3), by type in the order of `ENTITY_TYPES`. What stays
            is not counted: an entity for which there is no other one of its type.
        num_donors: entities to draw from: the distinct ones of each type and language of the pool,
            added up.
    """

    original: Sentences
    sentences: Sentences
    num_replaced: np.ndarray
    num_donors: int


def load_perturbed(
    corpus: CorpusSpec, robustness: RobustnessSpec, pool: DonorPool, draw: int
) -> Perturbed:
    """Replace the entities of a language's test sentences.

    Args:
        corpus: where the sentences of the language and of its donors are; its limits apply to both.
        robustness: the seed and the number of draws.
        pool: the language, the perturbation and the donors.
        draw: which of the draws, from 0.

    Raises:
        TrialError: kind `bad_data`, as `load_sentences`.
        ValueError: the pool is empty, or there is no such draw.
    """
    if not pool.donors:
        raise ValueError(
            f"robustness.pools: {pool.language} {pool.perturbation} has no donors ({pool.reason})"
        )
    if not 0 <= draw < robustness.draws:
        raise ValueError(
            f"draw: {draw} is outside 0 to {robustness.draws - 1}; robustness.draws says how many"
        )
    test = load_sentences(corpus, pool.language, "test")
    donors = [_load_donors(_plain(corpus), language) for language in sorted(pool.donors)]
    return _perturb(test, donors, _generator(robustness.seed, pool, draw))


def load_donors(corpus: CorpusSpec, robustness: RobustnessSpec) -> None:
    """Read what all donors give, so that what is wrong with them is found before a model is
    trained.

    Raises:
        TrialError: kind `bad_data`, as `load_sentences`.
    """
    for language in sorted({code for pool in robustness.pools for code in pool.donors}):
        _load_donors(_plain(corpus), language)


def _plain(corpus: CorpusSpec) -> CorpusSpec:
    """Without what does not change train splits: what is kept then serves the trials of all
    languages."""
    return replace(corpus, fingerprint=None, max_eval_sentences=None)


def write_perturbed(path: str, perturbed: Perturbed) -> None:
    """Write perturbed sentences for people and other programs, as a whole or not at all.

    `.tsv` has a token<TAB>tag a line and an empty line between sentences; `.parquet` has `tokens`
    and `ner_tags` as a corpus has, the `original_tokens`, and `num_replaced`. Both can be read as a
    split of a corpus.

    Args:
        path: a file or an object's address, see `Location.parse`.
        perturbed: what to write.

    Raises:
        ValueError: another suffix, or a word that a text file cannot hold.
        OSError: it cannot be written.
    """
    location = Location.parse(path)
    suffix = PurePosixPath(location.name).suffix
    if suffix not in (".tsv", ".parquet"):
        raise ValueError(
            f"{path}: suffix {suffix!r} is not known; give a name that ends in .tsv or .parquet"
        )
    location.write_atomic(
        _as_tsv(perturbed.sentences, path) if suffix == ".tsv" else _as_parquet(perturbed)
    )


@lru_cache(maxsize=64)
def _load_donors(corpus: CorpusSpec, language: str) -> Donors:
    """A megabyte at most for a language of WikiANN: one buffer of text a type, no Python
    objects."""
    flat = flatten_table(load_table(corpus, language, "train"))
    entities = find_entities(flat.labels, flat.offsets)
    keys = entity_keys(flat, entities)
    distinct = [keys.filter(entities.kind == kind).unique() for kind in range(len(ENTITY_TYPES))]
    return tuple(one.take(pc.sort_indices(one)) for one in distinct)


def _generator(seed: int, pool: DonorPool, draw: int) -> np.random.Generator:
    text = f"{seed} {pool.language} {pool.perturbation} {draw}"
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big"))


def _perturb(
    test: Sentences, donors: Sequence[Donors], generator: np.random.Generator
) -> Perturbed:
    flat = flatten(test)
    entities = find_entities(flat.labels, flat.offsets)
    keys = entity_keys(flat, entities)
    # A row an entity, in order: what the first sentences get does not depend on how many follow.
    chances = generator.random((len(entities), 2))
    new_keys = np.full(len(entities), None, object)
    for kind in range(len(ENTITY_TYPES)):
        is_kind = entities.kind == kind
        forms = [of_language[kind] for of_language in donors]
        new_keys[is_kind] = _draw(keys.filter(is_kind), forms, chances[is_kind])
    is_replaced = np.array([key is not None for key in new_keys], bool)
    return Perturbed(
        original=test,
        sentences=_lay_in(test, entities, flat.offsets, new_keys),
        num_replaced=entities.count(len(test.tokens), is_replaced),
        num_donors=sum(len(forms) for of_language in donors for forms in of_language),
    )


def _draw(keys: pa.Array, forms: Sequence[pa.Array], chances: np.ndarray) -> np.ndarray:
    """Draw another entity for each: a language that has one, then one of its entities.

    Args:
        keys: what to replace, all of one type: binary (n,).
        forms: the entities of that type of each language, sorted.
        chances: float64 (n, 2) in [0, 1).

    Returns:
        Keys, object (n,); None where no language has another entity.
    """
    own = np.stack(
        [_positions(keys, one) for one in forms]
    )  # (num_languages, n), -1 where the language has it not
    num_others = np.array([[len(one)] for one in forms]) - (own >= 0)
    is_open = num_others > 0
    rank = np.floor(chances[:, 0] * is_open.sum(0))
    language = (np.cumsum(is_open, 0) > rank).argmax(
        0
    )  # of the open languages, the one of this rank
    column = np.arange(len(keys))
    own, num_others = own[language, column], num_others[language, column]
    position = np.floor(chances[:, 1] * num_others).astype(np.int64)
    position += (own >= 0) & (position >= own)  # steps over the entity itself
    drawn = np.full(len(keys), None, object)
    for number, one in enumerate(forms):
        chosen = np.flatnonzero((language == number) & is_open.any(0))
        drawn[chosen] = one.take(pa.array(position[chosen])).to_numpy(zero_copy_only=False)
    return drawn


def _positions(keys: pa.Array, forms: pa.Array) -> np.ndarray:
    return np.asarray(pc.fill_null(pc.index_in(keys, value_set=forms), -1).to_numpy())


def _lay_in(
    test: Sentences, entities: Entities, offsets: np.ndarray, new_keys: np.ndarray
) -> Sentences:
    """Put the new entities in, with B- and I- tags for their own lengths."""
    tokens, labels = (
        [list(sentence) for sentence in test.tokens],
        [list(sentence) for sentence in test.labels],
    )
    starts, ends = (
        position - offsets[entities.sentence] for position in (entities.start, entities.end)
    )
    places = zip(
        *(array.tolist() for array in (entities.sentence, starts, ends, entities.kind, new_keys)),
        strict=True,
    )
    for sentence, start, end, kind, key in reversed(
        list(places)
    ):  # from the right, so that what is left stays put
        if key is not None:
            words = words_of_key(key)
            inside = LABEL_OF_TAG[f"I-{ENTITY_TYPES[kind]}"]
            first = labels[sentence][
                start
            ]  # an I- that starts an entity stays one: strict scores count none of both
            tokens[sentence][start:end] = words
            labels[sentence][start:end] = [first, *[inside] * (len(words) - 1)]
    return Sentences(tokens, labels)


def _as_tsv(sentences: Sentences, path: str) -> bytes:
    for word in (word for sentence in sentences.tokens for word in sentence):
        if not word or "\n" in word or "\r" in word:
            raise ValueError(
                f"{path}: a text file cannot hold the word {word!r}; give a name that ends in .parquet"
            )
    blocks = (
        "".join(f"{word}\t{TAGS[label]}\n" for word, label in zip(words, labels, strict=True))
        for words, labels in zip(sentences.tokens, sentences.labels, strict=True)
    )
    text = "\n".join(blocks)
    # Readers take a byte order mark at the start for their own, and some words of WikiANN begin
    # with that character.
    return text.encode("utf-8-sig" if text.startswith("\ufeff") else "utf-8")


def _as_parquet(perturbed: Perturbed) -> bytes:
    columns = {
        "tokens": pa.array(perturbed.sentences.tokens, pa.list_(pa.string())),
        "ner_tags": pa.array(perturbed.sentences.labels, pa.list_(pa.int64())),
        "original_tokens": pa.array(perturbed.original.tokens, pa.list_(pa.string())),
        "num_replaced": pa.array(perturbed.num_replaced.sum(1), pa.int32()),
    }
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue().to_pybytes()  # type: ignore[no-any-return]
