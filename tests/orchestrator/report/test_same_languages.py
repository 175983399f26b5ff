"""Means of a sweep that is half done, by hand: no line mixes languages."""

import pandas as pd

from orchestrator.analysis.inputs.frames import MIXED
from orchestrator.report.same_languages import (
    average_same,
    choose_same,
    find_same,
    join_same,
    mark_same,
    same_notes,
    tell_fewer,
    tell_joined,
    with_dense,
)

HALF_DONE = {"en": (0.9, 0.8, 0.7), "sw": (0.6, 0.5, 0.4), "my": (0.3, 0.2, None)}
"""F1 at three sparsities. The hardest language is still missing at the last."""


def make_rows(f1s, sparsities=(0.0, 0.5, 0.9), **columns) -> pd.DataFrame:
    """A row a language and sparsity."""
    rows = [
        {"language": language, "target_sparsity": sparsity, "f1": f1}
        for language, values in f1s.items()
        for sparsity, f1 in zip(sparsities, values, strict=True)
    ]
    common = {"series": "monolingual", "regime": "monolingual", "embeddings": "dense"}
    seeds = pd.DataFrame(rows)["f1"].notna() * 2
    return pd.DataFrame(rows).assign(num_seeds=seeds, **(common | columns))


def test_a_line_is_of_the_same_languages_and_falls_as_each_of_them_does():
    """Over what is there F1 would be 0.6, 0.5, 0.55: it seems to rise at the end."""
    rows = make_rows(HALF_DONE)
    assert rows.groupby("target_sparsity")["f1"].mean().round(2).tolist() == [0.6, 0.5, 0.55]
    means = average_same(rows, ["series"], ["f1"])
    assert means["f1"].round(2).tolist() == [0.75, 0.65, 0.55]
    assert means["num_languages"].tolist() == [2, 2, 2]
    assert means["num_trials"].tolist() == [4, 4, 4]
    assert set(means["of_languages"]) == {"2 of 3 languages"}


def test_a_sparsity_that_has_just_begun_is_missing_and_takes_no_language_with_it():
    f1s = {name: (0.5, 0.4, 0.3 if name == "a" else None) for name in "abcdef"}
    means = average_same(make_rows(f1s), ["series"], ["f1"]).set_index("target_sparsity")
    assert means["num_languages"].to_dict() == {0.0: 6, 0.5: 6, 0.9: 0}
    assert means["f1"].isna().to_dict() == {0.0: False, 0.5: False, 0.9: True}
    assert set(means["of_languages"]) == {"6 languages"}


def test_two_sparsities_of_one_language_are_a_line_before_one_of_many():
    has = pd.DataFrame({0.0: [True] * 5, 0.5: [True] + [False] * 4}, index=list("abcde"))
    assert choose_same(has) == (["a"], [0.0, 0.5])
    assert choose_same(has[[0.0]]) == (list("abcde"), [0.0])
    assert choose_same(
        pd.DataFrame({0.0: [True, False], 0.5: [False, True]}, index=["a", "b"])
    ) == (
        ["a"],
        [0.0],
    )


def test_lines_of_a_panel_are_of_the_same_languages_too():
    """Swahili has no organisations, so it is in no line beside that of organisations."""
    persons = make_rows({"en": (0.9, 0.8), "sw": (0.6, 0.5)}, (0.0, 0.5), part="PER")
    organisations = make_rows({"en": (0.7, 0.6)}, (0.0, 0.5), part="ORG")
    rows = pd.concat([persons, organisations], ignore_index=True)
    is_in = find_same(rows, ["series"], "f1", ["part"])
    assert rows[is_in]["language"].unique().tolist() == ["en"]
    means = average_same(rows, ["series"], ["f1"], ["part"])
    assert means[means["part"] == "PER"]["f1"].tolist() == [0.9, 0.8]


def test_rows_say_whether_means_are_of_them_and_what_has_too_few_of_the_languages():
    rows = make_rows({name: (0.5, 0.4, 0.3 if name == "a" else None) for name in "abcdef"})
    rows = pd.concat([rows, make_rows({"g": (0.9, None, None)})], ignore_index=True)
    marked = mark_same(rows, ["series"], "f1")
    assert set(marked.loc[marked["is_same"] == "yes", "language"]) == set("abcdef")
    assert set(marked.loc[marked["is_same"] == "yes", "target_sparsity"]) == {0.0, 0.5}
    assert set(marked.loc[marked["has_same"] == "no", "target_sparsity"]) == {0.9}
    assert set(marked["of_languages"]) == {"6 of 7 languages"}


def test_of_panels_without_any_value_nothing_is_told():
    rows = make_rows({"en": (None, None)}, (0.0, 0.5)).astype({"f1": float})
    assert not find_same(rows, ["series"], "f1").any()
    assert average_same(rows, ["series"], ["f1"])["f1"].isna().all()


def test_trials_on_several_languages_count_once():
    rows = make_rows(HALF_DONE, regime="multilingual")
    assert average_same(rows, ["series"], ["f1"])["num_trials"].tolist() == [2, 2, 2]


def test_a_line_breaks_where_its_languages_change():
    rows = make_rows(HALF_DONE)
    table = rows.groupby(["series", "target_sparsity"], as_index=False)["f1"].mean()
    found = join_same(table, rows, ["series"], "f1")
    first, second, last = found["joined"]
    assert first == second != last
    assert found["of_languages"].fillna("").tolist() == ["", "", "2 of 3"]
    assert "joined" in tell_joined(found)[0]
    whole = join_same(table, rows[rows["language"] != "my"], ["series"], "f1")
    assert whole["joined"].nunique() == 1
    assert tell_joined(whole) == []


def test_as_many_languages_need_not_be_the_same():
    rows = make_rows({"en": (0.9, None), "sw": (None, 0.5)}, (0.0, 0.5))
    table = rows.groupby(["series", "target_sparsity"], as_index=False)["f1"].mean()
    found = join_same(table, rows, ["series"], "f1")
    assert found["joined"].nunique() == 2
    assert found["of_languages"].tolist() == ["1 of 2", "1 of 2"]


def test_rows_of_fewer_languages_say_so():
    table = pd.DataFrame({"series": ["a", "a", "b"], "num_languages": [6, 4, 2]})
    assert tell_fewer(table, ["series"]).tolist() == [None, "4 of 6 languages", None]


def test_dense_trials_begin_the_line_of_each_kind_of_embeddings():
    rows = pd.concat(
        [
            make_rows({"en": (0.9,)}, (0.0,)),
            make_rows({"en": (0.8,)}, (0.5,)),
            make_rows({"en": (0.7,)}, (0.5,), embeddings="pruned"),
        ]
    )
    lines = with_dense(rows).sort_values(["embeddings", "target_sparsity"])
    assert lines["embeddings"].tolist() == ["dense", "dense", "pruned", "pruned"]
    assert lines["f1"].tolist() == [0.9, 0.8, 0.9, 0.7]
    assert with_dense(rows[:1])["embeddings"].tolist() == ["dense"]


def test_what_the_analysis_says_of_mixed_means_is_not_said_of_these():
    assert same_notes([f"{MIXED}: beware.", "Each counts once."]) == ["Each counts once."]
