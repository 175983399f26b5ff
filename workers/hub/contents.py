"""Which files of a repository are needed: what a model is loaded from, what makes up a language.

A data set says in the head of its README.md which files are the splits of a configuration, and a
configuration is a language here, or else one configuration has splits of each language, such as
train_de. Where it says nothing, the files lie in a folder of the language or have such names.
The library datasets, which wrote that head, reads it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import yaml

from workers.trial import TrialError, first_line

CARD = "README.md"
"""The file of a data set whose head says what its configurations are made of."""
CONFIG = "config.json"
TAG_COLUMNS = ("ner_tags", "tags")
"""The first that is there is read."""

OTHER_NAMES = {"validation": ("dev", "valid", "val")}
"""What a split may be called, beside its own name."""

TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.txt", "vocab.json", "merges.txt"),
    *("*.model", "chat_template.jinja"),
)
WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")
"""The first that is there is loaded."""
INDEX_FILES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")

_SHARD = re.compile(r"-(\d{5})-of-(\d{5})\b")


@dataclass(frozen=True)
class Card:
    """What the head of a data set's README.md says.

    Attributes:
        patterns: by configuration and split, patterns of files.
        tag_names: by configuration, what the tags' numbers mean; None where it does not say so.
    """

    patterns: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    tag_names: Mapping[str, Sequence[str] | None] = field(default_factory=dict)

    def names_of_tags(self, language: str) -> Sequence[str] | None:
        """What the numbers of a language's tags mean. A single configuration without a name speaks
        of all languages."""
        return self.tag_names.get(language, self.tag_names.get("default"))


class _Words(yaml.SafeLoader):
    """Reads YAML in which `no`, Norwegian's code, stays a word."""


_Words.yaml_implicit_resolvers = {
    key: [rule for rule in rules if rule[0] != "tag:yaml.org,2002:bool"]
    for key, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def model_files(names: Iterable[str], init: str, what: str) -> list[str]:
    """Those files of a model's repository that a trial reads.

    Args:
        names: all files there.
        init: pretrained or random; with `random` no weights are read.
        what: the model, in words.

    Raises:
        TrialError: kind `bad_data`, when config, tokenizer or weights are missing.
    """
    there = sorted(name for name in names if "/" not in name)
    needed = [name for name in there if name == CONFIG or _is_any(name, TOKENIZER_FILES)]
    if CONFIG not in needed:
        raise TrialError("bad_data", f"{what}: has no {CONFIG}; choose an encoder of transformers")
    if init == "random":
        return needed
    groups = ([name for name in there if fnmatchcase(name, pattern)] for pattern in WEIGHTS)
    weights = next(filter(None, groups), [])
    if not weights:
        raise TrialError(
            "bad_data",
            f"{what}: has no weights ({' or '.join(WEIGHTS)}); choose another one, or set "
            "model.init=random",
        )
    refuse_missing_shards(weights, what)
    return [*needed, *weights, *(name for name in INDEX_FILES if name in there)]


def split_files(
    names: Iterable[str], card: Card, language: str, split: str, what: str
) -> list[str]:
    """The files of a split of a language, in the order of its sentences.

    Args:
        names: all files of the data set.
        card: what the head of its README.md says.
        language: the language's code, which is the name of its configuration.
        split: train, validation or test.
        what: the data set, in words.

    Raises:
        TrialError: kind `bad_data`, when there is no such language or split.
    """
    there = sorted(names)
    for name in (split, *OTHER_NAMES.get(split, ())):
        patterns = _patterns(card, language, name)
        if found := [file for file in there if any(matches(file, one) for one in patterns)]:
            # The same sentences may lie there as text, too; Parquet goes first in folders as well.
            found = [file for file in found if file.endswith(".parquet")] or found
            refuse_missing_shards(found, what)
            return found
    known = _languages(card, there)
    if language in known:
        raise TrialError("bad_data", f"{what}: {language} has no split {split!r} there")
    raise TrialError(
        "bad_data", f"{what}: has no language {language!r}; it has {', '.join(known) or 'none'}"
    )


def _patterns(card: Card, language: str, name: str) -> Sequence[str]:
    """Of the files of a language's split, under one of the names that it may have."""
    if language in card.patterns:
        return card.patterns[language].get(name, [])
    of_language = f"{name}_{language}"
    for splits in card.patterns.values():
        if of_language in splits:
            return splits[of_language]
    stems = (f"{language}/{name}", f"**/{of_language}")
    files = [f"{stem}{end}" for stem in stems for end in ("-*", ".*")]
    return [*files, f"{language}/{name}/*.parquet"]  # which the hub itself makes of a data set


def _languages(card: Card, there: Sequence[str]) -> list[str]:
    """What the head of README.md has splits of; where there is none, the folders."""
    splits = (split for of_config in card.patterns.values() for split in of_config)
    trained = [split for split in splits if split.startswith("train_")]
    if trained:
        return sorted({split.removeprefix("train_") for split in trained})
    return sorted(card.patterns) or sorted({name.split("/")[0] for name in there if "/" in name})


def read_card(text: str, what: str) -> Card:
    """What the head of a README.md says, between two lines of three dashes.

    Args:
        text: of the README.md.
        what: the data set, in words.

    Raises:
        TrialError: kind `bad_data`, when datasets cannot read it.
    """
    head = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", text.lstrip("\ufeff"), re.DOTALL)
    if head is None:
        return Card()
    from datasets.data_files import sanitize_patterns
    from datasets.info import DatasetInfosDict
    from datasets.utils.metadata import MetadataConfigs

    try:
        values = yaml.load(head[1], Loader=_Words) or {}  # noqa: S506, a safe loader
        configs = MetadataConfigs.from_dataset_card_data(values)
        infos = DatasetInfosDict.from_dataset_card_data(values)
        patterns = {
            name: {str(split): list(paths) for split, paths in sanitize_patterns(files).items()}
            for name, config in configs.items()
            if (files := config.get("data_files"))
        }
    except (AttributeError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise TrialError(
            "bad_data",
            f"{what}: the head of its README.md cannot be read ({first_line(error)}); whoever "
            "keeps the data set can mend it, or download its files and set corpus.path",
        ) from error
    return Card(patterns, {name: _tag_names(info.features) for name, info in infos.items()})


def matches(name: str, pattern: str) -> bool:
    """Whether a file's path is of a pattern, in which `**` stands for any folders."""
    return _match(name.split("/"), pattern.removeprefix("./").split("/"))


def refuse_missing_shards(names: Sequence[str], what: str) -> None:
    """Refuse files of which one says that there are more than are there.

    Raises:
        TrialError: kind `bad_data`.
    """
    counts: dict[str, tuple[int, int]] = {}
    for name in names:
        if shard := _SHARD.search(name):
            stem = name[: shard.start()]
            counts[stem] = (counts.get(stem, (0, 0))[0] + 1, int(shard[2]))
    for stem, (number, expected) in counts.items():
        if number != expected:
            raise TrialError("bad_data", f"{what}: {number} of {expected} files {stem}-* are there")


def _tag_names(features: Any) -> list[str] | None:
    """Names of class labels of the column of tags, by number."""
    feature = next((features[one] for one in TAG_COLUMNS if one in (features or {})), None)
    names: list[str] | None = getattr(getattr(feature, "feature", None), "names", None)
    return names


def _match(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_match(parts[skipped:], pattern[1:]) for skipped in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _match(parts[1:], pattern[1:])


def _is_any(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
