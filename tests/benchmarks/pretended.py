"""Hundreds of Ray Tune's workers on one machine, which share a few processes.

Tune starts an actor for each worker, and an actor is a process. Here it is given something that
looks like one, and is an object in one of a few actors with many threads. All else is Tune's own:
it places these workers, calls them and waits for each, as it does with real ones.
"""

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any
from unittest import mock

import ray
from ray.air.execution.resources.placement_group import PlacementGroupAcquiredResources

PER_PROCESS = 32
"""Workers."""


class Host:
    """A process that workers share.

    Args:
        kind: class of the workers.
    """

    def __init__(self, kind: type):
        self._kind = kind
        self._workers: dict[int, Any] = {}

    def start(self, number: int, given: dict[str, Any]) -> None:
        """Make a worker."""
        self._workers[number] = self._kind(**given)

    def call(self, number: int, method: str, *values: Any, **named: Any) -> Any:
        """Have a worker do something."""
        return getattr(self._workers[number], method)(*values, **named)

    def end(self, number: int) -> None:
        """Forget a worker."""
        del self._workers[number]


class Method:
    """What Tune calls `remote` of."""

    def __init__(self, method: Any, *values: Any):
        self._method, self._values = method, values

    def remote(self, *values: Any, **named: Any) -> Any:
        """A future of the result."""
        return self._method.remote(*self._values, *values, **named)


class Worker:
    """In place of the handle of an actor.

    Args:
        host: the process that it is in.
        number: which of the workers there.
        given: what its class is called with.
    """

    def __init__(self, host: Any, number: int, given: dict[str, Any]):
        self._host, self._number = host, number
        self._ready = host.start.remote(number, given)

    def __getattr__(self, name: str) -> Any:
        """A method of the worker, or one of those that Ray gives to all actors."""
        if name == "__ray_ready__":
            return mock.Mock(remote=lambda: self._ready)
        if name == "__ray_terminate__":
            return Method(self._host.end, self._number)
        return Method(self._host.call, self._number, name)


class Hosts:
    """In place of the class of an actor: makes workers, and processes as more are needed."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._kind: Any = None
        self._host: Any = None

    def of(self, kind: Any) -> "Hosts":
        """This one, for workers of that class."""
        self._kind = kind.__ray_metadata__.modified_class
        return self

    def remote(self, **given: Any) -> Worker:
        """Start a worker."""
        number = next(self._numbers)
        if number % PER_PROCESS == 0:
            threads = ray.remote(num_cpus=0, max_concurrency=PER_PROCESS + 1)
            self._host = threads(Host).remote(self._kind)
        return Worker(self._host, number, given)


@contextlib.contextmanager
def sharing_processes() -> Iterator[None]:
    """In the block: workers that Tune starts share processes."""
    hosts = Hosts()

    def annotate(resources: Any, entity: Any, bundle: Any, bundle_index: int) -> Hosts:
        return hosts.of(entity)

    with mock.patch.object(PlacementGroupAcquiredResources, "_annotate_remote_entity", annotate):
        yield
