"""Failures that all trials have in common: going on would only fail the rest.

A hub that cannot be reached, a driver that is too old or a full disk fails trial after trial with
the same words. As long as none has succeeded, so many of them stop the sweep. A single sick node or
GPU does so, too, while the others get on; so nothing is stopped while a trial runs that is further
than those that failed had come.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from orchestrator.running.messages import Failed

FEWEST = 3
"""Trials that must have failed alike, at least; on more workers, as many as there are workers."""

_NUMBERS = re.compile(r"\b[0-9a-f]{8,}\b|\d+")


@dataclass
class _Alike:
    """Trials that failed alike, and the furthest step at which one did."""

    trials: set[str] = field(default_factory=set)
    reached: int = 0


class CommonCause:
    """Counts trials of one run that failed alike.

    Args:
        num_trials: that the run has; too few to tell where they are fewer than would stop it.
        num_workers: trials that run at a time.
        languages: codes that messages may name, where others would name others.
    """

    def __init__(self, num_trials: int, num_workers: int, languages: Iterable[str]):
        self._enough = max(FEWEST, num_workers)
        self._languages = re.compile(rf"\b({'|'.join(map(re.escape, languages)) or '$^'})\b")
        self._failed: dict[tuple[str, str], _Alike] = {}
        self.is_possible = num_trials >= self._enough
        self.found: str | None = None

    def succeeded(self) -> None:
        """A trial was completed, so what fails others is not common to all."""
        self.is_possible = False
        self._failed.clear()

    def is_met(self, trial_id: str, failed: Failed, steps: Mapping[str, int]) -> bool:
        """Count an attempt that failed. Whether the run has, by now, failed for a common cause,
        which `found` then tells in one line.

        Args:
            trial_id: of the trial.
            failed: how it failed.
            steps: how far this trial and those that run have come, by their ids.
        """
        if self.is_possible and self.found is None:
            alike = self._failed.setdefault(self._words(failed), _Alike())
            alike.trials.add(trial_id)
            alike.reached = max(alike.reached, steps.get(trial_id, 0))
            gets_on = any(step > alike.reached for step in steps.values())
            if len(alike.trials) >= self._enough and not gets_on:
                self.found = (
                    f"{len(alike.trials)} trials failed alike and none succeeded; mend the cause "
                    f"first: {failed.kind}: {failed.message}"
                )
        return self.found is not None

    def _words(self, failed: Failed) -> tuple[str, str]:
        """What failures of one cause have in common: neither numbers, ids nor languages."""
        return failed.kind, self._languages.sub("_", _NUMBERS.sub("0", failed.message))
