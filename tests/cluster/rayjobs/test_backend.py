"""Sweeps as jobs of a Ray cluster: what is sent, and what is said where there is no cluster."""

import http.server
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest

from cluster.backend import JobState
from cluster.errors import ClusterError
from cluster.rayjobs.backend import STATES, RayJobsBackend
from cluster.rayjobs.profile import RayProfile
from tests.factories import make_job
from tests.served import Quiet, served

RENDER = """
import sys
from pathlib import Path
from cluster import open_backend
from cluster.backend import JobSpec
from cluster.rayjobs.profile import RayProfile
job = JobSpec(
    name="a", sweep_id="0123abcd", folder=Path("/j"), results="/r", sweep_json='{"name": "a"}',
    plan_digest="d1", cpus_per_trial=1, gpus_per_trial=None,
)
profile = RayProfile(address="http://head:8265", python="/opt/(x)/python")
print(open_backend(profile).render(job))
assert "ray" not in sys.modules and "requests" not in sys.modules
"""
WITHOUT_RAY = """
import sys
sys.modules["ray"] = None
from cluster.rayjobs.backend import RayJobsBackend
from cluster.rayjobs.profile import RayProfile
print(*RayJobsBackend(RayProfile(address="http://127.0.0.1:1")).check())
"""


def test_address_is_needed(tmp_path):
    backend = RayJobsBackend(RayProfile())
    (line,) = backend.check()
    assert line == "ray: no address; give --address http://HOST:8265, or `address` in the profile"
    with pytest.raises(ClusterError, match="no address; give --address"):
        backend.submit(make_job(tmp_path))


def test_nothing_at_the_address():
    with socket.create_server(("127.0.0.1", 0)) as opened:
        port = opened.getsockname()[1]
    (line,) = RayJobsBackend(RayProfile(address=f"http://127.0.0.1:{port}")).check()
    assert f"http://127.0.0.1:{port} does not answer (ConnectionError)" in line
    assert "--dashboard-host" in line


def test_some_other_server_at_the_address():
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    address = f"http://127.0.0.1:{server.server_port}"
    with served(server):
        (line,) = RayJobsBackend(RayProfile(address=address)).check()
    assert "refuses" in line or "has no job API" in line


def test_answers_that_make_no_sense_are_told_in_a_line(tmp_path):
    """Ray's own client raises whatever it stumbles over."""

    said = [b""]

    class Nonsense(Quiet, http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            text = b'{"ray_version": "2"}' if self.path.endswith("version") else said[-1]
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text)

    server = http.server.HTTPServer(("127.0.0.1", 0), Nonsense)
    backend = RayJobsBackend(RayProfile(address=f"http://127.0.0.1:{server.server_port}"))
    with served(server):
        for answer in (b"", b"[1]", b"null", b'{"status": 5}', b'"x"'):
            said.append(answer)
            with pytest.raises(ClusterError, match="^ray: .*(refuses|no job API).*$"):
                backend.status("sw-a-0123abcd", tmp_path)
            with pytest.raises(ClusterError, match="^ray: .*(refuses|no job API).*$"):
                backend.live_jobs("sw-a-0123abcd")


def test_rendered_request_is_quoted_and_needs_no_ray():
    shown = run_python(RENDER)
    assert shown.returncode == 0, shown.stderr
    assert "# POST http://head:8265/api/jobs/" in shown.stdout
    command = "exec '/opt/(x)/python' -P -m orchestrator.cli run sweep.json --expect-plan d1"
    assert command in shown.stdout
    assert '"submission_id": "sw-a-0123abcd"' in shown.stdout
    assert '{"name": "a"}' in shown.stdout


def test_table_has_every_state_of_ray():
    from ray.job_submission import JobStatus

    assert set(STATES) == {str(status) for status in JobStatus}
    assert all(JobStatus(name).is_terminal() == state.is_terminal for name, state in STATES.items())


@pytest.mark.parametrize("is_rays_line_late", [False, True])
def test_driver_that_ray_overheard_is_looked_up_in_the_log(
    monkeypatch, tmp_path, is_rays_line_late
):
    class Client:
        """A cluster whose message about the job was made before the driver's words were there."""

        def get_job_info(self, job_id):
            first = f"Running entrypoint for job {job_id}: python"
            said = f"Job entrypoint command failed with exit code 2, last available logs:\n{first}"
            return SimpleNamespace(status="FAILED", driver_exit_code=2, message=said)

        def get_job_logs(self, job_id):
            lines = [f"Running entrypoint for job {job_id}: python", "sparsweep: bad"]
            return "\n".join(reversed(lines) if is_rays_line_late else lines) + "\n\n"

    monkeypatch.setattr(RayJobsBackend, "_client", lambda self: Client())
    backend = RayJobsBackend(RayProfile(address="http://head:8265"))
    status = backend.status("sw-a-0123abcd", tmp_path)
    assert (status.state, status.detail) == (JobState.FAILED, "sparsweep: bad")


def test_installation_without_ray_says_what_to_install():
    shown = run_python(WITHOUT_RAY)
    assert "pip install 'sparsweep[jobs]'" in shown.stdout, shown.stderr


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
