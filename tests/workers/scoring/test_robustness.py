"""Perturbed test sets: what is replaced, by what, how often, and that every process draws the
same."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from seqeval.metrics.sequence_labeling import get_entities

from tests.wikiann_tags import ENTITY_TYPES, TAGS
from tests.workers.data.test_corpus import path_corpus, write_parquet
from workers.data.corpus import Sentences, load_sentences
from workers.data.entities import find_entities, flatten_labels
from workers.scoring.robustness import Perturbed, load_perturbed, write_perturbed
from workers.trial import PERTURBATIONS, DonorPool, RobustnessSpec, TrialError

ROOT = Path(__file__).parents[3]
SPEC = RobustnessSpec(
    perturbations=PERTURBATIONS,
    draws=3,
    seed=0,
    donor_fingerprint=None,
    donor_split="train",
    pools=(),
)
LABELS = {"PER": (1, 2), "ORG": (3, 4), "LOC": (5, 6)}


def pool_of(*donors: str, language="sw", perturbation="within_script") -> DonorPool:
    return DonorPool(language=language, perturbation=perturbation, donors=donors, reason=None)


def write_train(folder: Path, language: str, *entities: tuple[str, str]) -> None:
    """A train split with a sentence an entity, each given as its type and its words."""
    tokens = [["see", *words.split()] for _, words in entities]
    tags = [[0, LABELS[kind][0], *[LABELS[kind][1]] * words.count(" ")] for kind, words in entities]
    write_parquet(folder / language, "train", tokens, tags)


def perturb(folder: Path, tokens, labels, *donors: str, draw=0, spec=SPEC, **changes) -> Perturbed:
    write_parquet(folder / "sw", "test", tokens, labels)
    return load_perturbed(path_corpus(folder, **changes), spec, pool_of(*donors), draw)


def entities_of(sentences: Sentences) -> list[list[tuple[str, int, int, tuple[str, ...]]]]:
    """By sentence: type, first and last word, words; found by seqeval."""
    tags = [[TAGS[label] for label in labels] for labels in sentences.labels]
    return [
        [
            (kind, first, last, tuple(words[first : last + 1]))
            for kind, first, last in get_entities(one)
        ]
        for words, one in zip(sentences.tokens, tags, strict=True)
    ]


def forms_of(sentences: Sentences) -> set[tuple[str, tuple[str, ...]]]:
    return {(kind, words) for found in entities_of(sentences) for kind, _, _, words in found}


def outside(sentences: Sentences) -> list[list[str | None]]:
    """The words of each sentence, None for each entity."""
    kept = []
    for words, found in zip(sentences.tokens, entities_of(sentences), strict=True):
        words = list(words)
        for _, first, last, _ in reversed(found):
            words[first : last + 1] = [None]
        kept.append(words)
    return kept


def test_longer_and_shorter_entities_get_tags_of_their_own_length(tmp_path):
    write_train(tmp_path, "yo", ("PER", "Juma"), ("LOC", "Dar es Salaam"))
    found = perturb(
        tmp_path, [["he", "met", "Ann", "Lee", "in", "Rome", "."]], [[0, 0, 1, 2, 0, 5, 0]], "yo"
    )
    assert found.sentences.tokens == [["he", "met", "Juma", "in", "Dar", "es", "Salaam", "."]]
    assert found.sentences.labels == [[0, 0, 1, 0, 5, 6, 6, 0]]
    assert found.original.tokens == [["he", "met", "Ann", "Lee", "in", "Rome", "."]]
    assert found.num_replaced.tolist() == [[1, 0, 1]]
    assert found.num_donors == 2


def test_neighbours_stay_apart_and_an_entity_without_a_beginning_stays_one(tmp_path):
    write_train(tmp_path, "yo", ("PER", "Juma Musa"))
    found = perturb(tmp_path, [["Ann", "Lee", "Bo"], ["Cy", "Di"]], [[1, 1, 4], [2, 2]], "yo")
    assert found.sentences.tokens == [["Juma", "Musa", "Juma", "Musa", "Bo"], ["Juma", "Musa"]]
    assert found.sentences.labels == [
        [1, 2, 1, 2, 4],
        [2, 2],
    ]  # Bo is ORG, of which there is no donor: it stays
    assert found.num_replaced.tolist() == [[2, 0, 0], [1, 0, 0]]


def test_sentences_without_entities_stay(tmp_path):
    write_train(tmp_path, "yo", ("PER", "Juma"))
    found = perturb(tmp_path, [["nothing", "here"]], [[0, 0]], "yo")
    assert found.sentences == found.original
    assert found.num_replaced.tolist() == [[0, 0, 0]]


def test_what_is_its_only_donor_stays_and_is_not_counted(tmp_path):
    write_train(tmp_path, "yo", ("PER", "Juma"), ("PER", "Juma"))
    found = perturb(tmp_path, [["Juma", "Ann"]], [[1, 1]], "yo")
    assert found.sentences.tokens == [["Juma", "Juma"]]
    assert found.num_replaced.tolist() == [[1, 0, 0]]
    assert found.num_donors == 1


@pytest.mark.parametrize("draw", range(3))
def test_an_entity_never_takes_its_own_place(tmp_path, draw):
    write_train(tmp_path, "yo", ("LOC", "Ibadan"), ("LOC", "Ile Ife"))
    write_train(tmp_path, "jv", ("LOC", "Ibadan"))
    found = perturb(
        tmp_path, [["Ibadan"], ["Ile", "Ife"]] * 50, [[5], [5, 6]] * 50, "jv", "yo", draw=draw
    )
    assert found.sentences.tokens == [["Ile", "Ife"], ["Ibadan"]] * 50
    assert found.num_replaced.sum(0).tolist() == [0, 0, 100]


def test_an_entity_that_a_sentence_names_twice_is_the_same_new_one_twice(tmp_path):
    write_train(tmp_path, "yo", *[("PER", f"Ade {i}") for i in range(50)])
    write_train(tmp_path, "jv", *[(kind, f"Adi{i}") for i in range(50) for kind in ("PER", "ORG")])
    sentence, labels = ["Ann", "met", "Ann", ",", "Bo", "Lee", "(", "Ann", ")"], [1, 0, 1, 0, 1, 2]
    tokens, tags = [sentence, sentence], [[*labels, 0, 1, 0], [*labels, 0, 3, 0]]
    found = perturb(tmp_path, tokens, tags, "yo", "jv")
    first, second = (
        [words for _, _, _, words in of_sentence] for of_sentence in entities_of(found.sentences)
    )
    assert first[0] == first[1] == first[3] != first[2], "neither is another person"
    assert second[0] == second[1] not in (second[2], second[3]), "nor a firm of that name"
    assert first[0] != second[0], "in another sentence it is drawn anew"
    assert found.num_replaced.tolist() == [[4, 0, 0], [3, 1, 0]]


def test_each_language_has_the_same_chance_and_each_of_its_entities_once(tmp_path):
    write_train(tmp_path, "jv", ("PER", "Adi"))
    write_train(
        tmp_path,
        "yo",
        *[("PER", "Ade")] * 30,
        *[("PER", f"Bola{i}") for i in range(9)],
        ("ORG", "Ori"),
    )
    write_train(tmp_path, "af", ("ORG", "Sasol"))  # no person: it has no chance, and takes none
    found = perturb(tmp_path, [["Ann"]] * 1000, [[1]] * 1000, "af", "jv", "yo")
    drawn = [words[0] for words in found.sentences.tokens]
    assert drawn.count("Adi") == pytest.approx(500, abs=60)  # four standard deviations
    assert drawn.count("Ade") == pytest.approx(50, abs=28)
    assert len(set(drawn)) == 11


def test_donors_are_of_train_alone_and_within_its_limit(tmp_path):
    for split, words in (("train", ["Juma", "Musa"]), ("validation", ["Vali"])):
        write_parquet(tmp_path / "yo", split, [[word] for word in words], [[1] for _ in words])
    tokens, labels = [["Ann"]] * 100, [[1]] * 100
    all_of_them = perturb(tmp_path, tokens, labels, "yo")
    assert {words[0] for words in all_of_them.sentences.tokens} == {"Juma", "Musa"}
    first = perturb(tmp_path, tokens, labels, "yo", max_train_sentences=1)
    assert first.sentences.tokens == [["Juma"]] * 100


@pytest.mark.parametrize("split", ["validation", "test"])
def test_donors_of_another_split_are_those_that_no_model_of_the_pool_was_trained_on(
    tmp_path, split
):
    """Not in a train split of the language, of the donor itself or of another donor; a name that is
    there as that of a place is another entity."""
    write_train(tmp_path, "sw", ("PER", "Juma"))
    write_train(tmp_path, "jv", ("PER", "Adi"), ("LOC", "Musa"))
    write_train(tmp_path, "yo", ("PER", "Ade"))
    for language, names in (("yo", ["Juma", "Adi", "Ade", "Musa"]), ("jv", ["Adi", "Ade"])):
        write_parquet(tmp_path / language, split, [[name] for name in names], [[1]] * len(names))
    tokens, labels = [["Ann"]] * 20, [[1]] * 20
    spec = replace(SPEC, donor_split=split)
    found = perturb(tmp_path, tokens, labels, "jv", "yo", spec=spec)
    assert found.sentences.tokens == [["Musa"]] * 20
    assert found.num_donors == 1
    none = perturb(tmp_path, tokens, labels, "jv", "yo", spec=spec, max_eval_sentences=3)
    assert (none.num_donors, none.num_replaced.sum()) == (0, 0), "the limit holds for donors too"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("language", "perturbation", "donors"),
    [
        ("sw", "within_language", ("sw",)),
        ("ja", "within_language", ("ja",)),
        ("hi", "within_script", ("mr",)),
        ("sw", "within_script", ("yo", "vi", "tl")),
    ],
)
def test_real_entities_alone_change_and_come_from_train_splits_of_the_pool(
    language, perturbation, donors, wikiann
):
    corpus = path_corpus(wikiann, max_eval_sentences=1000)
    pool = pool_of(*donors, language=language, perturbation=perturbation)
    found = load_perturbed(corpus, SPEC, pool, 1)
    assert found.original == load_sentences(corpus, language, "test")
    assert outside(found.sentences) == outside(found.original)
    available = set().union(*(forms_of(load_sentences(corpus, donor, "train")) for donor in donors))
    num_replaced = np.zeros((1000, 3), int)
    for number, pair in enumerate(
        zip(entities_of(found.original), entities_of(found.sentences), strict=True)
    ):
        for (kind, *_, old), (new_kind, *_, new) in zip(*pair, strict=True):
            assert new_kind == kind
            assert (kind, new) in available
            assert new != old
            num_replaced[number, ENTITY_TYPES.index(kind)] += 1
    np.testing.assert_array_equal(found.num_replaced, num_replaced)


@pytest.mark.slow
@pytest.mark.parametrize("matching", ["strict", "lenient"])
@pytest.mark.parametrize("language", ["ja", "zh"])  # they have I- tags that continue nothing
def test_a_replaced_text_has_as_many_entities_as_the_published_one(wikiann, language, matching):
    found = load_perturbed(path_corpus(wikiann), SPEC, pool_of(language, language=language), 0)
    before, after = (
        find_entities(*flatten_labels(sentences.labels), matching).count(len(sentences.labels), 3)
        for sentences in (found.original, found.sentences)
    )
    np.testing.assert_array_equal(before, after)


def test_draws_seeds_and_perturbations_differ(wikiann):
    corpus = path_corpus(wikiann)

    def tokens(seed=0, draw=0, **changes):
        return load_perturbed(
            corpus, replace(SPEC, seed=seed), pool_of("sw", **changes), draw
        ).sentences.tokens

    sets = [
        tokens(),
        tokens(draw=1),
        tokens(draw=2),
        tokens(seed=1),
        tokens(perturbation="within_family"),
    ]
    for one, other in ((a, b) for a in range(5) for b in range(a)):
        equal = np.mean(
            [ours == theirs for ours, theirs in zip(sets[one], sets[other], strict=True)]
        )
        assert equal < 0.1


def test_the_corpus_fingerprint_the_donors_order_and_the_test_limit_change_no_sentence(wikiann):
    corpus = path_corpus(wikiann)
    found = load_perturbed(corpus, SPEC, pool_of("yo", "tl"), 0)
    for other, donors in ((replace(corpus, fingerprint="y"), ("yo", "tl")), (corpus, ("tl", "yo"))):
        assert load_perturbed(other, SPEC, pool_of(*donors), 0).sentences == found.sentences
    few = load_perturbed(replace(corpus, max_eval_sentences=100), SPEC, pool_of("yo", "tl"), 0)
    assert few.sentences.tokens == found.sentences.tokens[:100]


def digest(found: Perturbed) -> str:
    return hashlib.sha256(repr((found.sentences, found.num_replaced.tolist())).encode()).hexdigest()


PRINT_DIGESTS = """
import sys
from tests.workers.scoring.test_robustness import SPEC, digest, load_perturbed, path_corpus, pool_of
corpus = path_corpus(sys.argv[1])
for language, draw in (("yo", 1), ("hi", 0), ("sw", 1), ("sw", 0)):  # not the order of the test
    print(digest(load_perturbed(corpus, SPEC, pool_of("mr", "tl", "yo", language=language), draw)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_every_process_draws_the_same_in_any_order(hash_seed, wikiann):
    corpus = path_corpus(wikiann)
    ours = [
        digest(load_perturbed(corpus, SPEC, pool_of("mr", "tl", "yo", language=language), draw))
        for language, draw in (("sw", 0), ("sw", 1), ("hi", 0), ("yo", 1))
    ]
    command = [sys.executable, "-c", PRINT_DIGESTS, str(wikiann)]
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    theirs = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert theirs.split() == ours[::-1]


def test_what_is_drawn_does_not_change_with_versions(tmp_path):
    """Stored scores are compared with new ones; whoever changes this raises RECIPE_VERSION."""
    write_train(tmp_path, "jv", *[("PER", f"Adi {i}") for i in range(20)])
    write_train(tmp_path, "yo", *[("PER", f"Bola{i}") for i in range(20)])
    found = perturb(tmp_path, [["Ann", ",", "Bo", "Lee"]] * 2, [[1, 0, 1, 2]] * 2, "jv", "yo")
    assert [" ".join(words) for words in found.sentences.tokens] == [
        "Adi 4 , Bola8",
        "Adi 5 , Adi 8",
    ]


def draw_plainly(
    old: list[tuple[int, str, tuple[str, ...]]], donors: list[Sentences], generator
) -> list[tuple[str, ...]]:
    """The words of each new entity for old ones, given by sentence, type and words, one after
    another."""
    forms = [
        sorted(forms_of(sentences), key=lambda form: "\uffff".join(form[1])) for sentences in donors
    ]
    drawn, chances = [], {}
    for sentence, kind, words in old:
        chance = generator.random(2)
        for_language, for_entity = chances.setdefault((sentence, kind, words), chance)
        others = [[new for of, new in known if of == kind and new != words] for known in forms]
        others = [known for known in others if known]
        chosen = others[int(for_language * len(others))] if others else [words]
        drawn.append(chosen[int(for_entity * len(chosen))])
    return drawn


@pytest.mark.slow
def test_drawing_for_all_at_once_is_drawing_one_after_another(wikiann):
    corpus = path_corpus(wikiann, max_train_sentences=500)
    found = load_perturbed(corpus, SPEC, pool_of("jv", "sw", "vi", language="hi"), 2)
    old, new = (
        [
            (number, kind, words)
            for number, sentence in enumerate(entities_of(sentences))
            for kind, _, _, words in sentence
        ]
        for sentences in (found.original, found.sentences)
    )
    assert len(set(old)) < len(old), "some sentence names an entity twice"
    seed = int.from_bytes(hashlib.sha256(b"0 hi within_script 2").digest()[:16], "big")
    donors = [load_sentences(corpus, donor, "train") for donor in ("jv", "sw", "vi")]
    assert [words for *_, words in new] == draw_plainly(old, donors, np.random.default_rng(seed))


@pytest.mark.parametrize("suffix", ["tsv", "parquet"])
def test_a_written_set_is_read_back_as_a_split(tmp_path, suffix, wikiann):
    found = load_perturbed(path_corpus(wikiann), SPEC, pool_of("sw"), 0)
    write_perturbed(f"{tmp_path}/sw/test.{suffix}", found)
    assert load_sentences(path_corpus(tmp_path), "sw", "test") == found.sentences
    assert [file.name for file in (tmp_path / "sw").iterdir()] == [f"test.{suffix}"]


def test_parquet_also_has_the_original_and_what_was_replaced(tmp_path, wikiann):
    found = load_perturbed(path_corpus(wikiann), SPEC, pool_of("sw"), 0)
    write_perturbed(f"{tmp_path}/new.parquet", found)
    table = pq.read_table(tmp_path / "new.parquet")
    assert table.column_names == ["tokens", "ner_tags", "original_tokens", "num_replaced"]
    assert table["original_tokens"].to_pylist() == found.original.tokens
    assert table["num_replaced"].to_pylist() == found.num_replaced.sum(1).tolist()


def test_a_word_that_begins_with_a_byte_order_mark_keeps_it(tmp_path):
    write_train(tmp_path, "yo", ("PER", "Juma"))
    found = perturb(tmp_path, [["\ufeffhabari", "Ann"]], [[0, 1]], "yo")
    write_perturbed(f"{tmp_path}/ta/test.tsv", found)
    assert load_sentences(path_corpus(tmp_path), "ta", "test").tokens == [["\ufeffhabari", "Juma"]]


def test_text_between_sentences_is_one_empty_line(tmp_path):
    write_train(tmp_path, "yo", ("PER", "Juma Musa"))
    write_perturbed(
        f"{tmp_path}/new.tsv", perturb(tmp_path, [["he", "Ann"], ["so"]], [[0, 1], [0]], "yo")
    )
    assert (tmp_path / "new.tsv").read_text() == "he\tO\nJuma\tB-PER\nMusa\tI-PER\n\nso\tO\n"


@pytest.mark.parametrize("word", ["two\nlines", "a\r", ""])
def test_a_word_that_text_cannot_hold_is_refused(tmp_path, word):
    write_train(tmp_path, "yo", ("PER", "Juma"))
    found = perturb(tmp_path, [[word, "Ann"]], [[0, 1]], "yo")
    with pytest.raises(
        ValueError, match="cannot hold the word '.*'; give a name that ends in .parquet"
    ):
        write_perturbed(f"{tmp_path}/new.tsv", found)
    assert not (tmp_path / "new.tsv").exists()
    write_perturbed(f"{tmp_path}/new.parquet", found)


@pytest.mark.parametrize(
    ("name", "suffix"), [("new.csv", ".csv"), ("new", ""), ("new.parquet.gz", ".gz")]
)
def test_another_kind_of_file_is_refused(tmp_path, name, suffix):
    write_train(tmp_path, "yo", ("PER", "Juma"))
    found = perturb(tmp_path, [["Ann"]], [[1]], "yo")
    with pytest.raises(
        ValueError, match=f"{name}: suffix '{suffix}' is not known; .* ends in .tsv or .parquet"
    ):
        write_perturbed(f"{tmp_path}/{name}", found)


def test_others_give_what_is_held_out_of_them_and_a_language_itself_does_not(tmp_path):
    people = [("PER", f"P{number}") for number in range(10)]
    for code in ("sw", "yo"):
        write_train(tmp_path, code, *people)
    held = {"validation_from_train": 0.3}
    found = perturb(tmp_path, [["Ann"]], [[1]], "sw", "yo", **held)
    assert found.num_donors == 7 + 10
    assert perturb(tmp_path, [["Ann"]], [[1]], "sw", "yo").num_donors == 20


def test_an_empty_pool_is_refused_with_its_reason(tmp_path):
    pool = DonorPool(
        language="el",
        perturbation="within_script",
        donors=(),
        reason="no other language is in Grek",
    )
    with pytest.raises(
        ValueError, match=r"el within_script has no donors \(no other language is in Grek\)"
    ):
        load_perturbed(path_corpus(tmp_path), SPEC, pool, 0)


@pytest.mark.parametrize("draw", [-1, 3])
def test_a_draw_that_is_not_asked_for_is_refused(tmp_path, draw):
    with pytest.raises(
        ValueError, match=f"draw: {draw} is outside 0 to 2; robustness.draws says how many"
    ):
        load_perturbed(path_corpus(tmp_path), SPEC, pool_of("yo"), draw)


def test_a_donor_that_the_corpus_does_not_have_is_refused(tmp_path):
    with pytest.raises(TrialError, match="'yo' has no folder in .*; folders there: sw"):
        perturb(tmp_path, [["Ann"]], [[1]], "yo")
