"""Reading corpora: the hub's Parquet layout, text files, real WikiANN; and what bad files get."""

from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.hub_server import folder_files, hub, wikiann_files
from tests.wikiann_tags import TAGS
from workers.data.corpus import (
    draw_subset,
    examine_folder,
    load_sentences,
)
from workers.trial import CorpusSpec, TrialError

__all__ = ["hub"]


def path_corpus(path, **changes) -> CorpusSpec:
    fields = {
        "kind": "path",
        "name": None,
        "revision": None,
        "path": str(path),
        "seed": None,
        "fingerprint": "x",
    }
    limits = {"max_train_sentences": None, "max_eval_sentences": None}
    return CorpusSpec(**fields | limits | changes)


def write_parquet(folder, split, tokens, tags, name="-00000-of-00001") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        pa.table({"tokens": tokens, "ner_tags": tags}), folder / f"{split}{name}.parquet"
    )


def test_parquet_in_the_hubs_layout_is_read_in_file_order(tmp_path):
    write_parquet(tmp_path / "sw", "train", [["Juma", "alienda"]], [[1, 0]], "-00000-of-00002")
    write_parquet(tmp_path / "sw", "train", [["Nairobi"]], [[5]], "-00001-of-00002")
    sentences = load_sentences(path_corpus(tmp_path), "sw", "train")
    assert sentences.tokens == [["Juma", "alienda"], ["Nairobi"]]
    assert sentences.labels == [[1, 0], [5]]


def test_text_files_are_read(tmp_path):
    (tmp_path / "yo").mkdir()
    (tmp_path / "yo" / "test.tsv").write_text(
        "Ọ̀ṣun\tB-LOC\n:\tO\n\n\nAdé\tB-PER\r\nKẹ́hìndé\tI-PER\n"
    )
    sentences = load_sentences(path_corpus(tmp_path), "yo", "test")
    assert sentences.tokens == [["Ọ̀ṣun", ":"], ["Adé", "Kẹ́hìndé"]]
    assert sentences.labels == [[5, 0], [1, 2]]


def test_limits_keep_the_first_sentences(tmp_path):
    for split in ("train", "test"):
        write_parquet(tmp_path / "sw", split, [["a"], ["b"], ["c"]], [[0], [0], [0]])
    corpus = path_corpus(tmp_path, max_train_sentences=2, max_eval_sentences=1)
    assert load_sentences(corpus, "sw", "train").tokens == [["a"], ["b"]]
    assert load_sentences(corpus, "sw", "test").tokens == [["a"]]


def test_a_seed_draws_which_training_sentences_are_kept(tmp_path):
    words = [[str(number)] for number in range(50)]
    for language in ("sw", "yo"):
        for split in ("train", "test"):
            write_parquet(tmp_path / language, split, words, [[0]] * 50)

    def kept(limit: int, seed: int, language: str = "sw", split: str = "train") -> list[int]:
        corpus = path_corpus(tmp_path, max_train_sentences=limit, subset_seed=seed)
        return [int(words[0]) for words in load_sentences(corpus, language, split).tokens]

    assert len(kept(10, seed=0)) == 10
    assert kept(10, seed=0) == sorted({*kept(10, seed=0)})
    assert {*kept(10, seed=0)} < {*kept(30, seed=0)}
    assert kept(60, seed=0) == kept(50, seed=0, split="test") == [*range(50)]
    assert kept(10, seed=0, split="test") == [*range(50)], "it is training sentences that are drawn"
    others = [kept(10, seed=1), kept(10, seed=0, language="yo"), [*range(10)]]
    assert kept(10, seed=0) not in others


def test_a_draw_never_changes():
    """Trials of stored results were trained on it."""
    assert draw_subset(20_000, 5, 0, "en").tolist() == [5493, 5551, 6033, 8137, 19593]


def test_tags_that_continue_nothing_are_counted_not_refused(tmp_path):
    write_parquet(tmp_path / "ja", "train", [["東", "京"], ["a", "b", "c"]], [[6, 6], [1, 4, 4]])
    facts = examine_folder(tmp_path, "ja", ("train",))
    assert facts.num_starts["train"][1] == 2  # the first I-LOC, and the I-ORG after B-PER
    assert load_sentences(path_corpus(tmp_path), "ja", "train").labels == [[6, 6], [1, 4, 4]]


def test_fingerprint_follows_the_content_not_the_place(tmp_path):
    for place in ("here", "there"):
        for split in ("train", "test"):
            write_parquet(tmp_path / place / "sw", split, [["a"]], [[0]])
    here = examine_folder(tmp_path / "here", "sw", ("train", "test"))
    assert here.num_sentences == {"train": 1, "test": 1}
    assert here == examine_folder(tmp_path / "there", "sw", ("train", "test"))
    write_parquet(tmp_path / "there" / "sw", "test", [["b"]], [[0]])
    assert (
        here.fingerprint != examine_folder(tmp_path / "there", "sw", ("train", "test")).fingerprint
    )


def test_real_wikiann_has_its_known_sizes(wikiann):
    facts = examine_folder(wikiann, "yo", ("train", "validation", "test"))
    assert facts.num_sentences == {"train": 100, "validation": 100, "test": 100}
    sentences = load_sentences(path_corpus(wikiann), "sw", "train")
    assert len(sentences.tokens) == 1000
    assert sum(map(len, sentences.tokens)) == 5597


def test_real_japanese_has_unstarted_entities(wikiann):
    assert examine_folder(wikiann, "ja", ("train",)).num_starts["train"][1] > 0


HUB_CARD = """---
configs:
- config_name: sw
  data_files:
  - split: train
    path: sw/train-*
dataset_info:
- config_name: sw
  features:
  - name: tokens
    sequence: string
  - name: ner_tags
    sequence:
      class_label:
        names: {names}
---
"""


@pytest.mark.parametrize("names", [list(TAGS), ["B-PER", "O"], ["O", "B-MISC"]])
def test_a_repository_of_the_hub_is_loaded_and_its_tags_compared(hub, tmp_path, names):
    write_parquet(tmp_path / "sw", "train", [["Juma", "alienda"]], [[1, 0]])
    named = {f"'{label}'": name for label, name in enumerate(names)}
    card = HUB_CARD.format(names=str(named).replace('"', "")).encode()
    commit = hub.publish("dataset", "x/y", folder_files(tmp_path) | {"README.md": card})
    corpus = replace(path_corpus(tmp_path), kind="hub", name="x/y", revision=commit, path=None)
    if "B-MISC" not in names:
        labels = [[TAGS.index(names[1]), TAGS.index(names[0])]]
        assert load_sentences(corpus, "sw", "train").labels == labels
    else:
        with pytest.raises(TrialError, match=r"sw train: tags are \['O', 'B-MISC'\]; expected"):
            load_sentences(corpus, "sw", "train")
        listed = replace(corpus, entity_types=("DATE", "MISC"))
        assert load_sentences(listed, "sw", "train").labels == [[3, 0]]


def test_the_hub_gives_the_sentences_that_a_folder_gives(hub, wikiann, tmp_path):
    commit = hub.publish("dataset", "x/wikiann", wikiann_files(wikiann, ["sw"]))
    of_hub = replace(path_corpus(wikiann), kind="hub", name="x/wikiann", revision=commit, path=None)
    for split in ("train", "test"):
        expected = load_sentences(path_corpus(wikiann), "sw", split)
        assert load_sentences(of_hub, "sw", split) == expected


def test_sentences_of_the_hub_may_be_lines_of_json(hub, tmp_path):
    rows = b'{"tokens": ["Juma"], "ner_tags": [1]}\n{"tokens": ["a", "b"], "ner_tags": [0, 3]}\n'
    commit = hub.publish("dataset", "x/wikiann", {"sw/train.jsonl": rows})
    corpus = replace(
        path_corpus(tmp_path), kind="hub", name="x/wikiann", revision=commit, path=None
    )
    assert load_sentences(corpus, "sw", "train").labels == [[1], [0, 3]]


def test_numbers_on_the_hub_mean_nothing_until_somebody_names_them(hub, tmp_path):
    rows = b'{"tokens": ["Juma", "leo"], "tags": [1, 3]}\n'
    commit = hub.publish("dataset", "x/y", {"sw/train.jsonl": rows})
    corpus = replace(path_corpus(tmp_path), kind="hub", name="x/y", revision=commit, path=None)
    with pytest.raises(TrialError, match="^x/y sw train: has numbers in place of tags and no name"):
        load_sentences(corpus, "sw", "train")
    listed = replace(corpus, entity_types=("DATE", "PER"))
    assert load_sentences(listed, "sw", "train").labels == [[1, 3]]
    names = str({f"'{label}'": name for label, name in enumerate(("O", "B-LOC", "I-LOC", "B-PER"))})
    card = HUB_CARD.format(names=names.replace('"', "")).replace("- name: ner_tags", "- name: tags")
    files = {"sw/train-0.jsonl": rows, "README.md": card.encode()}
    named = replace(corpus, revision=hub.publish("dataset", "x/y", files))
    expected = [[TAGS.index("B-LOC"), TAGS.index("B-PER")]]
    assert load_sentences(named, "sw", "train").labels == expected


@pytest.mark.parametrize(
    ("tokens", "tags", "message"),
    [
        ([["a", "b"]], [[0, 7]], "tag 7 is outside 0 to 6"),
        ([["a"]], [[-1]], "tag -1 is outside 0 to 6"),
        ([["a", "b"]], [[0]], "sentence 0 has 2 words and 1 tags"),
        ([["a"], []], [[0], []], "sentence 1 has 0 words and 0 tags"),
        ([["a", None]], [[0, 0]], "1 empty words or tags"),
        ([["a"]], [["B-MISC"]], "tag .B-MISC. is none of O, B-PER"),
        ([["a"]], [[0.5]], "expected a list of strings and one of tags"),
        ([1], [[0]], "tokens int64.* expected a list of strings"),
    ],
)
def test_bad_parquet_content_is_refused_with_the_value(tmp_path, tokens, tags, message):
    write_parquet(tmp_path / "sw", "train", tokens, tags)
    with pytest.raises(TrialError, match=message) as caught:
        load_sentences(path_corpus(tmp_path), "sw", "train")
    assert caught.value.kind == "bad_data"
    assert "train-00000-of-00001.parquet" in str(caught.value)


def test_empty_split_is_refused(tmp_path):
    (tmp_path / "sw").mkdir()
    table = pa.table({"tokens": [[""]], "ner_tags": [[0]]}).slice(0, 0)
    pq.write_table(table, tmp_path / "sw" / "train.parquet")
    with pytest.raises(TrialError, match="no sentences; at least one is needed"):
        examine_folder(tmp_path, "sw", ("train",))


def test_a_column_that_one_shard_lacks_is_named_with_the_shard(tmp_path):
    write_parquet(tmp_path / "sw", "train", [["a"]], [[0]], "-00000-of-00002")
    table, shard = pa.table({"tokens": [["a"]]}), "train-00001-of-00002.parquet"
    pq.write_table(table, tmp_path / "sw" / shard)
    with pytest.raises(TrialError, match=f"{shard}: no column ner_tags; expected tokens and"):
        load_sentences(path_corpus(tmp_path), "sw", "train")


def test_missing_column_is_named(tmp_path):
    (tmp_path / "sw").mkdir()
    pq.write_table(pa.table({"words": [["a"]]}), tmp_path / "sw" / "train.parquet")
    with pytest.raises(TrialError, match="no column ner_tags, tokens"):
        load_sentences(path_corpus(tmp_path), "sw", "train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Juma\tB-MISC\n", r"test.tsv:1: tag 'B-MISC' is none of O, B-PER"),
        ("Juma\tO\nalone\n", r"test.tsv:2: 'alone' is not token<TAB>tag"),
        ("\n\n", "no sentences"),
    ],
)
def test_bad_text_is_refused_with_its_line(tmp_path, text, message):
    (tmp_path / "sw").mkdir()
    (tmp_path / "sw" / "test.tsv").write_text(text)
    with pytest.raises(TrialError, match=message):
        load_sentences(path_corpus(tmp_path), "sw", "test")


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "sw").mkdir()
    (tmp_path / "sw" / "test.tsv").write_bytes(b"a\tO\n\xff\xfe\n")
    with pytest.raises(TrialError, match=r"test.tsv:2: not UTF-8 text \(byte 0 of"):
        load_sentences(path_corpus(tmp_path), "sw", "test")


def test_file_that_is_not_parquet_is_refused(tmp_path):
    (tmp_path / "sw").mkdir()
    (tmp_path / "sw" / "train.parquet").write_bytes(b"hello")
    with pytest.raises(TrialError, match="not a readable Parquet file"):
        load_sentences(path_corpus(tmp_path), "sw", "train")


def test_damaged_pages_are_refused_with_the_file(tmp_path):
    write_parquet(tmp_path / "sw", "train", [["word"] * 50] * 50, [[0] * 50] * 50)
    file = next((tmp_path / "sw").iterdir())
    data = bytearray(file.read_bytes())
    data[4:60] = b"\xff" * 56
    file.write_bytes(bytes(data))
    with pytest.raises(
        TrialError, match="train-00000-of-00001.parquet: not a readable Parquet file"
    ):
        load_sentences(path_corpus(tmp_path), "sw", "train")


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "sw" / "train.tsv").mkdir(parents=True)
    with pytest.raises(TrialError, match="no split 'train'"):
        load_sentences(path_corpus(tmp_path), "sw", "train")


def test_a_byte_order_mark_is_no_part_of_a_word(tmp_path):
    (tmp_path / "sw").mkdir()
    (tmp_path / "sw" / "train.tsv").write_text("Juma\tB-PER\n", encoding="utf-8-sig")
    assert load_sentences(path_corpus(tmp_path), "sw", "train").tokens == [["Juma"]]


def test_missing_folder_language_and_split_are_told_apart(tmp_path):
    with pytest.raises(TrialError, match=r"nowhere' is not a folder"):
        examine_folder(tmp_path / "nowhere", "sw", ("train",))
    write_parquet(tmp_path / "sw", "train", [["a"]], [[0]])
    with pytest.raises(TrialError, match="'yo' has no folder in .*; folders there: sw"):
        examine_folder(tmp_path, "yo", ("train",))
    with pytest.raises(
        TrialError,
        match="no split 'test'; expected .*test.tsv, .conll.* found train-00000-of-00001.parquet",
    ):
        examine_folder(tmp_path, "sw", ("train", "test"))
