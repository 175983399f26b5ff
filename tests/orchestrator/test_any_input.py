"""Whatever a file, an option or a record holds, it is read or refused in words: no input of a user
is a fault of sparsweep. See `tests.any_input`."""

import copy
import io
import json
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster import BACKENDS, open_backend, profile_type
from cluster.contract import BAD_INPUT, DONE
from cluster.errors import ClusterError
from orchestrator.cli.main import main
from orchestrator.errors import SweepError
from orchestrator.results.parquet import decode
from orchestrator.results.schema import TABLES
from orchestrator.spec.profiles import make_profile
from orchestrator.spec.sweep_spec import (
    SweepSpec,
    builtin_sweeps,
    load_sweep_spec,
    make_sweep_spec,
)
from orchestrator.spec.yaml_models import read_yaml
from orchestrator.submission.records import RECORD, read_records
from tests.any_input import (
    TRIED,
    as_bytes,
    damaged,
    dump,
    many,
    refused_in_words,
    scraps,
    seeds,
    values,
)
from tests.factories import make_job

REFUSALS = (SweepError, ClusterError, OSError)
"""What the command line shows as it is, with exit code 2."""

SMALLEST = {
    "name": "tiny",
    "results": "out",
    "languages": ["sw"],
    "sparsities": [0, 0.5],
    "seeds": [0],
    "corpus": {"kind": "synthetic"},
    "model": {"name": "builtin:small-bert", "init": "random"},
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


def paths_of(model: Any, before: str = "") -> list[str]:
    """Dotted paths of all fields of a sweep file."""
    paths = []
    for name, field in model.model_fields.items():
        paths.append(before + name)
        if hasattr(field.annotation, "model_fields"):
            paths += paths_of(field.annotation, f"{before}{name}.")
    return paths


PATHS = paths_of(SweepSpec)
STORED = Path(__file__).parents[1] / "golden/results"


def with_value(path: str, value: Any) -> dict[str, Any]:
    """The fields of a sweep, one of which has this value."""
    fields = copy.deepcopy(SMALLEST)
    *sections, name = path.split(".")
    inner: dict[str, Any] = fields
    for section in sections:
        inner = inner.setdefault(section, {})
    inner[name] = value
    return fields


def load(content: bytes) -> SweepSpec | None:
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        file.write(content)
        file.flush()
        return refused_in_words("sweep file", REFUSALS, lambda: load_sweep_spec(file.name))


@cache
def fields_of_smoke() -> str:
    return builtin_sweeps()["smoke"].read_text()


@many
@given(st.sampled_from(PATHS), values)
def test_any_value_of_any_field_of_a_sweep(path, value):
    if (text := dump(with_value(path, value))) is not None:
        load(as_bytes(text))
        for other in PATHS:
            fields = with_value(other, copy.deepcopy(value))
            refused_in_words("sweep file", REFUSALS, lambda f=fields: make_sweep_spec(f, "a.yaml"))


@pytest.mark.slow
@many
@given(scraps, st.sampled_from(PATHS), seeds)
def test_any_text_as_a_sweep(text, path, seed):
    load(as_bytes(text))
    good = as_bytes(str(dump(with_value(path, [0.5]))))
    for content in damaged(good, seed):
        load(content)


@many
@given(st.sampled_from([*PATHS, "", ".", "a.b", "seeds.0"]), scraps | st.text(), seeds)
def test_any_override(path, text, seed):
    def try_with(*overrides: str) -> None:
        fields = copy.deepcopy(smoke)
        call = lambda: make_sweep_spec(fields, "smoke", overrides)  # noqa: E731
        refused_in_words("--set", REFUSALS, call)

    smoke = read_yaml(fields_of_smoke(), "smoke")
    try_with(f"{path}={text}", f"{text}={path}")
    for form in damaged(as_bytes(f"{path}={text}"), seed):
        try_with(form.decode(errors="surrogateescape"))
    for other in PATHS:
        try_with(f"{other}={text}")


@many
@given(st.sampled_from(sorted(BACKENDS)), st.data())
def test_any_profile_is_refused_or_rendered(backend, data):
    def try_with(fields: dict[str, Any]) -> None:
        def made() -> Any:
            try:
                return make_profile("mine", fields)
            except ValueError as error:  # `load_profile` puts the file's name before each line
                raise SweepError(str(error)) from error

        profile = refused_in_words("profile", REFUSALS, made)
        if profile is not None:
            profile.hardware()
            job = make_job(Path("/shared"))
            refused_in_words("profile", REFUSALS, lambda: open_backend(profile).render(job))

    names = [*profile_type(backend).model_fields, "address", "nodes", "extra"]
    given_fields = {"image": "i", "volumes": [{"claim": "c", "mount": "/d"}]}
    fields = (given_fields if "k" in backend else {}) | {"backend": backend}
    changed = data.draw(st.dictionaries(st.sampled_from(names), values, min_size=1, max_size=3))
    if (text := dump(fields | changed)) is not None:
        read = refused_in_words("profile", REFUSALS, lambda: read_yaml(text, "mine.yaml"))
        if read is not None:
            try_with(read)
            value = read[next(iter(changed))]
            for name in names:
                try_with(fields | {name: copy.deepcopy(value)})


@pytest.mark.slow
@many
@given(
    st.binary()
    | scraps.map(as_bytes)
    | st.dictionaries(st.sampled_from([*RECORDED, "more"]), values, max_size=2).map(
        lambda changed: json.dumps(RECORDED | changed, default=str).encode()
    ),
    seeds,
)
def test_any_record_of_a_job_is_read_or_left_out(content, seed):
    with tempfile.TemporaryDirectory() as root:
        forms = [*damaged(content, seed), *damaged(json.dumps(RECORDED).encode(), seed)]
        for number, form in enumerate(forms):
            folder = Path(root, f"{number:03}")
            folder.mkdir(mode=0o700)
            (folder / RECORD).touch(mode=0o600)
            (folder / RECORD).write_bytes(form)
            TRIED["record"] += 1
        records, left_out = read_records([Path(root)], RECORDED["job_name"])
    assert len(records) >= 1  # the undamaged one
    assert len(left_out) <= 1
    assert all("\n" not in line for line in left_out)
    for _, record in records:
        record.backend()


@many
@given(st.sampled_from(sorted(STORED.glob("v*/**/*.parquet"))), seeds)
def test_any_file_of_results(file, seed):
    table = TABLES[file.stem]
    for form in damaged(file.read_bytes(), seed):
        call = lambda f=form: decode(table, f, file).rows.to_pylist()  # noqa: E731
        refused_in_words("results", REFUSALS, call)


@pytest.mark.slow
@many
@given(st.sampled_from(PATHS), values, seeds)
def test_the_command_itself(path, value, seed):
    """Of each file, as `plan` and a dry run meet it; results are where nothing is."""
    if (text := dump(with_value(path, value))) is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "sweep.yaml")
        for form in damaged(as_bytes(text), seed, 2):
            file.write_bytes(form)
            words = [str(file), "--set", f"results={folder}/results"]
            for command in (["plan", *words], ["submit", *words, "--on", "slurm", "--dry-run"]):
                out, err = io.StringIO(), io.StringIO()
                with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as end:
                    main(command)
                TRIED["command"] += 1
                assert end.value.code in (DONE, BAD_INPUT), err.getvalue()
                assert (end.value.code == DONE) == (err.getvalue() == "")
