"""Where real data lies: a folder beside the checkout, or the one that `SPARSWEEP_TEST_DATA`
names."""

import os
from pathlib import Path

BESIDE_THE_PROJECT = Path(__file__).resolve().parents[2] / "shared" / "data"


def real_data(name: str) -> Path:
    """A folder of real data: wikiann, mbert or kuberay.

    Raises:
        FileNotFoundError: it is not there.
    """
    given = os.environ.get("SPARSWEEP_TEST_DATA")
    place = Path(given or BESIDE_THE_PROJECT) / name
    if not place.exists():
        told = f"{given} has no {name}/" if given else f"set it to a folder that has {name}/"
        raise FileNotFoundError(f"SPARSWEEP_TEST_DATA: {told}; real data are needed")
    return place
