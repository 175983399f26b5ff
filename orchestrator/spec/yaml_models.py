"""Reads YAML that people write into models that refuse what they do not know, and says in one line
what is wrong."""

import difflib
from typing import Any

import yaml
from pydantic import BaseModel

from orchestrator.errors import SpecError
from workers.trial import own_version


class _StrictLoader(yaml.SafeLoader):
    """Plain values only, and no key twice in one mapping (YAML would silently keep the last)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        nodes = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        keys = [self.construct_object(key, deep=True) for key in nodes]
        for position, key in enumerate(keys):
            if key in keys[:position]:
                raise yaml.constructor.ConstructorError(
                    None,
                    None,
                    f"the key {key!r} stands twice; keep one",
                    nodes[position].start_mark,
                )
        return super().construct_mapping(node, deep)


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
        raise SpecError(
            f"{place}: not YAML: {error.problem}; see `sparsweep sweeps` for examples"
        ) from error
    except RecursionError as error:
        raise SpecError(f"{where}: not YAML that a sweep needs: nested too deeply") from error
    except (
        yaml.YAMLError,
        TypeError,
        ValueError,
    ) as error:  # unhashable keys, impossible dates, odd characters
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
    return f"{where}: {_shorten(fault['input'])}: {message[0].lower() + message[1:]}"


def _did_you_mean(loc: tuple[str | int, ...], model: Any) -> str:
    for part in loc[:-1]:
        field = model.model_fields.get(part)
        model = field.annotation if field else None
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return ""
    close = difflib.get_close_matches(str(loc[-1]), model.model_fields, cutoff=0.75)
    return f", did you mean {' or '.join(close)}" if close else ""


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
