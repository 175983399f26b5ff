"""What all tests share: a cache of their own, and the folder of real data where there is one."""

import os
import secrets
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


@pytest.fixture(scope="session")
def s3_server():
    """A real S3 server on loopback, and credentials for it in the environment."""
    moto = pytest.importorskip("moto.server", reason="needs moto[server]: pip install -e .[dev]")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        yield f"{host}:{port}"
    server.stop()


@pytest.fixture
def s3_location(s3_server: str) -> str:
    """A new bucket's address."""
    import boto3

    bucket = f"bucket-{secrets.token_hex(4)}"
    client = boto3.client("s3", endpoint_url=f"http://{s3_server}", region_name="us-east-1")
    client.create_bucket(Bucket=bucket)
    return f"s3://{bucket}/results?endpoint_override={s3_server}&scheme=http&region=us-east-1"
