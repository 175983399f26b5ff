"""Debian's Chromium for tests: where it is, and how it is started without a network."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def why_not() -> str | None:
    """Why no browser can be started here; None where one can."""
    if not CHROMIUM.exists():
        return f"{CHROMIUM} is not there; apt-get install chromium"
    return None


@contextmanager
def browser() -> Iterator[Any]:
    """A browser of Playwright that runs until the block ends."""
    os.environ.setdefault("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(FLAGS))
        try:
            yield chromium
        finally:
            chromium.close()
