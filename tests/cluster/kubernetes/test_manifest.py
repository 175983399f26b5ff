"""Rendered manifests, whole, against golden files and against the schemas of KubeRay's own
resources."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from cluster.errors import ClusterError
from cluster.kubernetes.backend import KubernetesBackend
from cluster.kubernetes.manifest import fill_in, label_value, render_manifests
from cluster.node.mps import shared_environment
from tests.cluster.kubernetes.jobs import PROFILES, make_job, make_profile

GOLDEN = Path(__file__).parents[2] / "golden" / "kubernetes"


@pytest.fixture(autouse=True)
def _user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ada")


@pytest.fixture(scope="module")
def schema(kuberay: Path) -> dict[str, Any]:
    """Schema of RayJobs that takes no unknown fields, as the server with strict validation."""
    crd = yaml.load(
        (kuberay / "ray.io_rayjobs.yaml").read_text(),
        Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader),
    )
    (version,) = (version for version in crd["spec"]["versions"] if version["name"] == "v1")
    return _closed(version["schema"]["openAPIV3Schema"])


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_manifest_is_the_golden_one(name: str) -> None:
    results = {"default": "s3://lab/two-languages", "full": "/data/sweeps/ada/two-languages"}[name]
    text = KubernetesBackend(make_profile(name)).render(make_job(results=results))
    installed = f'rayVersion: "{importlib.metadata.version("ray")}"'

    assert installed in text
    assert text.replace(installed, 'rayVersion: "2.60.0"') == (GOLDEN / f"{name}.yaml").read_text()


@pytest.mark.slow
def test_gpus_are_shared_by_mps_in_the_workers_alone(schema: dict[str, Any]) -> None:
    text = render_manifests(make_job(), make_profile(mps=True))
    plain = render_manifests(make_job(), make_profile())
    more = [line.strip() for line in text.splitlines() if line not in plain.splitlines()]
    assert [line for line in more if not line.startswith("#")] == [
        "postStart: {exec: {command: [python, -P, -m, cluster.node.mps, --stay, /tmp/mps]}}",
        "- {name: CUDA_MPS_PIPE_DIRECTORY, value: /tmp/mps/pipe}",
        "- {name: CUDA_MPS_LOG_DIRECTORY, value: /tmp/mps/log}",
    ]
    _, ray_job = yaml.safe_load_all(text)
    jsonschema.Draft202012Validator(schema).validate(ray_job)
    (group,) = ray_job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    assert set(container["lifecycle"]) == {"preStop", "postStart"}
    # What the hook makes is where the trials look.
    environ = {entry["name"]: entry.get("value") for entry in container["env"]}
    folder = Path(container["lifecycle"]["postStart"]["exec"]["command"][-1])
    assert shared_environment(folder, {}).items() <= environ.items()


@pytest.mark.parametrize("name", sorted(PROFILES))
@pytest.mark.parametrize("mode", ["K8sJobMode", "HTTPMode", "SidecarMode"])
def test_ray_jobs_satisfy_kuberays_schema(schema: dict[str, Any], name: str, mode: str) -> None:
    results = {"default": "s3://lab/two-languages", "full": "/data/sweeps/two-languages"}[name]
    profile = make_profile(name, submission_mode=mode, retries=0)
    _, ray_job = yaml.safe_load_all(KubernetesBackend(profile).render(make_job(results=results)))

    jsonschema.Draft202012Validator(schema).validate(ray_job)


@pytest.mark.slow
def test_schema_notices_unknown_fields_and_wrong_types(schema: dict[str, Any]) -> None:
    _, ray_job = yaml.safe_load_all(render_manifests(make_job(), make_profile()))
    validator = jsonschema.Draft202012Validator(schema)

    ray_job["spec"]["backofLimit"] = 1
    with pytest.raises(jsonschema.ValidationError, match="backofLimit"):
        validator.validate(ray_job)
    del ray_job["spec"]["backofLimit"]
    ray_job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["maxReplicas"] = "8"
    with pytest.raises(jsonschema.ValidationError, match="'8' is not of type 'integer'"):
        validator.validate(ray_job)


def test_every_pod_is_confined_and_asks_for_what_it_may_use() -> None:
    _, ray_job = yaml.safe_load_all(
        render_manifests(make_job(results="/data/sweeps/x"), make_profile("full", queue=None))
    )
    cluster = ray_job["spec"]["rayClusterSpec"]
    templates = [
        ray_job["spec"]["submitterPodTemplate"],
        cluster["headGroupSpec"]["template"],
        *[group["template"] for group in cluster["workerGroupSpecs"]],
    ]

    for pod in (template["spec"] for template in templates):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        (container,) = pod["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["requests"] == container["resources"]["limits"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
    assert [template["spec"]["automountServiceAccountToken"] for template in templates] == [
        False,
        True,
        False,
    ]


def test_no_token_and_no_place_of_this_machine_is_in_the_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "do-not-print-me")
    text = render_manifests(make_job(), make_profile())

    assert "do-not-print-me" not in text
    assert "/home/ada" not in text
    assert yaml.safe_load(text.split("---")[1])["spec"]["rayClusterSpec"]["authOptions"] == {
        "mode": "token"
    }


def test_kueue_gets_a_cluster_of_fixed_size_that_waits() -> None:
    _, ray_job = yaml.safe_load_all(
        render_manifests(make_job(), make_profile(queue="gpus", workers=3))
    )
    (group,) = ray_job["spec"]["rayClusterSpec"]["workerGroupSpecs"]

    assert ray_job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert ray_job["spec"]["suspend"] is True
    assert ray_job["spec"]["rayClusterSpec"]["enableInTreeAutoscaling"] is False
    assert (group["minReplicas"], group["replicas"], group["maxReplicas"]) == (3, 3, 3)


@pytest.mark.parametrize(
    "text",
    [
        'he said "no"',
        "a\nb",
        "$HOME ${x} $$",
        "#if x",
        "Yorùbá 中文 🙂",
        "\x7f\x85\u2028\ufeff end",
        "- &a *b !c",
        "\\",
    ],
)
def test_any_text_of_a_user_arrives_as_it_was(text: str) -> None:
    config_map, _ = yaml.safe_load_all(render_manifests(make_job(sweep_json=text), make_profile()))

    assert config_map["data"]["sweep.json"] == text


def test_words_that_yaml_takes_for_something_else_stay_words() -> None:
    profile = make_profile(
        node_selector={"no": "no", "n": "1e3", "true": "null"}, labels={"a": "yes"}
    )
    _, ray_job = yaml.safe_load_all(render_manifests(make_job(), profile))

    (group,) = ray_job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert group["template"]["spec"]["nodeSelector"] == {"no": "no", "n": "1e3", "true": "null"}
    assert ray_job["metadata"]["labels"]["a"] == "yes"


def test_unplanned_sweep_is_run_without_a_digest() -> None:
    _, ray_job = yaml.safe_load_all(render_manifests(make_job(plan_digest=None), make_profile()))

    assert ray_job["spec"]["entrypoint"] == (
        "sparsweep run /etc/sparsweep/sweep.json --as-job --exit-0-if-refused"
    )


def test_a_refusal_whose_words_nobody_could_read_stays_a_failure() -> None:
    profile = make_profile(submission_mode="HTTPMode")
    _, ray_job = yaml.safe_load_all(render_manifests(make_job(plan_digest=None), profile))

    assert ray_job["spec"]["entrypoint"] == "sparsweep run /etc/sparsweep/sweep.json --as-job"


def test_template_rules() -> None:
    text = "a: $a\nb: $b\nc:\n  - x\n  - $c\n#if d\nd: 1\n#endif\n#if e\ne: 1\n#endif\nf: {g: $a}\n"

    filled = fill_in(text, {"a": "1", "b": None, "c": [{"y": 2}, 3], "d": False, "e": True})

    assert filled == 'a: "1"\nc:\n  - x\n  - {"y": 2}\n  - 3\ne: 1\nf: {g: "1"}\n'


@pytest.mark.parametrize(
    ("text", "value"),
    [("ada", "ada"), ("DOM\\ada lovelace", "DOM_ada_lovelace"), ("-", "x"), ("é" * 70, "x")],
)
def test_label_values(text: str, value: str) -> None:
    assert label_value(text) == value


REFUSALS = [
    (
        {"sweep_json": "x" * (2**20 + 1)},
        {},
        "sweep: 1048577 bytes are more than the 1048576.*split the sweep",
    ),
    ({"results": "results/x"}, {}, "results: results/x is on no volume .* or s3://BUCKET"),
    (
        {"results": "/data/x/../../y"},
        {"volumes": [{"claim": "c", "mount": "/data"}]},
        r"results: /data/x/\.\./\.\./y",
    ),
    (
        {"results": "/data"},
        {"volumes": [{"claim": "c", "mount": "/data", "read_only": True}]},
        "may write",
    ),
    (
        {"cpus_per_trial": 5},
        {},
        "cpus_per_trial: 5 cores, and a worker pod has 4; raise worker_cpus",
    ),
    (
        {"gpus_per_trial": 2.0},
        {},
        "gpus_per_trial: 2 GPUs, and a worker pod has 1; raise gpus_per_worker",
    ),
    (
        {"gpus_per_trial": 0.5},
        {"gpus_per_worker": 0},
        "gpus_per_trial: 0.5 GPUs, and a worker pod has 0",
    ),
    (
        {},
        {"labels": {"sparsweep/user": "eve"}},
        "labels: sparsweep/user is not yours to set; leave it out$",
    ),
    (
        {},
        {"labels": {"kueue.x-k8s.io/queue-name": "q"}},
        "queue-name is not yours .*name the queue as `queue`",
    ),
    (
        {},
        {"volumes": [{"claim": "c", "mount": "/."}]},
        r"volumes: /\. hides files that the pods need; .* /data",
    ),
    ({}, {"volumes": [{"claim": "c", "mount": "/tmp/x"}]}, "volumes: /tmp/x hides"),
    (
        {},
        {"volumes": [{"claim": c, "mount": "/data"} for c in "ab"]},
        "volumes: /data is the mount of several claims",
    ),
]


@pytest.mark.parametrize(("job", "profile", "message"), REFUSALS)
def test_jobs_that_cannot_run_are_refused(
    job: dict[str, Any], profile: dict[str, Any], message: str
) -> None:
    with pytest.raises(ClusterError, match=message):
        KubernetesBackend(make_profile(**profile)).render(make_job(**job))


@pytest.mark.parametrize(
    "changes",
    [
        {"namespace": "Team"},
        {"queue": "a b"},
        {"service_account": "x" * 254},
        {"image": "a b"},
        {"image": 'a"b'},
        {"labels": {"a b": "c"}},
        {"labels": {"a": "b\nc"}},
        {"volumes": [{"claim": "c", "mount": "/a\nb"}]},
        {"volumes": [{"claim": "c", "mount": "/a/../b"}]},
        {"env_from_secrets": ["under_score"]},
        {"worker_memory": "lots"},
        {"submission_mode": "Bogus"},
    ],
)
def test_profiles_with_names_that_kubernetes_lacks_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        make_profile(**changes)


def test_rendering_needs_neither_the_client_nor_heavy_packages() -> None:
    """In a process of its own, where importing any of them fails."""
    script = f"""
import sys
for name in ("kubernetes", "ray", "torch", "orchestrator", "workers"):
    sys.modules[name] = None
from pathlib import Path
from cluster import open_backend
from cluster.backend import JobSpec
from cluster.kubernetes.profile import KubernetesProfile
job = JobSpec(name="x", sweep_id="0123abcd", folder=Path("/"), results="s3://b/x",
              sweep_json="{{}}", plan_digest=None,
              cpus_per_trial=1, gpus_per_trial=None)
sys.stdout.write(open_backend(KubernetesProfile(**{PROFILES["default"]!r})).render(job))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert "kind: RayJob" in done.stdout


def _closed(schema: Any) -> Any:
    """A schema in which objects have no other fields than those that it names."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(part) for key, part in schema.items()}
    is_open = "additionalProperties" in schema or schema.get("x-kubernetes-preserve-unknown-fields")
    if (
        schema.get("type") == "object"
        and isinstance(schema.get("properties"), dict)
        and not is_open
    ):
        closed["additionalProperties"] = False
    return closed


def test_head_and_workers_find_the_hubs_files_below_a_volume(schema: dict[str, Any]) -> None:
    profile = make_profile("full", offline=True, hub_cache="/data/corpora/hub")
    text = render_manifests(make_job(results="/data/sweeps/x"), profile)
    _, ray_job = yaml.safe_load_all(text)
    jsonschema.Draft202012Validator(schema).validate(ray_job)
    cluster = ray_job["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        (container,) = group["template"]["spec"]["containers"]
        variables = {one["name"]: one.get("value") for one in container["env"]}
        assert variables["HF_HUB_CACHE"] == "/data/corpora/hub"
        assert variables["HF_HUB_OFFLINE"] == "1"
