"""Trials committed to a store, for tests of what is then stored."""

import subprocess
import sys
from pathlib import Path

import pyarrow.compute as pc

from tests.factories import make_circumstances, make_trial_result, make_trial_spec

ROOT = Path(__file__).parents[3]
ON_TEST = pc.field("split") == "test"
FAILURE = {"kind": "worker_died", "message": "killed by signal 9", "traceback": None}
CRASH = """
import os, signal, sys
from orchestrator.results.store import ResultStore
from tests.factories import make_circumstances, make_trial_result, make_trial_spec

def die(event, arguments):  # at the first touch of the given kind on the given table
    if event == sys.argv[2] and f"/{sys.argv[3]}/" in str(arguments[0]):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(die)
store, spec = ResultStore(sys.argv[1]), make_trial_spec()
store.commit_completed(spec, make_trial_result(), **make_circumstances())
"""
"""A program that dies while it commits. Arguments: results, audit event, table."""


def commit(store, spec=None, result=None, **changes):
    return store.commit_completed(
        spec or make_trial_spec(), result or make_trial_result(), **make_circumstances(**changes)
    )


def fail(store, spec=None, **changes):
    failure = {name: changes.pop(name, value) for name, value in FAILURE.items()}
    return store.commit_failed(
        spec or make_trial_spec(), **failure, **make_circumstances(**changes)
    )


def run_python(code: str, *arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def trial_file(store, table, spec=None) -> Path:
    """The file of a trial in a table."""
    return Path(store.location.path, table, f"{(spec or make_trial_spec()).trial_id()}.parquet")
