"""Cluster profiles: where they are found, and what a wrong one gets."""

from pathlib import Path

import pytest

from cluster import BACKENDS
from cluster.kubernetes.profile import KubernetesProfile
from cluster.slurm.profile import SlurmProfile
from orchestrator.errors import SpecError
from orchestrator.spec.profiles import known_names, load_profile, make_profile, profile_files
from orchestrator.spec.sweep_spec import load_sweep_spec

ANY_BACKEND = r"\|".join(BACKENDS)


@pytest.fixture
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of profiles, empty."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = tmp_path / "sparsweep" / "clusters"
    folder.mkdir(parents=True)
    return folder


def sweep(*overrides: str):
    return load_sweep_spec("smoke", ["results=/somewhere", *overrides])


def test_profile_of_the_sweep_comes_before_the_users_and_that_before_the_defaults(profiles):
    assert load_profile("slurm").nodes == 1
    (profiles / "slurm.yaml").write_text("nodes: 2\n")
    assert load_profile("slurm", sweep().clusters).nodes == 2
    assert load_profile("slurm", sweep("clusters.slurm.nodes=3").clusters).nodes == 3


def test_profile_is_of_the_backend_that_it_names(profiles):
    (profiles / "juwels.yaml").write_text("backend: slurm\naccount: nlp\n")
    (profiles / "cloud.yaml").write_text("backend: kubernetes\nimage: registry/sparsweep:1\n")
    assert load_profile("juwels") == SlurmProfile(account="nlp")
    assert load_profile("cloud") == KubernetesProfile(image="registry/sparsweep:1")
    assert list(profile_files()) == ["cloud", "juwels"]
    assert known_names(sweep("clusters.mine={backend: slurm}").clusters)[0] == "mine"


def test_profiles_are_no_part_of_what_is_stored_with_results():
    assert "clusters" not in sweep("clusters.slurm.account=secretive").model_dump_json()


def test_address_on_the_command_line_replaces_that_of_the_profile(profiles):
    (profiles / "ray.yaml").write_text("address: http://old:8265\n")
    assert load_profile("ray", address="http://new:8265").address == "http://new:8265"
    assert load_profile("ray", address=None).address == "http://old:8265"


def test_unknown_name_is_refused_with_those_that_there_are(profiles):
    (profiles / "juwels.yaml").write_text("backend: slurm\n")
    with pytest.raises(
        SpecError,
        match=rf"--on jewels: no profile .*there are: juwels, {', '.join(BACKENDS)};",
    ):
        load_profile("jewels")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("backend: pbs", f"backend: 'pbs' is not known; give one of {', '.join(BACKENDS)}"),
        ("partition: gpu", "backend: 'mine' is not known"),
        (
            "backend: slurm\nnamespace: x",
            "namespace: a field of kubernetes profiles, and this one is of slurm",
        ),
        (
            "backend: slurm\nparttion: x",
            "parttion: unknown key, did you mean partition; `sparsweep schema --cluster",
        ),
        (
            f"backend: kubernetes\nimage: i\nworker_memory: {'9' * 400}Gi",
            "worker_memory: '9999.*: string should have at most 30 characters",
        ),
        ("backend: slurm\nmps: true\ngpus_per_node: 0", "mps: the nodes have no GPUs"),
        ("backend: slurm\nmps: true\ngpu_type: 1g.10gb", "mps: 1g.10gb is a part of a GPU"),
        (
            "backend: kubernetes\nimage: i\nmps: true\ngpu_resource: nvidia.com/mig-1g.10gb",
            "mps: it is for whole GPUs of NVIDIA, and gpu_resource is nvidia.com/mig-1g.10gb; set",
        ),
        (
            "backend: kubernetes\nimage: i\nmps: true\ngpus_per_worker: 0",
            "mps: worker pods have no GPUs",
        ),
        ("backend: ray\nmps: true", "mps: True: this Ray cluster runs already, and MPS starts bef"),
        ("backend: slurm\npartition: 'a b'", "partition: 'a b': string should match pattern"),
        ('backend: slurm\npartition: "a\\nb"', "partition: 'a.nb': string should match pattern"),
        (
            "backend: slurm\naccount: " + "x" * 201,
            "account: .*: string should have at most 200 characters",
        ),
        ("backend: slurm\nnodes: 0", "nodes: 0: input should be greater than 0"),
        ("backend: slurm\nnodes: two", "nodes: 'two': input should be a valid integer"),
        (
            "backend: slurm\ntime_limit: a day",
            "time_limit: 'a day': 'a day' is no time limit of Slurm; give minutes",
        ),
        (
            "backend: slurm\ntime_limit: 12:00:00",
            "2:13: 12:00:00 means 43200 in YAML; write a number without",
        ),
        ("backend: slurm\ntime_limit: '٣٠٠'", "is no time limit of Slurm"),
        (
            "backend: slurm\nworkers: 3",
            "workers: has no meaning in mode block; leave it out, or set another mode",
        ),
        ("backend: slurm\nmode: elastic\nnodes: 3", "nodes: has no meaning in mode elastic"),
        (
            "backend: slurm\nmode: elastic\ncontainer: x.sqsh",
            "container: has no meaning in mode elastic",
        ),
        ("", rf"is empty; begin with `backend: {ANY_BACKEND}`"),
        (
            "backend: slurm\nextra: [exclusive]",
            "extra: .*'exclusive' is no option of sbatch; begin with --",
        ),
        (
            "backend: slurm\nextra: [--signal=TERM]",
            "'--signal=TERM': --signal is set by sparsweep; leave it out",
        ),
        (
            "backend: slurm\nextra: [--nodes=2]",
            "'--nodes=2': --nodes is set by sparsweep; leave it out",
        ),
        ("backend: slurm\ncontainer_mounts: [/a]", "container_mounts: given without container"),
        (
            "backend: slurm\ntemp_root: /a/very/long/folder/name",
            "temp_root: .*at most 20 characters",
        ),
        (
            "backend: kubernetes",
            "image: missing; `sparsweep schema --cluster kubernetes` describes it",
        ),
        (
            "backend: kubernetes\nimage: x\nnamespace: A_b",
            "namespace: 'A_b': string should match pattern",
        ),
        ("backend: ray\naddress: head:8265", "address: 'head:8265': string should match pattern"),
        (
            "[1, 2]",
            rf"holds \[1, 2\], not a mapping; begin with `backend: {ANY_BACKEND}`",
        ),
        ("backend: slurm\nnodes: 1\nnodes: 2", "the key 'nodes' stands twice"),
        ("nodes: !!python/object/apply:os.getpid []", "not YAML"),
    ],
)
def test_wrong_profile_is_refused(profiles, text, message):
    (profiles / "mine.yaml").write_text(text)
    with pytest.raises(SpecError, match=message):
        load_profile("mine")


def test_profile_that_is_no_text_is_refused(profiles):
    (profiles / "mine.yaml").write_bytes("backend: slurm\naccount: Müller".encode("latin-1"))
    with pytest.raises(
        SpecError, match="mine.yaml: cannot be read as text .*; make it a YAML file in UTF-8"
    ):
        load_profile("mine")
    (profiles / "folder.yaml").mkdir()
    with pytest.raises(SpecError, match="folder.yaml: cannot be read as text"):
        load_profile("folder")


def test_minutes_may_be_many(profiles):
    (profiles / "mine.yaml").write_text("backend: slurm\ntime_limit: '1440'\n")
    assert load_profile("mine").time_limit == "1440"


def test_wrong_profile_in_a_sweep_is_refused_where_the_sweep_is_read():
    with pytest.raises(SpecError, match="clusters.slurm.namespace: a field of kubernetes profiles"):
        sweep("clusters.slurm.namespace=x", "clusters.slurm.nodes=2")


def test_every_profile_survives_being_written_down():
    profile = make_profile("slurm", {"nodes": 3, "setup": ["module load cuda"]})
    assert make_profile("slurm", profile.model_dump(exclude_defaults=True)) == profile
