"""What a Kubernetes API server answers, or why it does not, in words and with the remedy."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cluster.errors import ClusterError
from cluster.kubernetes.kubectl import Kubectl

MISSING_PACKAGE = "kubernetes: the package is not installed; pip install 'sparsweep[kubernetes]'"

REMEDIES = {
    400: (
        "the server knows no such field: KubeRay is older than what this sparsweep was made for; "
        "upgrade its operator"
    ),
    401: (
        "your credentials are not accepted, perhaps they expired; log in again until `{auth "
        "whoami}` knows you"
    ),
    403: (
        "you lack the right; `sparsweep clusters` names all that you lack, `{auth can-i --list}` "
        "shows what you have"
    ),
    404: (
        "it is not there; check the namespace, and that KubeRay is installed: `{get crd "
        "rayjobs.ray.io}`"
    ),
    409: (
        "it is there already; look at it with `{get rayjobs,configmaps}`, and "
        "remove it or wait for its end"
    ),
    422: "a value is not acceptable; correct the profile or the sweep",
    429: "the server is overloaded; try again later",
}
"""HTTP status -> what to do. In braces stands what kubectl is told."""

NOT_ADMITTED = {
    "exceeded quota": "wait until others have ended, or ask who runs the cluster for more",
    "denied the request": "it is against a rule; change the profile, or ask who runs the cluster",
}
"""What the server says where it is not the user or the request that it minds -> what to do."""


@contextmanager
def in_words(doing: str, kubectl: Kubectl) -> Iterator[None]:
    """Turns whatever the client raises into a `ClusterError`.

    Args:
        doing: what is asked of the server, such as `create job x`.
        kubectl: where, for commands that are named.
    """
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        # The client makes an answer of its own, without a status, when TLS fails.
        why = _answer(error, kubectl) if error.status else _no_answer(str(error.reason))
        raise ClusterError(f"kubernetes: {doing}: {why}") from error
    except HTTPError as error:
        raise ClusterError(f"kubernetes: {doing}: {_no_answer(str(error))}") from error


def status_of(error: BaseException) -> int | None:
    """HTTP status of the answer behind a `ClusterError`; None if there was no answer."""
    status: int | None = getattr(error.__cause__, "status", None)
    return status


def _answer(error: Any, kubectl: Kubectl) -> str:
    message = _message(error.body) or error.reason or "no reason given"
    remedy = next((todo for words, todo in NOT_ADMITTED.items() if words in message), None)
    if remedy is None:
        remedy = REMEDIES.get(
            error.status,
            "ask who runs the cluster" if error.status >= 500 else "see the server's message",
        )
    remedy = re.sub(r"\{(.*?)\}", lambda found: kubectl.line(*found[1].split()), remedy)
    return f"{message} (HTTP {error.status}); {remedy}"


def _message(body: Any) -> str:
    """The message of a Kubernetes `Status`, in one line; empty if the answer is none, such as a
    proxy's web page."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else body or ""
    try:
        message = json.loads(text)["message"]
    except (ValueError, TypeError, KeyError):
        return ""
    return " ".join(str(message).split())


def _no_answer(text: str) -> str:
    """No answer: what stands between us and the server."""
    if "CERTIFICATE_VERIFY_FAILED" in text or "SSL" in text:
        return (
            "the server's certificate is not accepted; "
            "check certificate-authority in the kubeconfig, and the machine's clock and proxy"
        )
    if "refused" in text:
        return (
            "the server refuses the connection; is it running, and does the kubeconfig name the "
            "right address and port?"
        )
    if "resolve" in text or "Name or service not known" in text:
        return (
            "the server's name is not known here; check the kubeconfig, and whether a VPN is needed"
        )
    if "timed out" in text:
        return (
            "the server does not answer in time; check the network, and whether a VPN or proxy is "
            "needed"
        )
    return (
        f"no connection to the server ({' '.join(text.split())}); check the kubeconfig and the "
        "network"
    )
