"""The columns of an analysis and their documentation."""

import subprocess
import sys

import pytest

from orchestrator.analysis.tables import ANALYSES


@pytest.mark.slow
def test_columns_are_documented_without_pandas():
    modules = "sys, orchestrator.analysis.tables, orchestrator.analysis.show"
    code = f"import {modules}; print('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"
    for table in ANALYSES.values():
        names = [column.name for column in table.columns]
        assert len(set(names)) == len(names)
        assert all(column.meaning.endswith(".") for column in table.columns)
