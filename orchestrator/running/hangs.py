"""When a worker counts as hanging: it has said nothing for far longer than is usual.

A worker reports twice a second, every ten seconds where there are hundreds, or after each step,
batch or checkpoint that takes longer. A call of a device or of a file system that never returns
would hold its place, and the sweep, without end. Pure: no Ray.
"""

SILENT_S = 600.0
"""So long a worker may say nothing while it trains or scores, in seconds."""
LOADS_S = 3600.0
"""So long while it loads: it reads a model from a slow place, or encodes much text."""
USUAL_GAPS = 20
"""It may also be silent for so many times as long as it was before between two reports."""
LONGEST_LOOK_S = 5.0
"""What lies between two looks counts as no more than this: the machine slept, or the driver was
stopped, and its workers with it."""


class Silence:
    """How long a worker has said nothing.

    Args:
        now_s: seconds of a clock that only goes forward; so in each method.
    """

    def __init__(self, now_s: float):
        self._looked_s = now_s
        self.silent_s = 0.0
        self._longest_s = 0.0
        self._is_loading = True

    def heard(self, now_s: float, is_loading: bool) -> None:
        """It reported, and loads or not."""
        self._look(now_s)
        if not (is_loading or self._is_loading):
            self._longest_s = max(self._longest_s, self.silent_s)
        self.silent_s, self._is_loading = 0.0, is_loading

    def is_too_long(self, now_s: float) -> bool:
        """Whether it hangs."""
        self._look(now_s)
        allowed_s = LOADS_S if self._is_loading else SILENT_S
        return self.silent_s > max(allowed_s, USUAL_GAPS * self._longest_s)

    def _look(self, now_s: float) -> None:
        self.silent_s += min(now_s - self._looked_s, LONGEST_LOOK_S)
        self._looked_s = now_s
