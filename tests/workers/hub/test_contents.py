"""Which files of a repository are needed."""

import pytest

from workers.hub.contents import (
    matches,
    model_files,
    read_card,
    split_files,
)
from workers.trial import TrialError

CARD = """---
configs:
- config_name: sw
  data_files:
  - split: train
    path: sw/train-*
  - split: test
    path: [sw/test.parquet]
- config_name: no
  data_files:
  - split: train
    path: "deep/**/no.jsonl"
dataset_info:
- config_name: sw
  features:
  - name: tokens
    sequence: string
  - name: ner_tags
    sequence:
      class_label:
        names:
          '1': B-PER
          '0': O
---
# Words
"""
FILES = [
    "README.md",
    "sw/train-00001-of-00002.parquet",
    "sw/train-00000-of-00002.parquet",
    "sw/test.parquet",
    "deep/down/here/no.jsonl",
    "yo/train-00000-of-00001.parquet",
]


def choose(language: str, split: str, files=FILES, card=CARD) -> list[str]:
    return split_files(files, read_card(card, "x"), language, split, "corpus.name: x/y")


def test_the_head_of_the_readme_says_which_files_are_a_split():
    assert choose("sw", "train") == [FILES[2], FILES[1]], "shards in order"
    assert choose("sw", "test") == ["sw/test.parquet"]
    assert choose("no", "train") == ["deep/down/here/no.jsonl"], "`no` is Norwegian, not false"


def test_without_a_head_a_language_has_a_folder():
    assert choose("sw", "train", card="# Words") == [FILES[2], FILES[1]]
    assert choose("yo", "train") == ["yo/train-00000-of-00001.parquet"], (
        "not in the head, but there"
    )


def test_what_the_hub_itself_makes_of_a_data_set_has_a_folder_a_split():
    """On its branch refs/convert/parquet, where shards do not say how many there are."""
    files = [
        f"bam/{split}/{shard}.parquet" for split in ("train", "test") for shard in ("0001", "0000")
    ]
    assert choose("bam", "train", files, "") == ["bam/train/0000.parquet", "bam/train/0001.parquet"]


JOINT_CARD = """---
configs:
- config_name: default
  data_files:
  - split: train_de
    path: data/train_de-*
  - split: val_de
    path: data/val_de-*
---
"""


@pytest.mark.parametrize("card", [JOINT_CARD, ""], ids=["with a head", "without"])
@pytest.mark.parametrize("end", ["-00000-of-00001.parquet", ".jsonl"])
def test_one_configuration_may_have_splits_of_each_language(card, end):
    if card and end == ".jsonl":
        card = card.replace("-*", ".*")
    files = [f"data/{split}_{code}{end}" for split in ("train", "val") for code in ("de", "de2")]
    assert choose("de", "train", files, card) == [f"data/train_de{end}"]
    assert choose("de", "validation", files, card) == [f"data/val_de{end}"]
    with pytest.raises(TrialError, match="x/y: has no language 'ru'; it has "):
        choose("ru", "train", files, card)


def test_languages_and_splits_that_a_joint_configuration_lacks_are_named():
    with pytest.raises(TrialError, match="has no language 'fr'; it has de$"):
        choose("fr", "train", [], JOINT_CARD)
    with pytest.raises(TrialError, match="de has no split 'test' there"):
        choose("de", "test", [], JOINT_CARD)


def test_parquet_goes_before_text_of_the_same_split():
    """Or sentences would come twice."""
    files = ["data/val_de-00000-of-00001.parquet", "val_de.jsonl", "val_en.jsonl"]
    assert choose("de", "validation", files, "") == files[:1]
    assert choose("en", "validation", files, "") == files[2:]


@pytest.mark.parametrize(
    ("language", "split", "files", "message"),
    [
        ("fr", "train", FILES, "has no language 'fr'; it has no, sw"),
        ("sw", "validation", FILES, "sw has no split 'validation' there"),
        ("sw", "train", FILES[:2], r"1 of 2 files sw/train-\* are there"),
    ],
)
def test_what_is_missing_is_named(language, split, files, message):
    with pytest.raises(TrialError, match=message) as caught:
        choose(language, split, files)
    assert caught.value.kind == "bad_data"
    assert str(caught.value).startswith("corpus.name: x/y: ")


def test_the_head_names_the_tags():
    card = read_card(CARD, "x")
    assert card.names_of_tags("sw") == ["O", "B-PER"]
    assert card.names_of_tags("no") is None
    of_all = CARD.replace("- config_name: sw\n  features", "- features")
    assert read_card(of_all, "x").names_of_tags("no") == ["O", "B-PER"]
    other = CARD.replace("- name: ner_tags", "- name: tags")
    assert read_card(other, "x").names_of_tags("sw") == ["O", "B-PER"]


@pytest.mark.parametrize(
    "head",
    [
        "configs: [",
        "configs: [1]",
        "configs: 3",
        "configs:\n- config_name: sw\n  data_files: [{split: train, path: 3}]",
        "dataset_info: [3]",
        "dataset_info:\n  features: [{name: ner_tags, dtype: unheard_of}]",
    ],
)
def test_a_head_that_datasets_cannot_read_is_refused(head):
    with pytest.raises(
        TrialError, match=r"x: the head of its README.md cannot be read \(.+\)"
    ) as e:
        read_card(f"---\n{head}\n---\n", "x")
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("name", "pattern", "is_match"),
    [
        ("sw/train-0.parquet", "sw/train-*", True),
        ("sw/more/train-0.parquet", "sw/*", False),
        ("sw/more/train-0.parquet", "sw/**", True),
        ("a/b/c/x.json", "**/x.json", True),
        ("x.json", "**/x.json", True),
        ("sw/train-0.parquet", "./sw/train-?.parquet", True),
    ],
)
def test_patterns_are_of_paths(name, pattern, is_match):
    assert matches(name, pattern) == is_match


ALL_OF_A_MODEL = [
    *("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt", "README.md"),
    *("model.safetensors", "pytorch_model.bin", "tf_model.h5", "onnx/model.onnx", ".gitattributes"),
]


def test_a_model_is_its_config_tokenizer_and_one_kind_of_weights():
    small = ["config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"]
    assert model_files(ALL_OF_A_MODEL, "random", "x") == small
    assert model_files(ALL_OF_A_MODEL, "pretrained", "x") == [*small, "model.safetensors"]
    old = [name for name in ALL_OF_A_MODEL if name != "model.safetensors"]
    assert model_files(old, "pretrained", "x") == [*small, "pytorch_model.bin"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["tokenizer.json"], "x: has no config.json"),
        (["config.json"], "x: has no weights"),
        (
            ["config.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json"],
            r"x: 1 of 2 files model-\* are there",
        ),
    ],
)
def test_a_model_that_lacks_something_is_refused(files, message):
    with pytest.raises(TrialError, match=message):
        model_files(files, "pretrained", "x")
