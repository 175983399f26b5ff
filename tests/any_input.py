"""Inputs at random, for the tests that say: whatever it holds, it is read or refused in words.

Each example of Hypothesis becomes several inputs, since making an example takes longer than reading
most of them. SPARSWEEP_EXAMPLES is how many examples a test makes, see `make fuzz`; without it they
are few and always the same.
"""

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import yaml
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

FEW = 15
EXAMPLES = int(os.environ.get("SPARSWEEP_EXAMPLES", FEW))
DAMAGED_FORMS = 25

TRIED: Counter[str] = Counter()
"""Inputs of this process by kind; shown at the end of a long run."""

many = settings(
    max_examples=EXAMPLES,
    derandomize=EXAMPLES <= FEW,
    database=None,
    suppress_health_check=list(HealthCheck),
)

seeds = st.integers(0, 2**32 - 1)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-3, 3)
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.text(max_size=20)
    | st.dates()
    | st.datetimes()
    | st.binary(max_size=9)
    | st.sampled_from(["sw", "0.5", "no", "~", "s3://a@b", "gs:", "a/../b", "\0", "\udc80", "{}"])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
WORDS = """
a name : [ ] { } ' " !! !!timestamp &x *x << | > # % --- ? 010 1:30 0x !!int !!map !!bool !!set
!!float !!binary !!omap !!pairs !!null !!python/name:os.system = é 1e .nan -.inf 2001-13-13
""".split()  # noqa: SIM905, a list would take forty lines
PIECES = [*WORDS, *" \n\t", "- ", "!!int ", "!!bool ", "\x85", "\0", "\ufeff"]
scraps = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12).map("".join)


def as_bytes(text: str) -> bytes:
    """The text in UTF-8; half characters, which no UTF-8 has, as if it had them."""
    return text.encode("utf-8", "surrogatepass")


def dump(value: Any) -> str | None:
    """A value as YAML; None where PyYAML cannot write it."""
    try:
        return yaml.safe_dump(value)
    except (ValueError, yaml.YAMLError):
        return None


def damaged(content: bytes, seed: int, number: int = DAMAGED_FORMS) -> Iterator[bytes]:
    """The content itself, and forms of it in which bytes are flipped, lost, doubled or put in.

    Args:
        content: of a file.
        seed: decides the damage.
        number: of forms, the undamaged one included.
    """
    yield content
    dice = random.Random(seed)
    for _ in range(number - 1):
        form = bytearray(content)
        for _ in range(dice.randint(1, 3)):
            start = dice.randint(0, len(form))
            end = min(len(form), start + int(dice.expovariate(1 / 8)) + 1)
            match dice.randrange(6):
                case 0 if form:
                    form[min(start, len(form) - 1)] ^= 1 << dice.randrange(8)
                case 1:
                    del form[start:end]
                case 2:
                    form[start:start] = form[start:end]
                case 3:
                    form[start:end] = dice.randbytes(end - start)
                case 4:
                    form[start:start] = as_bytes(dice.choice(PIECES))
                case 5:
                    del form[dice.randint(start, len(form)) :]
        yield bytes(form)


def refused_in_words(
    kind: str, refusals: tuple[type[Exception], ...], call: Callable[[], Any]
) -> Any:
    """What a call gives; None where it refuses, as the command line does with exit code 2.

    Args:
        kind: of input, for `TRIED`.
        refusals: errors that are shown to the user as they are.
        call: reads an input.
    """
    TRIED[kind] += 1
    try:
        return call()
    except refusals as error:
        said = str(error)
    assert said.strip()
    return None
