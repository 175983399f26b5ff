"""What all tests share: a cache of their own, and the folder of real data where there is one."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("SPARSWEEP_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
WITHOUT_DATA = "needs real data: set SPARSWEEP_TEST_DATA to a folder with wikiann/ and mbert/"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory):
    """Tokenised data goes to a folder of this run, never to the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARSWEEP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def wikiann() -> Path:
    """The real corpus in the hub's layout, <language>/<split>-*.parquet."""
    return _real_data("wikiann")


@pytest.fixture(scope="session")
def mbert() -> Path:
    """mBERT's real vocabulary, tokenizer and config, without weights."""
    return _real_data("mbert")


def _real_data(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(WITHOUT_DATA)
    return folder
