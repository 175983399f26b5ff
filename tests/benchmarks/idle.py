"""A worker whose trials do nothing, to measure what the driver adds to a trial."""

from collections.abc import Generator

from orchestrator.running.trainable import TrialTrainable
from tests.factories import make_trial_result
from workers.result import Progress, TrialResult
from workers.trial import TrialSpec


class IdleTrainable(TrialTrainable):
    """Everything of a real worker, the commit of its results included, but the trial itself."""

    def make_run(self, spec: TrialSpec) -> Generator[Progress, None, TrialResult]:
        """Give a finished result at once."""
        return make_trial_result()
        yield
