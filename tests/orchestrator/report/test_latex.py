"""Tables as LaTeX."""

import shutil
import subprocess

import pandas as pd
import pytest

from orchestrator.report.latex import LONGEST, escape, make_table

needs_pdflatex = pytest.mark.skipif(
    shutil.which("pdflatex") is None,
    reason="pdflatex is not there; Debian's texlive-latex-recommended has it, and what it needs",
)


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("50 % of A&B_c #1 {x} $5", r"50 \% of A\&B\_c \#1 \{x\} \$5"),
        (r"\input{x} ~ ^", r"\textbackslash{}input\{x\} \textasciitilde{} \textasciicircum{}"),
        ("a < b | c > d", r"a \textless{} b \textbar{} c \textgreater{} d"),
        ("−0.5 ± 0.1 – Δ…", r"$-$0.5 $\pm$ 0.1 -- $\Delta$\dots{}"),
        ("two\nlines\tand\x00NUL\u202e", "two lines and NUL"),
        ("São Tomé, ქართული, ไทย", "São Tomé, ქართული, ไทย"),
    ],
)
def test_signs_lose_their_meaning(text, latex):
    assert escape(text) == latex


def test_a_table_has_rules_a_head_and_numbers_to_the_right():
    rows = pd.DataFrame(
        {
            "language": ["sw_x", None],
            "f1": [1 / 3, -0.25],
            "num_seeds": pd.array([12345, None], "Int64"),
            "is_shown": [True, False],
        }
    )
    table = make_table(rows, ["What it is.\n\\end{document}"])
    assert table.splitlines() == [
        r"% What it is. \end{document}",
        r"% Needs \usepackage{booktabs} and the font encoding T1.",
        r"\begingroup\normalsize\setlength{\tabcolsep}{6pt}",
        r"\begin{tabular}{@{}lrrl@{}}",
        r"\toprule",
        r" &  & num\_ & is\_ \\",
        r"language & f1 & seeds & shown \\",
        r"\midrule",
        r"sw\_x & 0.3333 & 12345 & yes \\",
        r"-- & $-0.2500$ & -- & no \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\endgroup",
    ]


def test_a_long_table_goes_on_over_pages():
    table = make_table(pd.DataFrame({"f1": [0.5] * (LONGEST + 1)}))
    assert r"\usepackage{booktabs,longtable}" in table
    assert table.count(r"0.5 \\") == LONGEST + 1
    assert table.count(r"\bottomrule") == 1
    assert table.index(r"\endhead") < table.index(r"0.5 \\")


def test_letters_that_pdftex_cannot_print_are_told():
    assert "XeLaTeX" in make_table(pd.DataFrame({"words": ["ไทย"]}))
    assert "XeLaTeX" not in make_table(pd.DataFrame({"words": ["Zürich – Łódź ± 1 ▼"]}))


@pytest.mark.parametrize(
    ("text", "latex"),
    [("Ọ̀yọ́", r"\d{O}̀y\d{o}́"), ("ế", r"\'{\^{e}}"), ("ə", "ə"), ("--x ''", r"-{}-x '{}'")],
)
def test_letters_with_marks_are_put_together(text, latex):
    assert escape(text) == latex


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([1234.5], ["1234"]),
        ([0.98765, 0.5, None], ["0.9877", "0.5000", "--"]),
        ([0.0, 0.95], ["0.00", "0.95"]),
        ([3.0, 12.0], ["3", "12"]),
        ([1e-9, 0.25], [r"$1\times10^{-9}$", "0.2500"]),
        ([-1.5e30], [r"$-1.5\times10^{30}$"]),
        ([float("inf")], [r"$\infty$"]),
    ],
)
def test_numbers_of_a_column_have_the_same_decimals(values, shown):
    table = make_table(pd.DataFrame({"f1": values}))
    assert [line.removesuffix(r" \\") for line in table.splitlines()[6:-3]] == shown


def test_a_cell_is_no_argument_of_the_line_before():
    table = make_table(pd.DataFrame({"words": ["[CLS]", "*"]}))
    assert "\n{[}CLS] \\\\\n{*} \\\\\n" in table


def test_long_texts_are_broken_and_what_is_too_wide_is_told():
    numbers = {f"a_long_name_{place}": [0.25] for place in range(8)}
    table = make_table(pd.DataFrame({"meaning": ["some words " * 40], **numbers}))
    assert r">{\raggedright\arraybackslash}p{" in table
    assert r"\usepackage{booktabs,array}" in table
    assert "wider" not in table
    many = {f"unbreakablename{place}": [0.25] for place in range(16)}
    assert "% It is wider than a page" in make_table(pd.DataFrame(many))


HOSTILE = r"_ & % # $ { } ~ ^ \ \input{x} [a] -- < > | '' $$ %"


@needs_pdflatex
@pytest.mark.slow
def test_pdflatex_sets_tables_within_the_page(tmp_path):
    rows = {HOSTILE: [HOSTILE, "[CLS]", "*", "Ọyọ ế ▲"], "f1": [-0.25, 1e-9, None, 1e30]}
    rows |= {f"delta_of_{place}_mean": [0.1234, 0.5, 1.0, -1.0] for place in range(9)}
    rows["meaning"] = [f"{HOSTILE} " * 9] * 4
    frame = pd.DataFrame(rows)
    long = pd.concat([frame] * LONGEST, ignore_index=True)
    tables = [make_table(one, [HOSTILE]) for one in (frame, long, frame[["f1"]])]
    assert not any("wider" in table for table in tables)
    head = (
        "\\documentclass{article}\\usepackage[T1]{fontenc}\\usepackage{array,booktabs,longtable}\n"
        "\\usepackage[letterpaper,textwidth=6.75in]{geometry}\n\\begin{document}\n\\noindent\n"
    )
    body = "\n\n\\noindent\n".join(tables)
    (tmp_path / "some.tex").write_text(f"{head}{body}\n\\end{{document}}\n", encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "some.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120, check=False)
    said = done.stdout.decode(errors="replace")
    assert done.returncode == 0, said[-2000:]
    assert "Overfull \\hbox" not in said
