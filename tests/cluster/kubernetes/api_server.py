"""A Kubernetes API server over HTTP, as far as jobs need one: kmock's emulator, which keeps
objects, and what it lacks.

Added are credentials, dry runs, label selectors, rights, an object's uid and time, owners whose
objects go with them, and answers that a test asks for.
"""

import asyncio
import contextlib
import datetime
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp.web
import kmock
import yaml
from kmock import KubernetesEmulator, KubernetesError

TOKEN = "s3cret-t0ken"
RESOURCES = {
    name.rpartition("/")[2]: kmock.resource(name)
    for name in (
        "ray.io/v1/rayjobs",
        "v1/configmaps",
        "v1/pods",
        "v1/secrets",
        "v1/serviceaccounts",
        "v1/persistentvolumeclaims",
        "v1/events",
        "v1/resourcequotas",
        "kueue.x-k8s.io/v1beta1/workloads",
        "kueue.x-k8s.io/v1beta1/localqueues",
        "scheduling.k8s.io/v1/priorityclasses",
        "v1/namespaces",
    )
}


class FakeServer(KubernetesEmulator):
    """The emulator and what a test may set.

    Attributes:
        refusals: (method, plural) -> the error to answer with, such as ("post", "rayjobs"), or
            ("dry run", "rayjobs").
        denied: (verb, plural) that the user has no right to.
        pod_logs: pod -> its output.
        asked: every request as "METHOD path?query", in order.
    """

    def prepare(self) -> None:
        self.refusals: dict[tuple[str, str], KubernetesError] = {}
        self.denied: set[tuple[str, str]] = set()
        self.pod_logs: dict[str, str] = {}
        self.asked: list[str] = []
        for name in RESOURCES.values():
            self.resources[name] = {}
        self.put("namespaces", "team", {})

    def put(
        self, plural: str, name: str, content: dict[str, Any], namespace: str | None = "team"
    ) -> None:
        """Place an object, as somebody else would."""
        where = None if plural in ("namespaces", "priorityclasses") else namespace
        metadata = {"name": name, "namespace": where, "uid": str(uuid.uuid4())} | content.pop(
            "metadata", {}
        )
        self.objects[RESOURCES[plural], where, name] = {"metadata": metadata, **content}

    def find(self, plural: str, name: str, namespace: str | None = "team") -> dict[str, Any] | None:
        """An object as it is now."""
        key = (RESOURCES[plural], namespace, name)
        return (
            None if key not in self.objects or self.objects[key].deleted else self.objects[key].raw
        )

    def remove(self, plural: str, name: str) -> None:
        """Take an object away, as somebody else would."""
        self.objects[RESOURCES[plural], "team", name].delete()

    def change(self, name: str, **status: Any) -> None:
        """Set a RayJob's status, as the operator would."""
        self.edit(name, {"status": status})

    def edit(self, name: str, patch: dict[str, Any]) -> None:
        """Merge fields into a RayJob."""
        self.objects[RESOURCES["rayjobs"], "team", name].patch(patch)

    async def _handle(self, request: kmock.Request) -> aiohttp.web.StreamResponse:
        method, plural = (
            request.method.value.lower(),
            request.resource.plural if request.resource else None,
        )
        self.asked.append(f"{method} {request.url.raw_path_qs}")
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise KubernetesError(status=401, reason="Unauthorized", message="Unauthorized")
        if plural is None:  # the emulator takes the namespace itself for a place
            return self._answer_with(
                self.find("namespaces", str(request.namespace), namespace=None)
            )
        asked = "dry run" if "dryRun" in request.params else method
        if error := self.refusals.get((asked, plural)):
            raise error
        if plural == "selfsubjectaccessreviews":
            right = request.data["spec"]["resourceAttributes"]
            is_allowed = (right["verb"], right["resource"]) not in self.denied
            return self._answer_with(request.data | {"status": {"allowed": is_allowed}})
        if request.subresource == "log":
            if error := self.refusals.get((method, "pods/log")):
                raise error
            return aiohttp.web.Response(text=self.pod_logs[str(request.name)])
        if "labelSelector" in request.params:
            return self._select(request, plural, method)
        if request.params.get("dryRun") == "All":
            if self.find(plural, request.data["metadata"]["name"], request.namespace):
                raise KubernetesError(
                    status=409, reason="AlreadyExists", message=f"{plural} already exists"
                )
            return self._answer_with(request.data)
        if method == "post":
            now = datetime.datetime.now(datetime.UTC).isoformat()
            request.data["metadata"] |= {
                "namespace": request.namespace,
                "uid": str(uuid.uuid4()),
                "creationTimestamp": now,
            }
        if method == "put":
            self.objects[RESOURCES[plural], request.namespace, request.name].patch(request.data)
            return self._answer_with(request.data)
        response = await super()._handle(request)
        self._collect_orphans()
        return response

    @staticmethod
    def _answer_with(content: dict[str, Any] | None) -> aiohttp.web.Response:
        if content is None:
            raise KubernetesError(status=404, reason="NotFound", message="not found")
        return aiohttp.web.json_response(content)

    def _select(self, request: kmock.Request, plural: str, method: str) -> aiohttp.web.Response:
        wanted = dict(pair.split("=") for pair in request.params["labelSelector"].split(","))
        items = []
        for (resource, namespace, name), entry in list(self.objects.items()):
            is_here = (
                resource == RESOURCES[plural]
                and namespace == request.namespace
                and not entry.deleted
            )
            if is_here and wanted.items() <= entry.raw["metadata"].get("labels", {}).items():
                items.append(entry.raw)
                if method == "delete":
                    self.objects[resource, namespace, name].delete()
        return aiohttp.web.json_response(
            {"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items}
        )

    def _collect_orphans(self) -> None:
        uids = {
            entry.raw["metadata"].get("uid") for entry in self.objects.values() if not entry.deleted
        }
        for key, entry in list(self.objects.items()):
            owners = [] if entry.deleted else entry.raw["metadata"].get("ownerReferences", [])
            if any(owner["uid"] not in uids for owner in owners):
                self.objects[key].delete()


@contextlib.contextmanager
def kubernetes_server() -> Iterator[tuple[FakeServer, str]]:
    """A server that runs beside the test, and its URL."""
    loop = asyncio.new_event_loop()
    fake = FakeServer()
    fake.prepare()
    stop, is_up, urls = asyncio.Event(), threading.Event(), []

    async def serve() -> None:
        async with fake, kmock.Server(fake) as server:
            urls.append(str(server.url))
            is_up.set()
            await stop.wait()

    def run() -> None:
        try:
            loop.run_until_complete(serve())
        finally:
            is_up.set()
            loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    is_up.wait(timeout=30)
    try:
        yield fake, urls[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(timeout=30)


def write_kubeconfig(path: Path, url: str, token: str = TOKEN) -> Path:
    """A kubeconfig with the contexts `lab`, which names a namespace, and `bare`, which does not."""
    contexts = {"lab": {"namespace": "team"}, "bare": {}}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "lab",
        "clusters": [{"name": "here", "cluster": {"server": url}}],
        "users": [{"name": "me", "user": {"token": token}}],
        "contexts": [
            {"name": name, "context": {"cluster": "here", "user": "me", **more}}
            for name, more in contexts.items()
        ],
    }
    path.write_text(yaml.safe_dump(config))
    return path
