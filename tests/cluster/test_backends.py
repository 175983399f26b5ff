"""Every backend in the list is complete, and none is loaded before it is asked for."""

import inspect
import re
import subprocess
import sys

import pytest

from cluster import BACKENDS, open_backend, profile_type
from cluster.backend import Backend
from cluster.profile_fields import ClusterProfile, Hardware
from tests.factories import make_job

NEEDED = {"kubernetes": {"image": "registry/sparsweep:1"}}
"""Fields without a default."""

HERE = Hardware(num_machines=1, cpus=6, gpus=1)


def profile_of(name: str) -> ClusterProfile:
    return profile_type(name).model_validate(NEEDED.get(name, {}))


@pytest.mark.parametrize("name", BACKENDS)
def test_profile_is_called_as_its_backend_and_answers_what_is_asked_of_it(name):
    profile = profile_of(name)
    assert profile.backend == name
    assert {type(profile.shares_files), type(profile.data_is_there), type(profile.grows)} == {bool}
    assert profile.describe() == {"backend": name} | NEEDED.get(name, {})


@pytest.mark.parametrize("name", BACKENDS)
def test_backend_does_all_that_a_backend_can(name):
    backend = open_backend(profile_of(name))
    for method in ("check", "render", "submit", "live_jobs", "status", "logs", "cancel"):
        wanted = inspect.signature(getattr(Backend, method)).parameters
        assert list(inspect.signature(getattr(backend, method)).parameters) == list(wanted)[1:]


@pytest.mark.parametrize(
    ("name", "fields", "hardware"),
    [
        ("local", {}, HERE),
        ("ray", {}, None),
        (
            "slurm",
            {
                **{"nodes": 3, "gpus_per_node": 2, "gpu_type": "a100", "gpu_memory_gib": 80},
                **{"mem_gib_per_gpu": 24, "time_limit": "01:00:00"},
            },
            Hardware(
                num_machines=3,
                cpus=8,
                gpus=2,
                gpu_type="a100",
                gpu_gib=80,
                memory_gib=48,
                memory_field="mem_gib_per_gpu",
                job_s=3600 - 180,
                comes_back=True,
                limit_field="time_limit",
            ),
        ),
        (
            "slurm",
            {"mode": "elastic", "workers": 5, "gpus_per_node": 4, "time_limit": "1"},
            Hardware(
                num_machines=5,
                cpus=4,
                gpus=1,
                memory_gib=16,
                memory_field="mem_gib_per_gpu",
                job_s=1,
                comes_back=True,
                limit_field="time_limit",
            ),
        ),
        (
            "kubernetes",
            {"workers": 2, "gpus_per_worker": 0, "deadline_s": 60},
            Hardware(
                num_machines=2,
                cpus=4,
                gpus=0,
                memory_gib=16,
                memory_field="worker_memory",
                job_s=60,
                limit_field="deadline_s",
            ),
        ),
    ],
)
def test_profile_stands_for_machines(name, fields, hardware):
    profile = profile_type(name).model_validate(NEEDED.get(name, {}) | fields)
    assert profile.hardware(HERE) == hardware


@pytest.mark.parametrize(
    ("quantity", "gib"),
    [
        *(("16Gi", 16), ("1.5Gi", 1.5), ("512Mi", 0.5), ("1Ti", 1024), ("1048576Ki", 1)),
        *(("8G", 8e9 / 2**30), ("2147483648", 2), ("2147483648000m", 2), ("2000k", 2e6 / 2**30)),
    ],
)
def test_the_memory_of_pods_is_read_as_kubernetes_writes_it(quantity, gib):
    fields = NEEDED["kubernetes"] | {"worker_memory": quantity}
    hardware = profile_type("kubernetes").model_validate(fields).hardware()
    assert hardware.memory_gib == pytest.approx(gib)


def test_no_backend_is_loaded_before_it_is_asked_for():
    script = (
        "import sys, cluster; cluster.profile_type('slurm')\n"
        "print([name for name in sys.modules if name.startswith('cluster.')\n"
        "       and name.partition('.')[2].partition('.')[0] not in ('profile_fields', 'slurm')])"
    )
    words = [sys.executable, "-c", script]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("name", BACKENDS)
def test_jobs_ask_no_hub_where_nodes_have_no_internet(name, tmp_path):
    said = {"offline": True, "hub_cache": "/shared/my hub"}
    job = make_job(tmp_path / "job", results="s3://lab/tiny")
    shown, plain = (
        open_backend(profile_type(name).model_validate(NEEDED.get(name, {}) | fields)).render(job)
        for fields in (said, {})
    )
    for setting, value in (("HF_HUB_OFFLINE", "1"), ("HF_HUB_CACHE", "/shared/my hub")):
        assert re.search(rf"{setting}\W+(value\W+)?{value}\b", shown), shown
        assert setting not in plain


@pytest.mark.parametrize("folder", ["shared/hub", "/shared/a:b", "/shared/a,b", "/shared/a\nb", ""])
def test_a_folder_of_the_hub_that_jobs_cannot_be_told_is_refused(folder):
    with pytest.raises(ValueError, match="hub_cache"):
        profile_type("local").model_validate({"hub_cache": folder})
