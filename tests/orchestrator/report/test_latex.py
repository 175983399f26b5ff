"""Tables as LaTeX."""

import pandas as pd
import pytest

from orchestrator.report.latex import LONGEST, escape, make_table


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
        r"\begin{tabular}{lrrl}",
        r"\toprule",
        r"language & f1 & num\_seeds & is\_shown \\",
        r"\midrule",
        r"sw\_x & 0.3333 & 12345 & yes \\",
        r"-- & $-0.25$ & -- & no \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_a_long_table_goes_on_over_pages():
    table = make_table(pd.DataFrame({"f1": [0.5] * (LONGEST + 1)}))
    assert r"\usepackage{booktabs,longtable}" in table
    assert table.count(r"0.5 \\") == LONGEST + 1
    assert table.count(r"\bottomrule") == 1
    assert table.index(r"\endhead") < table.index(r"0.5 \\")


def test_letters_that_pdftex_cannot_print_are_told():
    assert "XeLaTeX" in make_table(pd.DataFrame({"words": ["ไทย"]}))
    assert "XeLaTeX" not in make_table(pd.DataFrame({"words": ["Zürich – Łódź ± 1"]}))


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1234.5, "1234"), (1e-5, "1e-05"), (0.0, "0"), (-1e30, "$-1e+30$"), (0.98765, "0.9877")],
)
def test_numbers_have_four_digits_of_a_fraction(value, shown):
    assert f"\n{shown} \\\\\n" in make_table(pd.DataFrame({"f1": [value]}))
