"""Runs in a database that MLflow reads, written by MLflow's own client."""

import logging
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestrator.errors import SweepError
from orchestrator.trackers.runs import TrackedRun
from orchestrator.trackers.tracker import folder_of, not_installed

DATABASE = "mlflow.db"
"""The file in the folder. MLflow's other kind of store, a folder of small files, is no longer
developed, and since its version 3.7 has to be allowed by a variable."""

TRIAL_ID, DIGEST = "sparsweep.trial_id", "sparsweep.digest"
"""Tags of runs. The digest is written last: a run without it was left half written."""

PAGE = 1000
"""Runs asked for at a time."""


class MLflow:
    """A folder with a database: an experiment a sweep, and in it a run a trial.

    Args:
        folder: on this machine; made when there is none.

    Raises:
        SweepError: it is something else, its database cannot be used, or MLflow is not installed.
        OSError: it cannot be written.
    """

    def __init__(self, folder: str) -> None:
        make_client = _load_client()
        self.location = folder_of(folder)
        self._folder = Path(self.location.path)
        _refuse_other_things(self._folder)
        self.location.check_writable()
        self._experiments: dict[str, str] = {}
        with self._in_words():
            self._client = make_client(tracking_uri=self._uri)

    @property
    def look(self) -> str:
        """The command that shows what is there."""
        return f"mlflow ui --backend-store-uri {shlex.quote(self._uri)}"

    @property
    def _uri(self) -> str:
        from sqlalchemy import URL

        url = URL.create("sqlite", database=str(self._folder / DATABASE))
        rendered: str = url.render_as_string()  # in which ? and % of the path are letters
        return rendered

    def known(self) -> dict[str, list[str]]:
        """See `Tracker`."""
        return {
            trial_id: [run.data.tags.get(DIGEST, "") for run in runs]
            for trial_id, runs in self._runs.items()
        }

    def put(self, run: TrackedRun) -> None:
        """See `Tracker`. MLflow keeps the run before as a deleted one, until `mlflow gc`."""
        with self._in_words():
            self._write(run)
            for earlier in self._runs.get(run.trial_id, ()):
                self._client.delete_run(earlier.info.run_id)

    @cached_property
    def _runs(self) -> dict[str, list[Any]]:
        """The runs of each trial that were there at first."""
        found: dict[str, list[Any]] = {}
        with self._in_words():
            for run in self._search():
                found.setdefault(run.data.tags[TRIAL_ID], []).append(run)
        return found

    def _search(self) -> Iterator[Any]:
        experiments = [one.experiment_id for one in self._client.search_experiments()]
        token = None
        while experiments:
            page = self._client.search_runs(
                experiments, f"tags.`{TRIAL_ID}` LIKE '%'", max_results=PAGE, page_token=token
            )
            yield from page
            token = page.token
            if not token:
                break

    def _write(self, run: TrackedRun) -> None:
        from mlflow.entities import Metric, Param, RunTag

        created = self._client.create_run(
            self._experiment(run.facts["sweep"]),
            start_time=_ms(run.started_s),
            run_name=run.name,
            tags={TRIAL_ID: run.trial_id},
        )
        run_id = created.info.run_id
        metrics = [
            Metric(name, value, _ms(point.time_s), point.step)
            for point in run.curve
            for name, value in point.values.items()
        ]
        metrics += [
            Metric(name, value, _ms(run.ended_s), run.last_step)
            for name, value in run.numbers.items()
        ]
        settings = [Param(name, str(value)) for name, value in run.settings.items()]
        facts = [RunTag(f"sparsweep.{name}", text) for name, text in run.facts.items()]
        self._client.log_batch(run_id, metrics, settings, facts)
        status = "FINISHED" if run.is_completed else "FAILED"
        self._client.set_terminated(run_id, status, _ms(run.ended_s))
        self._client.set_tag(run_id, DIGEST, run.digest)

    def _experiment(self, sweep: str) -> str:
        """The id of a sweep's experiment, which is made where there is none."""
        if sweep not in self._experiments:
            known = self._client.get_experiment_by_name(sweep)
            if known is not None and known.lifecycle_stage != "active":
                raise SweepError(
                    f"{self._folder}: its experiment {sweep} was deleted; restore it with `mlflow "
                    f"experiments restore`, or give another folder"
                )
            files = (self._folder / "artifacts").as_uri()
            self._experiments[sweep] = (
                known.experiment_id
                if known is not None
                else self._client.create_experiment(sweep, artifact_location=files)
            )
        return self._experiments[sweep]

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        """What MLflow and its database raise, as one line."""
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (MlflowException, SQLAlchemyError) as error:
            said = str(error).strip().splitlines()[0]
            raise SweepError(
                f"{self._folder / DATABASE}: MLflow cannot use it ({said}); give another folder"
            ) from error


def _load_client() -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # else it reports its use to a server
    try:
        import alembic  # noqa: F401, MLflow makes its tables with it
        import sqlalchemy  # noqa: F401
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise not_installed("mlflow", error) from error
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient


def _refuse_other_things(folder: Path) -> None:
    if folder.is_dir() and not (folder / DATABASE).exists() and any(folder.glob("[!.]*")):
        raise SweepError(
            f"{folder}: holds other things, and no {DATABASE}; give a new folder, or one with a "
            "database of MLflow"
        )


def _ms(time_s: float) -> int:
    return round(time_s * 1000)
