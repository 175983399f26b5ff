"""Which files of a repository are needed: what a model is loaded from, what makes up a language.

A data set says in the head of its README.md which files are the splits of a configuration, and a
configuration is a language here. Where it says nothing, the files lie in a folder of the language.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import yaml

from workers.trial import TrialError

CARD = "README.md"
"""The file of a data set whose head says what its configurations are made of."""
CONFIG = "config.json"

TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.txt", "vocab.json", "merges.txt"),
    *("*.model", "chat_template.jinja"),
)
WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")
"""The first that is there is loaded."""
INDEX_FILES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")

_SHARD = re.compile(r"-(\d{5})-of-(\d{5})\b")


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
    names: Iterable[str], card: Mapping[str, Any], language: str, split: str, what: str
) -> list[str]:
    """The files of a split of a language, in the order of its sentences.

    Args:
        names: all files of the data set.
        card: the head of its README.md, as `read_card` gives it.
        language: the language's code, which is the name of its configuration.
        split: train, validation or test.
        what: the data set, in words.

    Raises:
        TrialError: kind `bad_data`, when there is no such language or split.
    """
    there = sorted(names)
    configs = _configs(card)
    by_folder = [f"{language}/{split}-*", f"{language}/{split}.*"]
    patterns = by_folder if language not in configs else configs[language].get(split, [])
    found = [name for name in there if any(matches(name, pattern) for pattern in patterns)]
    if found:
        refuse_missing_shards(found, what)
        return found
    known = sorted(configs) or sorted({name.split("/")[0] for name in there if "/" in name})
    if language in known:
        raise TrialError("bad_data", f"{what}: {language} has no split {split!r} there")
    raise TrialError(
        "bad_data", f"{what}: has no language {language!r}; it has {', '.join(known) or 'none'}"
    )


def read_card(text: str) -> dict[str, Any]:
    """The head of a README.md, between two lines of three dashes; empty where there is none."""
    head = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", text.lstrip("\ufeff"), re.DOTALL)
    if head is None:
        return {}
    try:
        values = yaml.load(head[1], Loader=_Words)  # noqa: S506, a safe loader
    except yaml.YAMLError:
        return {}
    return values if isinstance(values, dict) else {}


def names_of_tags(card: Mapping[str, Any], language: str) -> list[str] | None:
    """What the tags' numbers mean, where the head of a README.md says it; None where not."""
    infos = card.get("dataset_info")
    for info in infos if isinstance(infos, list) else [infos]:
        if isinstance(info, dict) and info.get("config_name", language) == language:
            names = _names(info)
            if names is not None:
                return names
    return None


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


def _configs(card: Mapping[str, Any]) -> dict[str, dict[str, list[str]]]:
    """By configuration and split, patterns of files."""
    configs: dict[str, dict[str, list[str]]] = {}
    listed = card.get("configs")
    for config in listed if isinstance(listed, list) else []:
        if not isinstance(config, dict) or "config_name" not in config:
            continue
        splits: dict[str, list[str]] = {}
        for files in _as_list(config.get("data_files")):
            if isinstance(files, dict) and "path" in files:
                paths = [str(path) for path in _as_list(files["path"])]
                splits.setdefault(str(files.get("split", "train")), []).extend(paths)
        configs[str(config["config_name"])] = splits
    return configs


def _names(info: Mapping[str, Any]) -> list[str] | None:
    """Names of class labels of the column `ner_tags`, by number."""
    features = info.get("features")
    for feature in features if isinstance(features, list) else []:
        if not isinstance(feature, dict) or feature.get("name") != "ner_tags":
            continue
        inner = feature.get("sequence", feature.get("list"))
        label = inner.get("class_label") if isinstance(inner, dict) else None
        names = label.get("names") if isinstance(label, dict) else None
        if isinstance(names, dict):
            return [str(names[key]) for key in sorted(names, key=int)]
        if isinstance(names, list):
            return [str(name) for name in names]
    return None


def _match(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_match(parts[skipped:], pattern[1:]) for skipped in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _match(parts[1:], pattern[1:])


def _is_any(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
