"""Results in an object store: the same tables, names and refusals as in a folder."""

import pytest

from orchestrator.analysis.inputs.aggregate import aggregate
from orchestrator.errors import StoreError
from orchestrator.results.store import ResultStore
from tests.factories import make_circumstances, make_trial_result, make_trial_spec
from workers.storage import StoreFailedError


@pytest.fixture
def store(s3_bucket, tmp_path):
    return ResultStore(f"{s3_bucket}/{tmp_path.name}")


def keys(store):
    import boto3

    bucket, _, folder = store.location.path.partition("/")
    objects = boto3.client("s3").list_objects_v2(Bucket=bucket, Prefix=folder).get("Contents", [])
    return {item["Key"].removeprefix(f"{folder}/") for item in objects} - {""}


def test_results_in_an_object_store_read_back(store):
    store.check_writable()
    assert store.statuses() == {}
    specs = [make_trial_spec(seed=seed) for seed in range(3)]
    store.write_plan("demo", specs)
    for spec in specs[:2]:
        assert store.commit_completed(spec, make_trial_result(f1=0.75), **make_circumstances())
    store.commit_failed(
        specs[2], kind="bad_data", message="odd", traceback=None, **make_circumstances()
    )
    assert [store.statuses()[spec.trial_id()] for spec in specs] == [
        "completed",
        "completed",
        "failed",
    ]
    before = [
        store.read(name) for name in ("trials", "scores", "curves", "layers", "attempts", "plans")
    ]
    store.compact()
    assert [
        store.read(name) for name in ("trials", "scores", "curves", "layers", "attempts", "plans")
    ] == before
    assert [problem.trial_id for problem in store.verify(spec.trial_id() for spec in specs)] == [
        specs[2].trial_id()
    ]
    found = aggregate(store)
    assert found.table.select(["f1_mean", "num_seeds", "num_holes"]).to_pylist() == [
        {"f1_mean": 0.75, "num_seeds": 2, "num_holes": 1}
    ]


def test_objects_have_the_names_that_the_documentation_gives(store):
    spec = make_trial_spec()
    store.commit_completed(spec, make_trial_result(), **make_circumstances())
    names = {key for key in keys(store) if key.endswith(".parquet")}
    attempt = next(key for key in names if key.startswith(f"attempts/{spec.trial_id()}-"))
    tables = ("trials", "scores", "robustness", "predictions", "curves", "layers", "vocabulary")
    sentences = "sentences/00112233445566ff.parquet"
    assert names == {attempt, sentences} | {
        f"{table}/{spec.trial_id()}.parquet" for table in tables
    }


def test_a_completed_trial_is_not_overwritten_in_an_object_store(store):
    assert store.commit_completed(
        make_trial_spec(), make_trial_result(f1=0.25), **make_circumstances()
    )
    assert not store.commit_completed(
        make_trial_spec(), make_trial_result(f1=0.75), **make_circumstances()
    )
    assert aggregate(store).table["f1_mean"].to_pylist() == [0.25]
    assert sorted(store.read("attempts")["status"].to_pylist()) == ["completed", "duplicate"]


def test_a_bucket_that_is_not_there_is_refused(s3_bucket):
    with pytest.raises(
        StoreError, match=r"results: s3://nowhere-to-be-found/x: cannot be written .*NO_SUCH_BUCKET"
    ):
        ResultStore("s3://nowhere-to-be-found/x").check_writable()


def test_a_server_that_does_not_answer_is_refused(s3_bucket):
    store = ResultStore("s3://any/x?endpoint_override=127.0.0.1:9&scheme=http&region=us-east-1")
    with pytest.raises(
        StoreFailedError, match=r"^s3://any/x/.*Could not connect.*; check the address"
    ) as refusal:
        store.check_writable()
    assert "\n" not in str(refusal.value)
    assert "a-secret-key" not in str(refusal.value)
