"""The languages, their groups, and refusals of codes that are none."""

import dataclasses
from collections import Counter

import pytest

from orchestrator.errors import SpecError
from orchestrator.spec.languages import LANGUAGES, language


def test_there_are_forty_languages_in_order_of_their_codes():
    assert len(LANGUAGES) == 40
    assert list(LANGUAGES) == sorted(LANGUAGES)
    assert all(code == row.code for code, row in LANGUAGES.items())


def test_a_language_is_found_by_its_code():
    swahili = language("sw")
    assert (swahili.name, swahili.script, swahili.family) == ("Swahili", "Latn", "Niger-Congo")
    assert (swahili.num_train, swahili.num_validation, swahili.num_test) == (1000, 1000, 1000)


def test_train_sizes_are_those_of_the_balanced_splits():
    sizes = Counter(row.num_train for row in LANGUAGES.values())
    assert sizes == {20_000: 24, 15_000: 2, 10_000: 5, 5_000: 3, 1_000: 3, 100: 3}
    assert [code for code, row in LANGUAGES.items() if row.num_train == 100] == ["jv", "my", "yo"]
    assert (language("ur").num_train, language("ur").num_test) == (20_000, 1_000)


def test_scripts_are_those_of_the_data():
    assert language("kk").script == "Cyrl"
    assert {language(code).script for code in ("jv", "tl", "yo", "vi")} == {"Latn"}
    scripts = Counter(row.script for row in LANGUAGES.values())
    assert scripts["Latn"] == 20
    assert [code for code, row in LANGUAGES.items() if scripts[row.script] == 1] == (
        ["bn", "el", "he", "ja", "ka", "ko", "ml", "my", "ta", "te", "th", "zh"]
    )


def test_some_languages_have_no_relative_among_the_forty():
    families = Counter(row.family for row in LANGUAGES.values())
    assert families["Indo-European"] == 16
    assert [code for code, row in LANGUAGES.items() if families[row.family] == 1] == [
        "eu",
        "ja",
        "ka",
        "ko",
        "th",
        "vi",
    ]


def test_branches_part_the_large_families():
    branches = Counter((row.family, row.branch) for row in LANGUAGES.values())
    assert [LANGUAGES[code].branch for code in ("af", "hi", "sw", "ka")] == [
        *("Germanic", "Indo-Aryan", "Bantu", ""),
    ]
    of_branches = {branch: number for (_, branch), number in branches.items() if number > 1}
    assert of_branches == {
        **{"Germanic": 4, "Romance": 4, "Indo-Aryan": 4, "Slavic": 2},
        **{"Finnic": 2, "Malayic": 2, "Semitic": 2, "South Dravidian": 2},
    }
    families = Counter(row.family for row in LANGUAGES.values())
    assert all(row.branch or families[row.family] == 1 for row in LANGUAGES.values())


def test_the_table_cannot_be_changed():
    with pytest.raises(TypeError, match="does not support item assignment"):
        LANGUAGES["xx"] = language("sw")  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError, match="script"):
        language("sw").script = "Arab"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        (
            "swa",
            r"'swa' is no language of WikiANN; did you mean sw \(Swahili\)\? "
            r"accepted: af, ar, .*, yo, zh$",
        ),
        ("SW", r"'SW' .* did you mean sw \(Swahili\)\?"),
        ("yoruba", r"'yoruba' .* did you mean yo \(Yoruba\)\?"),
        ("", r"'' is no language of WikiANN; accepted: af, ar"),
        ("klingon", r"'klingon' is no language of WikiANN; accepted: af"),
    ],
)
def test_an_unknown_code_is_refused_with_a_close_one_and_all_accepted(code, hint):
    with pytest.raises(SpecError, match=hint):
        language(code)
