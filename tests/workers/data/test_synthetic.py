"""The embedded corpus: the same text everywhere, valid tags, many scripts, something to learn."""

import collections
import dataclasses
import functools
import hashlib
import importlib.metadata
import os
import random
import re
import statistics
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from tests.wikiann_tags import TAGS
from workers.data import synthetic
from workers.data.synthetic import LANGUAGES, fingerprint, make_sentences, num_sentences
from workers.data.synthetic_grammars import NUMBER_RANGES, SPAN_OF_YEARS
from workers.trial import SPLITS

ROOT = Path(__file__).parents[3]
WIKIANN = """
af ar bg bn de el en es et eu fa fi fr he hi hu id it ja jv ka kk ko ml mr ms my nl pt ru sw ta te
th tl tr ur vi yo zh
"""
WORD_LANGUAGES = [code for code, entry in LANGUAGES.items() if not entry.is_split_into_characters]
LARGE_LANGUAGES = [code for code, entry in LANGUAGES.items() if entry.num_train == 1000]

PRINT_DIGEST_OF_ALL = """
import hashlib
from workers.data.synthetic import LANGUAGES, make_sentences
digest = hashlib.sha256()
for language in sorted(LANGUAGES, reverse=REVERSE):
    for split in ("train", "validation", "test"):
        if not REVERSE:
            make_sentences("en", "validation", 7)
        digest.update(f"{language} {split} {make_sentences(language, split, 3)}".encode())
    print(language, digest.hexdigest())
    digest = hashlib.sha256()
"""


@functools.cache
def corpus(language, split):
    return make_sentences(language, split, seed=0)


def entities(words, tags):
    """(entity type, words) for each entity of a sentence."""
    found = []
    for word, tag in zip(words, tags, strict=True):
        if tag.startswith("B-"):
            found.append((tag[2:], [word]))
        elif tag.startswith("I-"):
            found[-1][1].append(word)
    return [(entity_type, tuple(entity_words)) for entity_type, entity_words in found]


@functools.cache
def entities_of_split(language, split):
    return [
        entity
        for words, tags in zip(*corpus(language, split), strict=True)
        for entity in entities(words, tags)
    ]


def script(character):
    return unicodedata.name(character).split()[0]


def run_python(code, **environment):
    finished = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return finished.stdout


@pytest.mark.slow
def test_processes_with_other_hash_seeds_write_the_same_text_whatever_was_written_before():
    forwards = run_python(PRINT_DIGEST_OF_ALL.replace("REVERSE", "False"), PYTHONHASHSEED="1")
    backwards = run_python(PRINT_DIGEST_OF_ALL.replace("REVERSE", "True"), PYTHONHASHSEED="2")
    assert len(forwards.splitlines()) == len(LANGUAGES)
    assert sorted(forwards.splitlines()) == sorted(backwards.splitlines())


def test_global_random_state_neither_moves_the_text_nor_is_moved():
    random.seed(1)
    expected_next = random.random()
    random.seed(1)
    first = make_sentences("ka", "train", seed=0)
    assert random.random() == expected_next
    random.seed(2)
    assert make_sentences("ka", "train", seed=0) == first


def test_seeds_and_splits_have_text_of_their_own():
    digests = {
        hashlib.sha256(repr(make_sentences("el", split, seed)).encode()).hexdigest()
        for split in SPLITS
        for seed in (0, 1, 11)
    }
    assert len(digests) == 9


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_tags_are_strict_iob2(language):
    for split in SPLITS:
        for words, tags in zip(*corpus(language, split), strict=True):
            assert len(words) == len(tags)
            for previous, tag in zip(["O", *tags], tags, strict=False):
                assert tag in TAGS
                assert not tag.startswith("I-") or previous[1:] == tag[1:], (words, tags)


def test_splits_have_as_many_sentences_as_announced_and_languages_differ_in_size():
    sizes = {language: num_sentences(language, "train") for language in LANGUAGES}
    for language in LANGUAGES:
        for split in SPLITS:
            assert len(corpus(language, split)[0]) == num_sentences(language, split)
        assert num_sentences(language, "validation") == num_sentences(language, "test")
        assert 100 <= num_sentences(language, "test") <= 200
    assert collections.Counter(sizes.values()) == {1000: 8, 400: 9, 100: 5}
    assert sizes["en"] == 1000
    assert sizes["mr"] == 100


def test_corpus_spans_fourteen_scripts_and_languages_of_wikiann():
    assert len(LANGUAGES) >= 14
    assert set(LANGUAGES) <= set(re.findall(r"\w+", WIKIANN))
    counts = collections.Counter(
        script(letter)
        for language in LANGUAGES
        for words in corpus(language, "train")[0]
        for letter in "".join(words)
        if letter.isalpha()
    )
    seen = {name for name, count in counts.items() if count > 100}
    european = {"LATIN", "CYRILLIC", "GREEK", "GEORGIAN"}
    asian = {
        "ARABIC",
        "HEBREW",
        "DEVANAGARI",
        "BENGALI",
        "TAMIL",
        "THAI",
        "HANGUL",
        "CJK",
        "HIRAGANA",
        "KATAKANA",
    }
    assert european | asian <= seen


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_entities_are_written_in_the_scripts_of_their_language(language):
    scripts = LANGUAGES[language].scripts
    for split in SPLITS:
        for _, words in entities_of_split(language, split):
            for letter in filter(str.isalpha, "".join(words)):
                assert unicodedata.name(letter).startswith(scripts), words


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_every_symbol_of_a_grammar_means_something(language):
    entry = LANGUAGES[language]
    known = {*entry.rules, *entry.names, *NUMBER_RANGES, SPAN_OF_YEARS}
    for alternatives in entry.rules.values():
        for text in alternatives:
            assert set(re.findall(r"\{(\w*)\}", text)) <= known, text
            assert (
                text.count("[")
                == len(re.findall(r"\[(?:PER|ORG|LOC)(?: [^\[\]]+)?\]", text))
                == text.count("]")
            )


@pytest.mark.parametrize("language", WORD_LANGUAGES)
def test_sentences_are_as_short_as_those_of_wikiann(language):
    lengths = [len(words) for words in corpus(language, "train")[0]]
    assert min(lengths) >= 3
    assert max(lengths) <= 25
    assert 6 <= statistics.median(lengths) <= 10


@pytest.mark.parametrize("language", ["ja", "th", "zh"])
def test_languages_without_spaces_have_a_character_a_word(language):
    sentences = corpus(language, "train")[0]
    assert {len(word) for words in sentences for word in words} == {1}
    assert not any(word.isspace() for words in sentences for word in words)
    assert 3 <= min(map(len, sentences)) <= max(map(len, sentences)) <= 60


def test_punctuation_stands_apart_from_words():
    for language in ("en", "de", "ru", "ar", "hi"):
        for words in corpus(language, "train")[0]:
            for word in words:
                assert len(word) == 1 or not set(word) & set("«»„“”(),;:"), words


def test_numbers_are_written_in_the_digits_of_the_language():
    persian = "".join("".join(words) for words in corpus("fa", "train")[0])
    assert len(re.findall("[۰-۹]{4}", persian)) > 100
    assert not re.findall("[0-9]", persian)


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_entity_types_are_balanced_and_few_sentences_have_none(language):
    found = collections.Counter(
        entity_type for entity_type, _ in entities_of_split(language, "train")
    )
    assert set(found) == {"PER", "ORG", "LOC"}
    assert min(found.values()) > 0.2 * found.total()
    tags = [tags for split in SPLITS for tags in corpus(language, split)[1]]
    assert 0 < sum(set(sentence) == {"O"} for sentence in tags) < 0.05 * len(tags)


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_most_test_entities_are_not_in_train(language):
    known = {words for _, words in entities_of_split(language, "train")}
    for split in ("validation", "test"):
        found = entities_of_split(language, split)
        assert sum(words not in known for _, words in found) > 0.7 * len(found)


def test_some_test_entities_are_in_train():
    for language in LARGE_LANGUAGES:
        known = {words for _, words in entities_of_split(language, "train")}
        assert any(words in known for _, words in entities_of_split(language, "test"))


def test_few_test_sentences_are_in_train():
    for language in LANGUAGES:
        known = set(map(tuple, corpus(language, "train")[0]))
        sentences = corpus(language, "test")[0]
        assert sum(tuple(words) in known for words in sentences) < 0.1 * len(sentences)


@pytest.mark.parametrize("language", sorted(set(LARGE_LANGUAGES) & set(WORD_LANGUAGES)))
def test_one_word_means_different_things_in_different_sentences(language):
    tags_of_word = collections.defaultdict(set)
    for words, tags in zip(*corpus(language, "train"), strict=True):
        for word, tag in zip(words, tags, strict=True):
            if len(word) > 3:
                tags_of_word[word].add(tag[2:])
    assert sum({"PER", "ORG", "LOC"} <= tags for tags in tags_of_word.values()) >= 20
    assert sum({"", "PER"} <= tags for tags in tags_of_word.values()) >= 20


def test_an_english_town_is_a_place_alone_and_a_part_of_an_organisation_in_its_university():
    found = set(entities_of_split("en", "train") + entities_of_split("en", "test"))
    towns = {words for entity_type, words in found if entity_type == "LOC"}
    universities = {words for entity_type, words in found if words[:2] == ("University", "of")}
    assert universities
    assert {entity_type for entity_type, words in found if words in universities} == {"ORG"}
    assert {word for town in towns for word in town} & {
        word for name in universities for word in name[2:]
    }


def test_fingerprint_names_seed_and_faker():
    assert fingerprint(3) == fingerprint(3) != fingerprint(4)
    assert importlib.metadata.version("faker") in fingerprint(3)
    assert f"-{synthetic.GENERATOR_VERSION}-" in fingerprint(3)


def test_importing_the_module_and_asking_for_sizes_loads_nothing_heavy():
    code = """
import sys
from workers.data.synthetic import fingerprint, num_sentences
import workers.data.wordpiece
fingerprint(0), num_sentences("en", "train")
print(sorted({"faker", "numpy", "tokenizers", "torch", "transformers"} & set(sys.modules)))
"""
    assert run_python(code).strip() == "[]"


@pytest.mark.parametrize("call", [num_sentences, functools.partial(make_sentences, seed=0)])
def test_unknown_language_is_refused_with_those_there_are(call):
    with pytest.raises(
        ValueError,
        match=r"language: 'xx' is not in the synthetic corpus; it has ar, bn, de, .*, zh$",
    ):
        call("xx", "train")


@pytest.mark.parametrize("call", [num_sentences, functools.partial(make_sentences, seed=0)])
def test_unknown_split_is_refused_with_those_there_are(call):
    with pytest.raises(
        ValueError, match="split: 'dev' is unknown; give one of train, validation, test"
    ):
        call("en", "dev")


def test_a_locale_without_names_in_the_script_is_refused():
    english_in_thai_letters = dataclasses.replace(LANGUAGES["en"], scripts=("THAI",))
    writer = synthetic._Writer(english_in_thai_letters, "any key", "train")
    with pytest.raises(
        RuntimeError,
        match=r"en_US gave no \w+ in THAI letters in 60 draws; use the Faker version that",
    ):
        writer._draw_name("town")
