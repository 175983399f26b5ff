"""An API server that is not to be had, and what is said about it."""

import json
import socket
import sys
import threading
from pathlib import Path

import pytest
import yaml

from cluster.errors import ClusterError
from cluster.kubernetes.server import Server
from tests.cluster.kubernetes.api_server import TOKEN, FakeServer, write_kubeconfig
from tests.cluster.kubernetes.jobs import FOLDER, ID, JOB, make_backend


def test_lines_of_a_stream_are_put_together_from_its_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stream() -> None:
        connection, _ = source.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            for piece in (b"one\ntw", b"o\n", "ɛ".encode()[:1], "ɛ".encode()[1:] + b"\n\n", b""):
                connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))

    with socket.create_server(("127.0.0.1", 0)) as source:
        use_server(tmp_path, monkeypatch, f"http://127.0.0.1:{source.getsockname()[1]}")
        thread = threading.Thread(target=stream)
        thread.start()

        assert list(Server(None, None).log_lines("driver", "ray-job-submitter", follow=True)) == [
            "one",
            "two",
            "ɛ",
            "",
        ]
        thread.join()


def test_expired_token(server: FakeServer, tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(path.read_text().replace(TOKEN, "expired-t0ken"))

    with pytest.raises(
        ClusterError, match=r"Unauthorized \(HTTP 401\); .*expired; log in again"
    ) as error:
        make_backend().status(ID, FOLDER)
    assert "expired-t0ken" not in str(error.value)


def test_server_that_is_not_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        use_server(tmp_path, monkeypatch, f"http://127.0.0.1:{unused.getsockname()[1]}")

        with pytest.raises(ClusterError, match="the server refuses the connection; is it running"):
            make_backend().status(ID, FOLDER)


def test_server_whose_name_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_server(tmp_path, monkeypatch, "http://kubernetes.invalid:6443")

    with pytest.raises(
        ClusterError, match="name is not known here; check the kubeconfig, and whether a VPN"
    ):
        make_backend().status(ID, FOLDER)


def test_server_that_does_not_speak_tls(server: FakeServer, tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(path.read_text().replace("http://", "https://"))

    with pytest.raises(
        ClusterError, match="certificate is not accepted; check certificate-authority"
    ):
        make_backend().status(ID, FOLDER)


def test_server_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.kubernetes.server.TIMEOUT", (0.2, 0.2))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        use_server(tmp_path, monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}")

        with pytest.raises(ClusterError, match="does not answer in time; check the network"):
            make_backend().status(ID, FOLDER)


def test_server_that_hangs_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as rude:
        use_server(tmp_path, monkeypatch, f"http://127.0.0.1:{rude.getsockname()[1]}")
        thread = threading.Thread(target=lambda: rude.accept()[0].close())
        thread.start()

        with pytest.raises(
            ClusterError, match=r"no connection to the server \(.*aborted.*\); check the kubeconfig"
        ):
            make_backend().status(ID, FOLDER)
        thread.join()


def test_answer_that_is_no_kubernetes_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from a proxy that asks to log in."""

    def answer() -> None:
        connection, _ = proxy.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 13\r\n\r\n<html></html>")

    with socket.create_server(("127.0.0.1", 0)) as proxy:
        use_server(tmp_path, monkeypatch, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        thread = threading.Thread(target=answer)
        thread.start()

        with pytest.raises(ClusterError, match=r"Forbidden \(HTTP 403\)"):
            make_backend().status(ID, FOLDER)
        thread.join()


def test_missing_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))

    with pytest.raises(
        ClusterError, match="none does not say how to reach a cluster .*set KUBECONFIG or log in"
    ):
        make_backend().submit(JOB)


def test_kubeconfig_without_a_current_context(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_kubeconfig(tmp_path / "kubeconfig", "http://127.0.0.1:1")
    config = yaml.safe_load(path.read_text())
    del config["current-context"]
    path.write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(path))

    with pytest.raises(ClusterError, match="kubeconfig does not say how to reach a cluster"):
        make_backend().submit(JOB)


def test_unknown_context(server: FakeServer) -> None:
    with pytest.raises(
        ClusterError, match=r"context: moon is not in .*kubeconfig; it has lab, bare"
    ):
        make_backend(context="moon").submit(JOB)


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes", None)

    with pytest.raises(ClusterError, match=r"not installed; pip install 'sparsweep\[kubernetes\]'"):
        Server(None, None)
    assert make_backend().check() == [
        "kubernetes: the package is not installed; pip install 'sparsweep[kubernetes]'"
    ]
    assert "kind: RayJob" in make_backend().render(JOB)


def use_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(tmp_path / "kubeconfig", url)))
