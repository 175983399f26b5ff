"""The report of real results in a real browser, opened from disk without a network."""

import math
import re
from contextlib import contextmanager
from importlib.resources import files

import pandas as pd
import pytest

from orchestrator.report import page as pages
from orchestrator.report.figure import Drawing, Figure
from orchestrator.report.material import read_material
from orchestrator.report.page import write_page
from orchestrator.report.parts import choose_first
from orchestrator.report.sections import FIGURES, Section, needs
from orchestrator.results.store import ResultStore
from tests.benchmarks.analysis import make_results
from tests.browser import needs_chromium, open_browser
from tests.golden_results import unpack

pytestmark = needs_chromium

TIMEOUT_MS = 120_000
MARKS = ".role-mark path, .role-mark text, .role-mark line"


@pytest.fixture(scope="module")
def chromium():
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """The results of `make paper-mini`, of which 58 trials are missing."""
    results = unpack(tmp_path_factory.mktemp("results"))
    return read_material(ResultStore(str(results)), needs(FIGURES.values()))


@pytest.fixture(scope="module")
def few_sentences(tmp_path_factory):
    """Two languages of which so few sentences are there that many intervals are not."""
    folder = str(tmp_path_factory.mktemp("few"))
    make_results(folder, ("de", "my"), sparsities=(0.5, 0.9), seeds=(0, 1), num_sentences=12)
    return read_material(ResultStore(folder), needs(FIGURES.values()))


@pytest.fixture(scope="module")
def drawings(material):
    return {name: figure.draw(material) for name, figure in FIGURES.items()}


@pytest.fixture(scope="module")
def file(material, tmp_path_factory):
    """The report."""
    return str(write_page(material, str(tmp_path_factory.mktemp("report") / "report.html")))


@contextmanager
def opened(chromium, file, **options):
    """The page, offline. When the block ends, nothing may have gone wrong in it."""
    context = chromium.new_context(offline=True, **options)
    page = context.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    wrong = []
    page.on("console", lambda one: wrong.append(one.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: wrong.append(request.url) if is_foreign(request) else None)
    try:
        page.goto(f"file://{file}")
        yield page
        assert wrong == []
    finally:
        context.close()


def is_foreign(request) -> bool:
    return request.url.split(":")[0] not in ("file", "blob", "data")


def drawn(page, name):
    """The article of a figure, once its chart is drawn."""
    article = page.locator(f"#{name}")
    article.scroll_into_view_if_needed()
    page.wait_for_selector(f"#{name}[data-drawn]")
    return article


def cells(article) -> list[list[str]]:
    """The texts of the table behind a figure, all rows of it, with the names of its columns."""
    details = article.locator("details.table")
    if details.get_attribute("open") is None:
        details.locator("summary").press("Enter")  # a click may miss while charts above grow
        details.locator("table").wait_for()
    if (more := details.locator("button")).count():
        more.click()
    return details.evaluate(
        "one => [...one.querySelectorAll('tr')].map(row => [...row.cells].map(c => c.textContent))"
    )


def is_same(text: str, value) -> bool:
    """Whether a cell says what the table has: numbers to 4 digits."""
    if pd.isna(value):
        return text == "–"
    if isinstance(value, str):
        return text == value
    return math.isclose(float(text.replace(",", "")), float(value), rel_tol=5e-4, abs_tol=1e-12)


def chosen(table: pd.DataFrame, **choices) -> pd.DataFrame:
    """The rows that choices leave."""
    for column, value in choices.items():
        table = table[table[column].isna() | (table[column] == value)]
    return table


@pytest.mark.parametrize(("scheme", "width"), [("light", 1400), ("dark", 700)])
def test_every_figure_is_drawn_in_the_scheme_of_the_page(chromium, file, drawings, scheme, width):
    view = {"width": width, "height": 900}
    with opened(chromium, file, color_scheme=scheme, viewport=view) as page:
        for name, drawing in drawings.items():
            if drawing.chart is None:
                continue
            article = drawn(page, name)
            assert article.locator(MARKS).count() > 0, name
            assert article.get_attribute("data-drawn") == scheme
        # A wide chart is scrolled in its own place; the page itself is as wide as the window.
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_under_a_short_line_of_panels_is_no_axis_without_a_panel(chromium, file):
    """Three panels where two stand beside one another: each has its own axis, and no other is
    there. Where all lines are full they share the axes of the last one."""
    counted = "one => [one.querySelectorAll('.mark-group.role-scope.cell > g').length,"
    counted += "[...one.querySelectorAll('.role-axis-title text')]"
    counted += ".filter(text => text.textContent === 'sparsity').length]"
    with opened(chromium, file, viewport={"width": 700, "height": 900}) as page:
        assert drawn(page, "robustness-change").evaluate(counted) == [3, 3]
        assert drawn(page, "f1-by-language").evaluate(counted) == [6, 3]


def test_intervals_that_nobody_has_and_choices_are_no_fault_of_the_page(
    chromium, few_sentences, tmp_path
):
    """A series without intervals, a language without a change: the page draws what is there."""
    file = str(write_page(few_sentences, str(tmp_path / "few.html")))
    with opened(chromium, file) as page:
        for name in ("disparity", "disparity-change", "f1-by-language", "intervals"):
            article = drawn(page, name)
            assert article.locator(MARKS).count() > 0
            for column, value in (
                ("series", "multilingual"), ("series", "monolingual"),
                ("embeddings", "pruned"), ("embeddings", "dense"), ("language", "my"),
                ("language", ""),
            ):  # fmt: skip
                page.select_option(f"select[name={column}]", value)
                page.evaluate("new Promise(done => setTimeout(done, 60))")


def test_browsers_understand_the_whole_style_of_the_page(chromium, file):
    rules = "[...document.styleSheets].map(sheet => sheet.cssRules.length)"
    style = (files("orchestrator.report") / "template" / "page.css").read_text(encoding="utf-8")
    num_written = len(re.findall(r"^\S.* {", style, re.MULTILINE))
    with opened(chromium, file) as page:
        assert num_written in page.evaluate(rules)  # of several: Vega brings a style of its own


def test_what_columns_mean_stands_below_the_table(chromium, file, material):
    with opened(chromium, file) as page:
        article = page.locator("#change")
        cells(article)
        names = article.locator(".meanings dt").all_text_contents()
        meanings = article.locator(".meanings dd").all_text_contents()
    assert "delta_dense_mean" in names
    expected = material.meanings(FIGURES["change"].needs)
    assert dict(zip(names, meanings, strict=True)).items() <= expected.items()


def test_tables_behind_figures_are_those_that_were_drawn(chromium, file, drawings):
    with opened(chromium, file) as page:
        defaults = {
            select.get_attribute("name"): select.input_value()
            for select in page.locator("#page-choices select").all()
        }
        for name, drawing in drawings.items():
            if drawing.table.empty:
                continue
            choices = {column: defaults.get(column) for column in drawing.filters}
            choices = {column: value for column, value in choices.items() if value}
            _, table = choose_first(chosen(drawing.table, **choices), drawing.choices)
            head, *rows = cells(page.locator(f"#{name}"))
            assert head == list(table.columns)
            assert len(rows) == len(table), name
            for texts, values in zip(rows, table.itertuples(index=False), strict=True):
                assert all(map(is_same, texts, values)), (name, texts, values)
            assert f"{drawing.num_trials:,} trial" in page.locator(f"#{name} .behind").inner_text()


def test_marks_say_the_numbers_of_the_table(chromium, file, drawings):
    with opened(chromium, file) as page:
        article = drawn(page, "change")
        texts = article.locator(".role-mark text").all_text_contents()
        table = chosen(drawings["change"].table, series="monolingual", embeddings="dense")
        changes = table["delta_dense_mean"].dropna()
        wanted = [f"{change:+.2f}".replace("-", "−") for change in changes.round(6)]
        wanted = ["0.00" if text[1:] == "0.00" else text for text in wanted]
        assert sorted(text for text in texts if text != "missing") == sorted(wanted)
        assert texts.count("missing") == table["delta_dense_mean"].isna().sum() == 6


def test_choices_change_all_figures_that_have_them(chromium, file, drawings):
    with opened(chromium, file) as page:
        article = drawn(page, "f1-by-language")
        assert article.locator(".role-title text", has_text="Swahili").count() == 1
        titles = article.locator(".role-title text")
        assert titles.count() == 6
        page.select_option("select[name=language]", "sw")
        page.wait_for_function(
            "document.querySelectorAll('#f1-by-language .role-title text').length == 1"
        )
        assert len(cells(article)) - 1 == len(
            chosen(
                drawings["f1-by-language"].table,
                series="monolingual",
                embeddings="dense",
                language="sw",
            )
        )
        before = drawn(page, "change").locator(".role-mark text").all_text_contents()
        assert len(before) == 3
        page.select_option("select[name=series]", "multilingual")
        page.wait_for_function(
            "before => [...document.querySelectorAll('#change .role-mark text')]"
            ".map(one => one.textContent).join() != before",
            arg=",".join(before),
        )


def test_a_choice_of_a_figure_outlives_a_change_of_colours(chromium, file):
    with opened(chromium, file, color_scheme="light") as page:
        drawn(page, "f1-by-group")
        page.select_option("#f1-by-group select[name=panels]", "script")
        panels = page.locator("#f1-by-group .role-title text")
        page.wait_for_function(
            "document.querySelectorAll('#f1-by-group .role-title text').length == 2"
        )
        page.emulate_media(color_scheme="dark")
        page.wait_for_selector("#f1-by-group[data-drawn=dark]")
        assert sorted(panels.all_text_contents()) == ["Latn", "Mymr"]


def test_curves_are_of_the_trial_that_the_reader_chooses(chromium, file, drawings):
    with opened(chromium, file) as page:
        article = drawn(page, "training-curves")
        for label, value in (("Trained on", "sw"), ("Sparsity", "0.9"), ("Seed", "1")):
            article.locator(".own").get_by_label(label).select_option(value)
        table = chosen(
            drawings["training-curves"].table,
            series="monolingual", embeddings="dense", language="sw", seed=1,
        )  # fmt: skip
        table = table[table["target_sparsity"].isin([0, 0.9])]
        assert table["trial_id"].nunique() == 2
        assert len(cells(article)) - 1 == len(table)
        page.wait_for_function(
            "number => document.querySelectorAll('#training-curves .mark-symbol path').length"
            " >= number",
            arg=3 * len(table),
        )


def test_sentences_stand_side_by_side_by_kind_of_change(chromium, file, drawings):
    with opened(chromium, file) as page:
        article = page.locator("#sentences")
        article.get_by_label("Kind of change").select_option("broken")
        table = chosen(
            drawings["sentences"].table,
            series="monolingual", embeddings="dense", target_sparsity=0.5,
        )  # fmt: skip
        table = table[table["kinds"].str.contains("broken")]
        cards = article.locator("li.sentence")
        assert cards.count() == 10
        assert f"1 to 10 of {len(table)}" in article.inner_text()
        row = table.iloc[0]
        for side in ("gold", "dense", "sparse"):
            line = cards.first.locator(".line", has_text=side)
            num_entities = sum(tag.startswith("B-") for tag in row[side].split())
            assert line.locator("mark").count() >= num_entities
            assert line.locator(".text").get_attribute("dir") == "auto"
            marks = line.locator("mark").all()
            assert {mark.get_attribute("dir") for mark in marks} <= {"auto"}
        assert cards.first.locator("mark.wrong").count() > 0
        article.get_by_role("button", name="Next").click()
        assert f"11 to {min(20, len(table))} of {len(table)}" in article.inner_text()


def test_conclusions_follow_the_choices(chromium, file, drawings):
    with opened(chromium, file) as page:
        for series in ("monolingual", "multilingual"):
            page.select_option("select[name=series]", series)
            wanted = chosen(drawings["conclusions"].table, series=series, embeddings="dense")
            assert page.locator("#conclusions li").all_inner_texts() == wanted["sentence"].tolist()


def test_csv_has_all_rows_with_all_their_digits(chromium, file, drawings):
    with opened(chromium, file) as page:
        with page.expect_download() as told:
            page.locator("#f1-by-language button.csv").click()
        assert told.value.suggested_filename == "f1-by-language.csv"
        read = pd.read_csv(told.value.path(), keep_default_na=False, na_values=[""])
        table = drawings["f1-by-language"].table
        assert list(read.columns) == list(table.columns)
        assert read["f1_mean"].tolist() == pytest.approx(
            table["f1_mean"].tolist(), nan_ok=True, abs=0
        )
        assert read["language"].tolist() == table["language"].tolist()


def test_the_keyboard_reaches_everything_and_shows_where_it_is(chromium, file):
    reached = set()
    with opened(chromium, file) as page:
        for _ in range(200):
            page.keyboard.press("Tab")
            told = page.evaluate(
                "(() => { const one = document.activeElement;"
                " return [one.tagName, getComputedStyle(one).outlineStyle, one.className]; })()"
            )
            if told[0] == "BODY":
                break
            assert told[1] != "none", told
            reached.add(told[0])
    assert reached >= {"A", "SELECT", "BUTTON", "SUMMARY", "DIV"}


def test_paper_has_every_figure_in_light_colours(chromium, file, drawings):
    with opened(chromium, file, color_scheme="dark") as page:
        page.evaluate(
            "window.light = new Set(); window.widths = [];"
            "new MutationObserver(all => all.forEach(one => "
            "one.target.dataset.drawn === 'light' && light.add(one.target.id) && widths.push("
            "+one.target.querySelector('svg').getAttribute('width'))))"
            ".observe(document.body, {subtree: true, attributeFilter: ['data-drawn']})"
        )
        assert page.pdf().startswith(b"%PDF")
        page.emulate_media(media="print")
        assert page.locator("select[name=series]").is_visible(), "paper says what is chosen"
        charts = [name for name, drawing in drawings.items() if drawing.chart is not None]
        assert page.evaluate("[...light].sort()") == sorted(charts)
        assert max(page.evaluate("widths")) <= 700, "paper is that wide"


EVIL = '</script><img src=x onerror=alert(1)><b>"&'


def test_texts_of_results_stay_texts(chromium, material, monkeypatch, tmp_path):
    import altair as alt

    from orchestrator.report.charts import chart, tooltip

    table = pd.DataFrame({"language": [EVIL, "שלום עולם", "ภาษาไทย"], "f1": [0.5, 0.25, None]})
    bars = (
        chart().mark_bar().encode(x="f1:Q", y=alt.Y("language:N"), tooltip=tooltip(language=":0"))
    )
    drawing = Drawing(
        table=table, chart=bars, num_trials=1, filters=("language",), text=(EVIL,), notes=(EVIL,)
    )
    figure = Figure(name="evil", title=EVIL, question=EVIL, draw=lambda _: drawing)
    section = Section(name="all", title=EVIL, figures=(figure,))
    monkeypatch.setattr(pages, "SECTIONS", (section,))
    file = str(write_page(material, str(tmp_path / "evil.html")))
    with opened(chromium, file) as page:
        article = drawn(page, "evil")
        article.locator(".role-mark path").first.hover()
        page.locator("#vg-tooltip-element.visible").wait_for()
        assert [row[0] for row in cells(article)[1:]] == table["language"].tolist()
        assert page.locator("img, b").count() == 0
        assert EVIL in page.locator("h3").inner_text()


def test_words_of_any_script_are_words_and_no_html(chromium, material, monkeypatch, tmp_path):
    words = {"he": "שלום עולם", "th": "ภาษา ไทย", "en": f"{EVIL} b"}
    rows = [
        {
            "language": code, "language_name": code, "target_sparsity": 0.5, "seed": 0,
            "kinds": "broken, missed", "words": text.replace("x onerror", "x\u00a0onerror")
            .replace("img src", "img\u00a0src"),
            "gold": "B-PER O", "dense": "B-PER O", "sparse": "O I-LOC",
        }
        for code, text in words.items()
    ]  # fmt: skip
    drawing = Drawing(table=pd.DataFrame(rows), num_trials=1, view="tagged")
    figure = Figure(name="evil", title="Evil", question="Is it?", draw=lambda _: drawing)
    section = Section(name="all", title="All", figures=(figure,))
    monkeypatch.setattr(pages, "SECTIONS", (section,))
    file = str(write_page(material, str(tmp_path / "words.html")))
    with opened(chromium, file) as page:
        cards = page.locator("li.sentence")
        directions = [
            one.evaluate("one => getComputedStyle(one).direction")
            for one in cards.locator(".line:nth-child(2) .text").all()
        ]
        assert directions == ["rtl", "ltr", "ltr"]
        assert cards.nth(1).locator(".text").first.inner_text().startswith("ภาษา")
        assert page.locator("img, b").count() == 0
        assert "<img" in cards.nth(2).inner_text()
        labels = cards.first.locator("mark bdi")
        assert [one.split()[0] for one in labels.all_inner_texts()] == ["PER", "PER", "I-LOC"]
