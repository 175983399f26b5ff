"""What a driver refuses before it starts a trial."""

import pytest

from orchestrator.errors import SweepError
from orchestrator.running.driver import refuse_wrong_kernels


@pytest.mark.parametrize(("kernels", "has_gpu"), [("triton", False), ("numba", True)])
def test_kernels_that_cannot_compute_where_trials_run_are_refused(kernels, has_gpu):
    got = "get a GPU" if has_gpu else "get none"
    with pytest.raises(
        SweepError, match=f"pruning.kernels: {kernels} computes on .* trials {got} here; use auto"
    ):
        refuse_wrong_kernels(kernels, has_gpu)
    for fitting in ("auto", "reference", "numba" if kernels == "triton" else "triton"):
        refuse_wrong_kernels(fitting, has_gpu)
