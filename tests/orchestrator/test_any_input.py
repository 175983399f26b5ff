"""Whatever a file, an option or a record holds, it is read or refused in words: no input of a user
is a fault of sparsweep.

SPARSWEEP_EXAMPLES is how many inputs each test makes; `make check` makes few, always the same.
"""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster import BACKENDS, open_backend, profile_type
from cluster.errors import ClusterError
from orchestrator.errors import SweepError
from orchestrator.spec.profiles import make_profile
from orchestrator.spec.sweep_spec import SweepSpec, load_sweep_spec
from orchestrator.spec.yaml_models import read_yaml
from orchestrator.submission.records import RECORD, read_records
from tests.factories import make_job

EXAMPLES = int(os.environ.get("SPARSWEEP_EXAMPLES", "40"))
many = settings(
    max_examples=EXAMPLES,
    derandomize=EXAMPLES <= 40,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

SMALLEST = {
    "name": "tiny",
    "results": "out",
    "languages": ["sw"],
    "sparsities": [0, 0.5],
    "seeds": [0],
    "corpus": {"kind": "synthetic"},
    "model": {"name": "builtin:small-bert"},
}
RECORDED = {
    "job_id": "1",
    "job_name": "sw-tiny-01234567",
    "profile_name": "slurm",
    "profile": {"backend": "slurm"},
    "sweep_digest": "0",
    "plan_digest": None,
    "num_left": 3,
    "submitted_at": "2026-11-26T00:00:00.000000+00:00",
    "user": "me",
    "host": "here",
}

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-3, 3)
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.text(max_size=20)
    | st.dates()
    | st.datetimes()
    | st.binary(max_size=9)
    | st.sampled_from(["sw", "0.5", "no", "~", "s3://a@b", "gs:", "a/../b", "\0", "\udc80", "{}"])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
WORDS = """
a name : [ ] { } ' " !! !!timestamp &x *x << | > # % --- ? 010 1:30 0x !!int !!map !!bool !!set
!!float !!binary !!omap !!pairs !!null !!python/name:os.system = é 1e .nan -.inf 2001-13-13
""".split()  # noqa: SIM905, a list would take forty lines
scraps = st.lists(
    st.sampled_from([*WORDS, *" \n\t", "- ", "!!int ", "!!bool ", "\x85", "\0", "\ufeff"])
    | st.text(max_size=3),
    max_size=12,
).map("".join)


def paths_of(model: Any, before: str = "") -> list[str]:
    """Dotted paths of all fields of a sweep file."""
    paths = []
    for name, field in model.model_fields.items():
        paths.append(before + name)
        if hasattr(field.annotation, "model_fields"):
            paths += paths_of(field.annotation, f"{before}{name}.")
    return paths


def refused_in_words(call: Callable[[], Any]) -> Any:
    """What a call gives; None where it refuses, as the command line does with exit code 2."""
    try:
        return call()
    except (SweepError, ClusterError, OSError) as error:
        said = str(error)
    assert said.strip()
    return None


def dump(value: Any) -> str | None:
    """A value as YAML; None where PyYAML cannot write it."""
    try:
        return yaml.safe_dump(value)
    except (ValueError, yaml.YAMLError):
        return None


def load(text: str, *overrides: str) -> SweepSpec:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "sweep.yaml")
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
        return load_sweep_spec(str(file), overrides)


@many
@given(st.sampled_from(paths_of(SweepSpec)), values)
def test_any_value_of_any_field_of_a_sweep(path, value):
    fields = json.loads(json.dumps(SMALLEST))
    *sections, name = path.split(".")
    inner = fields
    for section in sections:
        inner = inner.setdefault(section, {})
    inner[name] = value
    if (text := dump(fields)) is not None:
        refused_in_words(lambda: load(text))


@many
@given(scraps)
def test_any_text_as_a_sweep(text):
    refused_in_words(lambda: load(text))


@many
@given(st.sampled_from([*paths_of(SweepSpec), "", ".", "a.b", "seeds.0"]), scraps | st.text())
def test_any_override(path, text):
    refused_in_words(lambda: load_sweep_spec("smoke", [f"{path}={text}", f"{text}={path}"]))
    refused_in_words(lambda: load_sweep_spec("smoke", [f"{path}={text}"]))


@many
@given(st.sampled_from(sorted(BACKENDS)), st.data())
def test_any_profile_is_refused_or_rendered(backend, data):
    names = st.sampled_from([*profile_type(backend).model_fields, "address", "nodes", "extra"])
    fields = {"image": "i", "volumes": [{"claim": "c", "mount": "/d"}]} if "k" in backend else {}
    fields |= {"backend": backend} | data.draw(st.dictionaries(names, values, max_size=3))

    def made() -> Any:
        try:
            return make_profile("mine", read_yaml(text, "mine.yaml"))
        except ValueError:  # `load_profile` puts the file's name before each line
            return None

    if (text := dump(fields)) is not None and (profile := refused_in_words(made)) is not None:
        refused_in_words(lambda: open_backend(profile).render(make_job(Path("/shared"))))


@many
@given(
    st.binary()
    | scraps.map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.dictionaries(st.sampled_from([*RECORDED, "more"]), values, max_size=2).map(
        lambda changed: json.dumps(RECORDED | changed, default=str).encode()
    )
)
def test_any_record_of_a_job_is_read_or_left_out(content):
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root, "20261126")
        folder.mkdir(mode=0o700)
        (folder / RECORD).touch(mode=0o600)
        (folder / RECORD).write_bytes(content)
        records, left_out = read_records([Path(root)], RECORDED["job_name"])
    assert len(records) + len(left_out) <= 1
    assert all("\n" not in line for line in left_out)
    for _, record in records:
        record.backend()
