"""Prints what the project needs, without the project: `python requirements.py EXTRA,EXTRA`,
beside pyproject.toml.

So that an image's layer with the packages lasts while only the source changes. Standard library
only.
"""

import sys
import tomllib
from pathlib import Path


def requirements(extras: list[str], pyproject: Path = Path("pyproject.toml")) -> list[str]:
    """What builds the project, and what it and some of its extras require.

    Raises:
        SystemExit: there is no such extra.
    """
    table = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    optional = table["project"]["optional-dependencies"]
    for extra in extras:
        if extra not in optional:
            sys.exit(f"EXTRAS: there is no {extra!r} in {pyproject}; give of {', '.join(optional)}")
    return [
        *table["build-system"]["requires"],
        *table["project"]["dependencies"],
        *(line for extra in extras for line in optional[extra]),
    ]


if __name__ == "__main__":
    sys.stdout.write("".join(f"{line}\n" for line in requirements(sys.argv[1].split(","))))
