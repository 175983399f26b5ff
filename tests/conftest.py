"""What all tests share: a cache of their own, and the folder of real data where there is one."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.s3_server import s3_bucket

BESIDE_THE_PROJECT = Path(__file__).resolve().parents[2] / "shared" / "data"
WITHOUT_DATA = "needs real data: set SPARSWEEP_TEST_DATA to a folder with wikiann/ and mbert/"


def pytest_configure(config: pytest.Config) -> None:
    """Caches of this run's own, no hub, interpreted Triton: before a test module imports what reads
    these variables."""
    cache = tempfile.TemporaryDirectory(prefix="sparsweep-tests-")
    config.add_cleanup(cache.cleanup)
    import torch

    if not torch.cuda.is_available():
        os.environ["TRITON_INTERPRET"] = (
            "1"  # Triton's kernels then run on CPUs, to be compared with the reference
        )
    os.environ |= {
        "SPARSWEEP_CACHE": cache.name,
        "HF_HOME": f"{cache.name}/huggingface",
        "HF_HUB_OFFLINE": "1",
    }


@pytest.fixture(scope="session")
def wikiann() -> Path:
    """The real corpus in the hub's layout, <language>/<split>-*.parquet."""
    return _real_data("wikiann")


@pytest.fixture(scope="session")
def mbert() -> Path:
    """mBERT's real vocabulary, tokenizer and config, without weights."""
    return _real_data("mbert")


def _real_data(name: str) -> Path:
    given = os.environ.get("SPARSWEEP_TEST_DATA")
    folder = Path(given or BESIDE_THE_PROJECT) / name
    if not folder.is_dir():
        if given:
            pytest.fail(f"SPARSWEEP_TEST_DATA: {given} has no {name}/")
        pytest.skip(WITHOUT_DATA)
    return folder


@pytest.fixture
def s3_location() -> Iterator[str]:
    """A folder in a bucket of a real S3 server."""
    with s3_bucket() as bucket:
        yield f"{bucket}/results"
