"""Reads YAML that people write into models that refuse what they do not know, and says in one line
what is wrong."""

import difflib
import re
from datetime import date
from typing import Any

import yaml
from pydantic import BaseModel

from orchestrator.errors import SpecError
from workers.trial import own_version

SURPRISING_INT = re.compile(r"[-+]?0[0-9_]+|.*:.*")
"""Whole numbers that YAML 1.1 reads to the base of 8 or 60."""


class _SurprisingError(yaml.constructor.ConstructorError):
    """It is YAML, and most likely means something else than was thought."""


class _StrictLoader(yaml.SafeLoader):
    """Plain values only, no key twice in one mapping (YAML would silently keep the last), keys that
    are text, and no number that YAML takes for another than most people do."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (yaml.YAMLError, RecursionError):
            raise
        except Exception as error:  # PyYAML's own constructors stumble in many ways
            what = repr(node.value) if isinstance(node, yaml.ScalarNode) else "this"
            kind = node.tag.rpartition(":")[2]
            raise yaml.constructor.ConstructorError(
                None, None, f"{shorten(what)} cannot be read as {kind}", node.start_mark
            ) from error

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        if SURPRISING_INT.fullmatch(node.value):
            number = super().construct_yaml_int(node)
            problem = f"{shorten(node.value)} means {shorten(str(number))} in YAML"
            remedy = "write a number without leading zeros or colons, or a text in quotes"
            raise _SurprisingError(None, None, f"{problem}; {remedy}", node.start_mark)
        return int(super().construct_yaml_int(node))

    def construct_yaml_binary(self, node: yaml.ScalarNode) -> bytes:
        # As bytes it would pass for the text of any field, unchecked.
        problem = "!!binary is no value of a field; write a text"
        raise _SurprisingError(None, None, problem, node.start_mark)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        nodes = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        keys = [self.construct_object(key, deep=True) for key in nodes]
        for position, key in enumerate(keys):
            if not isinstance(key, str):
                problem = f"the key {shorten(repr(key))} is no text; write it in quotes"
                raise _SurprisingError(None, None, problem, nodes[position].start_mark)
            if key in keys[:position]:
                problem = f"the key {key!r} stands twice; keep one"
                raise _SurprisingError(None, None, problem, nodes[position].start_mark)
        return super().construct_mapping(node, deep)


_StrictLoader.add_constructor("tag:yaml.org,2002:int", _StrictLoader.construct_yaml_int)
_StrictLoader.add_constructor("tag:yaml.org,2002:binary", _StrictLoader.construct_yaml_binary)


def read_yaml(text: str, where: str) -> Any:
    """Plain values out of YAML.

    Args:
        text: what was written.
        where: what a message calls it.

    Raises:
        SpecError: it is not YAML, or not plain, or has a key twice.
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
        if isinstance(error, _SurprisingError):
            raise SpecError(f"{place}: {error.problem}") from error
        raise SpecError(
            f"{place}: not YAML: {error.problem}; see `sparsweep sweeps` for examples"
        ) from error
    except RecursionError as error:
        raise SpecError(f"{where}: not YAML that a sweep needs: nested too deeply") from error
    except Exception as error:  # odd characters, and what else a constructor may stumble over
        raise SpecError(f"{where}: not YAML: {' '.join(str(error).split())}") from error


def describe_fault(fault: Any, model: type[BaseModel]) -> str:
    """One line for one of the faults that pydantic found in a `model`: where, what was wrong, the
    value."""
    where = ".".join(str(part) for part in fault["loc"])
    message: str = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        hint = _did_you_mean(fault["loc"], model)
        return (
            f"{where}: unknown key{hint}; `sparsweep schema` lists the fields; a newer sparsweep "
            f"may know it, this is {own_version()}"
        )
    if fault["type"] == "missing":
        return f"{where}: missing; `sparsweep schema` describes it"
    if not where or message.startswith(f"{where}."):  # a check across fields names them itself
        return message
    value = fault["input"]
    if fault["type"] == "string_type" and isinstance(value, bool | int | float | date):
        surprise = "; YAML takes no, yes, on and off for that" if isinstance(value, bool) else ""
        message = f"{message}; write it in quotes{surprise}"
    return f"{where}: {_show(value)}: {message[0].lower() + message[1:]}"


def _did_you_mean(loc: tuple[str | int, ...], model: Any) -> str:
    for part in loc[:-1]:
        field = model.model_fields.get(part)
        model = field.annotation if field else None
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return ""
    close = difflib.get_close_matches(str(loc[-1]), model.model_fields, cutoff=0.75)
    return f", did you mean {' or '.join(close)}" if close else ""


def _show(value: Any) -> str:
    try:
        return shorten(repr(value))
    except (ValueError, RecursionError):  # a number of more than 4,300 digits; a list in itself
        return f"a {type(value).__name__} that cannot be shown"


def shorten(text: str) -> str:
    """At most 60 characters of it."""
    return text if len(text) <= 60 else f"{text[:57]}..."
