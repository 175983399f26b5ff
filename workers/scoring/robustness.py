"""Test sentences in which each entity is another one of its type, taken from a split of each of a
pool of languages.

What is scored on them tells a model that reads the context from one that knows names by heart. The
perturbations follow Ogueji et al. 2022, who take the new entities from the same language, script or
family; that from the same branch of a family is ours. They do not publish how they draw, so this is
ours: an entity is a distinct sequence of words, whatever its frequency; its language is drawn
first, each with the same chance, so that one of 100 sentences counts as much as one of 20,000; an
entity never takes its own place; one that a sentence names twice is the same new one in both
places; and what is drawn depends on seed, language, perturbation and draw alone, so that all trials
are scored on the same sentences. Which languages are in a pool is decided in
`orchestrator.planning.pools`.

Source: Ogueji et al. 2022, "Intriguing Properties of Compression on Multilingual Models" (EMNLP,
arXiv 2211.02738).
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workers.data.align import encode_text
from workers.data.cache import LOADED
from workers.data.corpus import Sentences, load_table
from workers.data.entities import (
    Entities,
    FlatSentences,
    TrainText,
    entities_without,
    entity_keys,
    find_entities,
    flatten,
    flatten_table,
    sentence_facts,
    unflatten,
    words_of_key,
)
from workers.data.languages import LanguageData, ScoredText, TrialData, as_donor, load_text
from workers.storage import Location
from workers.trial import CorpusSpec, DonorPool, RobustnessSpec


@dataclass(frozen=True, kw_only=True)
class Perturbed:
    """Test sentences of a language before and after their entities were replaced.

    Attributes:
        original: as published.
        sentences: the same, with other entities, whose tags are laid anew. One that began with an
            I- tag still does, so that by either rule of matching there are as many entities as
            before.
        num_replaced: int64 (num_sentences, num_types), replaced entities in the order of the
            corpus' types. An entity stays, and is not counted, where no donor has another one of
            its type.
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
    """Read a language's test sentences and replace their entities.

    Args:
        corpus: where the sentences of the language and of its donors are; its limits apply to both.
        robustness: the seed and the number of draws.
        pool: the language, the perturbation and the donors.
        draw: which of the draws, from 0.

    Raises:
        TrialError: kind `bad_data`, see `workers.data.corpus`.
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
    test = flatten_table(load_table(corpus, pool.language, "test"), corpus.tags)
    whole = as_donor(corpus)
    given = {code: load_text(whole, code, robustness.donor_split) for code in pool.donors}
    trained = {}
    if robustness.donor_split != "train":
        trained = {code: load_text(whole, code) for code in pool.donors if code != pool.language}
    is_own_read = robustness.donor_split != "train" or pool.language in pool.donors
    own = load_text(corpus, pool.language) if is_own_read else None
    donors = donor_entities(own, trained, given, robustness, pool)
    return perturb(test, donors, robustness.seed, pool, draw)


def donor_entities(
    own: TrainText | None,
    whole_texts: Mapping[str, TrainText],
    donor_texts: Mapping[str, TrainText],
    robustness: RobustnessSpec,
    pool: DonorPool,
) -> dict[str, tuple[pa.Array, ...]]:
    """The entities that each donor of a pool gives.

    Args:
        own: what the pool's language is trained on; None where it gives nothing and train gives.
        whole_texts: by code, the train splits of the other donors; of no say for train.
        donor_texts: by code, of its donors: the split that gives entities.
        robustness: which split that is. Where it is not that of train, an entity that is in a train
            split of the pool's language or of any donor is left out.
        pool: the language and its donors.

    Returns:
        By donor, the entities of each type in the corpus' order, as keys, sorted.
    """
    given = {code: donor_texts[code].entities for code in pool.donors}
    of_own = {} if own is None else {pool.language: own.entities}
    if robustness.donor_split == "train":
        return given | {code: entities for code, entities in of_own.items() if code in given}
    others = sorted(set(pool.donors) - {pool.language})
    trained = [*of_own.values(), *(whole_texts[code].entities for code in others)]
    return {code: entities_without(entities, trained) for code, entities in given.items()}


def perturbed_text(
    data: LanguageData,
    trial: TrialData,
    robustness: RobustnessSpec,
    pool: DonorPool,
    draw: int,
) -> ScoredText:
    """A language's perturbed test sentences with all that scoring needs, made once a process.

    Their sub-words, which take most of the time, are made once a machine. What is drawn is drawn
    again, so a kept file is known by the sentences themselves and by nothing that led to them.

    Args:
        data: the language, whose test split is scored.
        trial: what its trial reads, the donors of the pool included.
        robustness: the seed, and which split gives entities.
        pool: the perturbation of this language and its donors, at least one.
        draw: which of the draws, from 0.
    """

    source, own = data.source, trial.train_texts[data.language]

    def make() -> ScoredText:
        donors = donor_entities(own, trial.whole_texts, trial.donor_texts, robustness, pool)
        perturbed = perturb(data.scored["test"].text, donors, robustness.seed, pool, draw)
        text = flatten(perturbed.sentences)
        facts = sentence_facts(own, text)
        return ScoredText(
            language=data.language,
            split="test",
            perturbation=pool.perturbation,
            draw=draw,
            text=text,
            encoded=encode_text(source.corpus, source.model, text, source.max_length),
            facts=facts,
            num_replaced=perturbed.num_replaced,
        )

    donors = (robustness.donor_fingerprint, robustness.donor_split)
    drawn = (robustness.seed, *donors, pool, draw)
    return LOADED.get(("perturbed", source, *drawn), make)


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


def perturb(
    test: FlatSentences,
    donors: Mapping[str, tuple[pa.Array, ...]],
    seed: int,
    pool: DonorPool,
    draw: int,
) -> Perturbed:
    """Replace the entities of a language's test sentences.

    Args:
        test: the sentences as published.
        donors: by code, the entities of each donor of the pool, see `donor_entities`.
        seed: of the replacements.
        pool: the language, the perturbation and the donors.
        draw: which of the draws, from 0.
    """
    original = unflatten(test)
    entities = find_entities(test.labels, test.offsets)
    keys = entity_keys(test, entities)
    of_donors = [donors[code] for code in sorted(pool.donors)]

    # A row an entity, in order: what the first sentences get does not depend on how many follow.
    chances = _generator(seed, pool, draw).random((len(entities), 2))
    chances = chances[_first_mentions(entities, keys)]
    new_keys = np.full(len(entities), None, object)
    for kind in range(test.tags.num_types):
        is_kind = entities.kind == kind
        forms = [of_language[kind] for of_language in of_donors]
        new_keys[is_kind] = _draw(keys.filter(is_kind), forms, chances[is_kind])

    is_replaced = np.array([key is not None for key in new_keys], bool)
    return Perturbed(
        original=original,
        sentences=_lay_in(original, entities, test.offsets, new_keys),
        num_replaced=entities.count(test.num_sentences, test.tags.num_types, is_replaced),
        num_donors=sum(len(forms) for of_language in of_donors for forms in of_language),
    )


def _first_mentions(entities: Entities, keys: pa.Array) -> np.ndarray:
    """For each entity the first one of its sentence with the same words and type, which may be
    itself: int64 (num_entities,)."""
    words = keys.dictionary_encode().indices.to_numpy()
    mentions = np.stack([entities.sentence, entities.kind, words])
    _, first, same = np.unique(mentions, axis=1, return_index=True, return_inverse=True)
    return first[same]


def _generator(seed: int, pool: DonorPool, draw: int) -> np.random.Generator:
    text = f"{seed} {pool.language} {pool.perturbation} {draw}"
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big"))


def _draw(keys: pa.Array, forms: Sequence[pa.Array], chances: np.ndarray) -> np.ndarray:
    """Draw another entity for each: a language that has one, then one of its entities.

    Args:
        keys: what to replace, all of one type: binary (n,).
        forms: the entities of that type of each language, sorted.
        chances: float64 (n, 2) in [0, 1).

    Returns:
        Keys, object (n,); None where no language has another entity.
    """
    # Where each language has the entity itself, -1 where it has not; both are (num_languages, n).
    own = np.stack([_positions(keys, of_language) for of_language in forms])
    num_others = np.array([[len(of_language)] for of_language in forms]) - (own >= 0)

    # The language: the languages that have another entity are numbered, and one number is drawn.
    is_open = num_others > 0
    rank = np.floor(chances[:, 0] * is_open.sum(0))
    language = (np.cumsum(is_open, 0) > rank).argmax(0)

    # The entity: a position among the others, stepping over the entity itself.
    column = np.arange(len(keys))
    own, num_others = own[language, column], num_others[language, column]
    position = np.floor(chances[:, 1] * num_others).astype(np.int64)
    position += (own >= 0) & (position >= own)

    drawn = np.full(len(keys), None, object)
    for number, of_language in enumerate(forms):
        chosen = np.flatnonzero((language == number) & is_open.any(0))
        drawn[chosen] = of_language.take(pa.array(position[chosen])).to_numpy(zero_copy_only=False)
    return drawn


def _positions(keys: pa.Array, forms: pa.Array) -> np.ndarray:
    return np.asarray(pc.fill_null(pc.index_in(keys, value_set=forms), -1).to_numpy())


def _lay_in(
    test: Sentences, entities: Entities, offsets: np.ndarray, new_keys: np.ndarray
) -> Sentences:
    """Put the new entities in, with B- and I- tags for their own lengths.

    Args:
        test: the sentences, which stay as they are.
        entities: of these sentences.
        offsets: int64 (num_sentences + 1,), first word of each sentence.
        new_keys: object (num_entities,), see `entity_keys`; None where an entity stays.
    """
    tokens = [list(sentence) for sentence in test.tokens]
    labels = [list(sentence) for sentence in test.labels]
    starts, ends = (
        position - offsets[entities.sentence] for position in (entities.start, entities.end)
    )
    columns = (entities.sentence, starts, ends, entities.kind, new_keys)
    places = list(zip(*(column.tolist() for column in columns), strict=True))

    # From the right, so that the places of the entities to the left stay true.
    for sentence, start, end, kind, key in reversed(places):
        if key is None:
            continue
        words = words_of_key(key)
        inside = 2 + 2 * kind  # see TagSet
        # An I- that starts an entity stays one: strict scores count neither it nor the new entity.
        first = labels[sentence][start]
        tokens[sentence][start:end] = words
        labels[sentence][start:end] = [first, *[inside] * (len(words) - 1)]
    return Sentences(tokens, labels, test.tags)


def _as_tsv(sentences: Sentences, path: str) -> bytes:
    for word in (word for sentence in sentences.tokens for word in sentence):
        if not word or "\n" in word or "\r" in word:
            raise ValueError(
                f"{path}: a text file cannot hold the word {word!r}; "
                "give a name that ends in .parquet"
            )
    blocks = (
        "".join(
            f"{word}\t{tag}\n"
            for word, tag in zip(words, sentences.tags.as_tags(labels), strict=True)
        )
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
    # What the numbers mean is said as the `datasets` library says it.
    names = {"names": perturbed.sentences.tags.tags, "_type": "ClassLabel"}
    feature = {"ner_tags": {"feature": names, "_type": "List"}}
    table = pa.table(columns).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": feature}})}
    )
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer)
    return buffer.getvalue().to_pybytes()  # type: ignore[no-any-return]
