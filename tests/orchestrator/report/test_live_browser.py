"""The live page in a real browser: it says that there is something new, and keeps the choices."""

import threading

import pytest

from orchestrator.report import page
from orchestrator.report.live import LivePage, LiveServer
from orchestrator.report.material import read_material
from orchestrator.report.sections import FIGURES, Section
from orchestrator.results.store import ResultStore
from tests.browser import needs_chromium, open_browser
from tests.orchestrator.analysis.committing import commit

WAIT_MS = 240_000

pytestmark = [pytest.mark.slow, needs_chromium]


@pytest.fixture
def store(tmp_path):
    store = ResultStore(str(tmp_path / "results"))
    for language in ("sw", "yo"):
        commit(store, language, 0, 0, 0.9)
        commit(store, language, 0.5, 0, 0.7)
    return store


@pytest.fixture
def live(store, monkeypatch):
    """The live page with one figure."""
    figure = FIGURES["f1-by-language"]
    section = Section(name="quality", title="Quality", figures=(figure,))
    monkeypatch.setattr(page, "SECTIONS", (section,))

    def make(state: str) -> str:
        material = read_material(ResultStore(str(store.location)), figure.needs)
        return page.make_page(material, state)

    return LivePage(store, make, 3600, lambda problem: None)


def test_a_reader_is_told_of_new_results_and_keeps_the_choices(store, live):
    live.renew()
    first = live.shown.state
    with LiveServer(live) as server, open_browser() as chromium:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        tab = chromium.new_page()
        tab.set_default_timeout(WAIT_MS)
        said = []
        tab.on("console", lambda one: said.append(one.text) if one.type == "error" else None)
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.goto(server.address)
        tab.wait_for_selector(".chart svg")
        tab.select_option("select[name=language]", "yo")
        tab.click("details.table summary")
        tab.wait_for_selector("details.table tbody tr")
        assert tab.locator("#live").is_hidden()

        commit(store, "yo", 0.9, 0, 0.5)
        live.renew()
        assert live.shown.state != first
        tab.click("#live button")
        tab.wait_for_selector(f"body[data-state='{live.shown.state}']")
        tab.wait_for_selector("details.table tbody tr")
        assert tab.input_value("select[name=language]") == "yo"
        rows = tab.locator("details.table tbody tr").all_inner_texts()
        assert len(rows) == 3
        assert all("sw" not in row.split() for row in rows)
        assert said == []

        server.shutdown()
        server.server_close()
        tab.wait_for_selector("#live >> text=no longer served")
