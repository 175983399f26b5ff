"""Finds cluster profiles: in the sweep file, in the user's files, or a backend's defaults."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationError, WithJsonSchema

from cluster import BACKENDS, profile_type
from cluster.profile_fields import ClusterProfile
from cluster.user_folders import config_folder
from orchestrator.errors import SpecError
from orchestrator.spec.yaml_models import describe_fault, read_yaml
from workers.visits import visiting


def make_profile(name: str, fields: Any) -> ClusterProfile:
    """A checked profile.

    Args:
        name: of the profile; where `fields` names no backend, it is the backend's.
        fields: as read from YAML.

    Raises:
        ValueError: a field is wrong; a line a fault, each beginning with the field.
    """
    if isinstance(fields, ClusterProfile):
        return fields
    if not isinstance(fields, dict):
        raise ValueError(
            f"holds {fields!r}, not a mapping; begin with `backend: {'|'.join(BACKENDS)}`"
        )
    backend = fields.get("backend", name)
    if not isinstance(backend, str) or backend not in BACKENDS:
        raise ValueError(f"backend: {backend!r} is not known; give one of {', '.join(BACKENDS)}")
    model = profile_type(backend)
    try:
        return model.model_validate({"backend": backend} | fields)
    except ValidationError as error:
        raise ValueError(
            "\n".join(_describe(fault, model, backend) for fault in error.errors())
        ) from error


def _describe(fault: Any, model: type[ClusterProfile], backend: str) -> str:
    field = str(fault["loc"][0]) if fault["loc"] else ""
    is_unknown = fault["type"] == "extra_forbidden" and len(fault["loc"]) == 1
    if is_unknown and (others := _backends_with(field)):
        whose = f"{' and '.join(others)} profiles, and this one is of {backend}"
        return f"{field}: a field of {whose}; remove it"
    return describe_fault(fault, model).replace(
        "`sparsweep schema`", f"`sparsweep schema --cluster {backend}`"
    )


def _backends_with(field: str) -> list[str]:
    return [name for name in BACKENDS if field in profile_type(name).model_fields]


def _read_named(profiles: Any) -> Any:
    """Pydantic validator of a mapping from names to profiles."""
    if not isinstance(profiles, dict):
        return profiles
    made = {}
    for name, fields in profiles.items():
        try:
            made[name] = make_profile(str(name), fields)
        except ValueError as error:
            raise ValueError(
                "; ".join(f"clusters.{name}.{line}" for line in str(error).splitlines())
            ) from error
    return made


_SCHEMA = WithJsonSchema(
    {"type": "object", "description": "A cluster profile; `sparsweep schema --cluster BACKEND`"}
)
ProfilesByName = Annotated[
    dict[str, Annotated[ClusterProfile, _SCHEMA]], BeforeValidator(_read_named)
]
"""Type of a field that holds profiles by name."""


def _read(file: Path) -> Any:
    try:
        with visiting(file):
            text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(
            f"{file}: cannot be read as text ({error}); make it a YAML file in UTF-8"
        ) from error
    fields = read_yaml(text, str(file))
    if fields is None:
        raise SpecError(f"{file}: is empty; begin with `backend: {'|'.join(BACKENDS)}`")
    return fields


def profile_folder() -> Path:
    """Where the user's profiles are, a file each: NAME.yaml."""
    return config_folder() / "clusters"


def _where() -> str:
    """The folder of profiles, for a message."""
    try:
        return str(profile_folder())
    except FileNotFoundError:
        return "~/.config/sparsweep/clusters"


def profile_files() -> dict[str, Path]:
    """The user's profiles by name; none where no home folder is known."""
    try:
        folder = profile_folder()
    except FileNotFoundError:
        return {}
    with visiting(folder):
        return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def known_names(own: Iterable[str] = ()) -> list[str]:
    """What `--on` takes: a sweep's own profiles, those of the user, and backends."""
    return list(dict.fromkeys([*own, *profile_files(), *BACKENDS]))


def load_profile(
    name: str, own: Mapping[str, ClusterProfile] = {}, **changes: Any
) -> ClusterProfile:
    """The profile of that name: the sweep's own, else the user's file, else the defaults of the
    backend of that name.

    Args:
        name: as `--on` has it.
        own: profiles by name that stand in the sweep; they come first.
        changes: fields to replace.

    Raises:
        SpecError: there is none, or it is wrong; a line a fault.
    """
    given = {field: value for field, value in changes.items() if value is not None}
    file = profile_files().get(name)

    if name in own:
        where, fields = f"clusters.{name}", own[name].model_dump(exclude_unset=True)
    elif file:
        where, fields = str(file), _read(file)
    elif name in BACKENDS:
        where, fields = f"--on {name}", {}
    else:
        raise SpecError(
            f"--on {name}: no profile and no backend of that name; there are: "
            f"{', '.join(known_names(own))}; a profile is a file {_where()}/NAME.yaml, or "
            "stands in the sweep under `clusters`"
        )

    try:
        return make_profile(name, fields | given if isinstance(fields, dict) else fields)
    except ValueError as error:
        raise SpecError(
            "\n".join(f"{where}: {line}" for line in str(error).splitlines())
        ) from error
