"""The table of languages, what is known of others, and refusals of codes that are none."""

import dataclasses
import subprocess
import sys
from collections import Counter
from typing import get_args

import pytest

from orchestrator.analysis.tables import TIERS
from orchestrator.errors import SpecError
from orchestrator.spec.languages import (
    LANGUAGES,
    XTREME,
    did_you_mean,
    find_language,
    is_in_wikiann,
    wikiann_language,
)
from orchestrator.spec.sweep_spec import LanguageFacts

MASAKHANER = (
    *("am", "bm", "bbj", "ee", "fon", "ha", "ig", "rw", "lg", "luo", "mos", "ny", "pcm", "sn"),
    *("sw", "tn", "tw", "wo", "xh", "yo", "zu"),
)
"""Of both versions."""

OF_XTREME = [LANGUAGES[code] for code in XTREME]


def test_the_table_has_the_languages_of_the_corpora_of_the_field():
    assert all(code == row.code for code, row in LANGUAGES.items())
    assert sum(map(is_in_wikiann, LANGUAGES)) == 176
    assert {*XTREME, *MASAKHANER, "ht", "lt", "wo", "qu", "pa", "gu", "az"} < set(LANGUAGES)
    # In the order of their codes, which decides the order of donors.
    assert list(LANGUAGES) == sorted(LANGUAGES)


def test_every_language_has_a_name_a_script_and_a_family():
    for row in LANGUAGES.values():
        assert row.name
        assert row.family
        assert len(row.script) == 4, row.code
        assert row.script.istitle(), row.code
    names = Counter(row.name for row in LANGUAGES.values())
    assert names.most_common(1)[0][1] == 1


def test_groups_are_written_alike():
    """One that is misspelt would be a group of its own."""
    families = Counter(row.family for row in LANGUAGES.values())
    alone = sorted(family for family, number in families.items() if number == 1)
    assert alone == [
        *("Aymaran", "Basque (isolate)", "Japonic", "Korean (isolate)", "Kra-Dai", "Mande"),
        *("Mongolic", "Nakh-Daghestanian", "Nilo-Saharan", "Quechuan", "Tupian"),
    ]
    parents = {}
    for row in LANGUAGES.values():
        if row.branch:
            assert parents.setdefault(row.branch, row.family) == row.family


def test_a_language_is_found_by_its_code():
    swahili = wikiann_language("sw")
    assert swahili == find_language("sw")
    assert (swahili.name, swahili.script, swahili.family) == ("Swahili", "Latn", "Niger-Congo")
    assert (swahili.num_train, swahili.num_validation, swahili.num_test) == (1000, 1000, 1000)


@pytest.mark.parametrize(
    ("code", "name", "script", "family"),
    [
        ("swa", "Swahili", "Latn", "Niger-Congo"),
        ("amh", "Amharic", "Ethi", "Afro-Asiatic"),
        ("zho", "Mandarin Chinese", "Hani", "Sino-Tibetan"),
        ("gez", "gez", "Ethi", ""),  # CLDR knows how it is written
        ("xx", "xx", "", ""),
        ("qqq", "qqq", "", ""),
        ("", "", "", ""),
        ("No Code", "No Code", "", ""),
    ],
)
def test_of_other_codes_is_known_what_libraries_know(code, name, script, family):
    found = find_language(code)
    assert (found.code, found.name, found.script, found.family) == (code, name, script, family)
    assert found.num_train is None, "its corpus is another one"
    assert found.is_known == bool(script or family)


def test_codes_of_masakhaner_are_languages_of_the_table():
    of_three_letters = (
        *("amh", "bam", "bbj", "ewe", "fon", "hau", "ibo", "kin", "lug", "luo", "mos", "nya"),
        *("pcm", "sna", "swa", "tsn", "twi", "wol", "xho", "yor", "zul"),
    )
    names = [find_language(code).name for code in of_three_letters]
    assert names == [LANGUAGES[code].name for code in MASAKHANER]


def test_facts_that_are_given_count_before_those_of_the_table():
    found = find_language("sw").described_as({"script": "Arab", "tier": "up to 100"})
    assert (found.name, found.script, found.tier) == ("Swahili", "Arab", "up to 100")


def test_tiers_that_may_be_given_are_those_of_tables():
    (tiers, _) = get_args(LanguageFacts.model_fields["tier"].annotation)
    assert get_args(tiers) == tuple(name for _, name in TIERS)


def test_train_sizes_are_those_of_the_balanced_splits():
    sizes = Counter(row.num_train for row in OF_XTREME)
    assert sizes == {20_000: 24, 15_000: 2, 10_000: 5, 5_000: 3, 1_000: 3, 100: 3}
    assert [row.code for row in OF_XTREME if row.num_train == 100] == ["jv", "my", "yo"]
    assert (find_language("ur").num_train, find_language("ur").num_test) == (20_000, 1_000)
    sizes = Counter(row.num_train for row in LANGUAGES.values() if row.num_train)
    assert sizes == {20_000: 39, 15_000: 8, 10_000: 10, 5_000: 7, 1_000: 12, 100: 100}


def test_scripts_are_those_of_the_data():
    assert find_language("kk").script == "Cyrl"
    assert {find_language(code).script for code in ("jv", "tl", "yo", "vi")} == {"Latn"}
    scripts = Counter(row.script for row in OF_XTREME)
    assert scripts["Latn"] == 20
    assert [row.code for row in OF_XTREME if scripts[row.script] == 1] == (
        ["bn", "el", "he", "ja", "ka", "ko", "ml", "my", "ta", "te", "th", "zh"]
    )


def test_some_languages_have_no_relative_among_the_forty():
    families = Counter(row.family for row in OF_XTREME)
    assert families["Indo-European"] == 16
    assert [row.code for row in OF_XTREME if families[row.family] == 1] == [
        "eu",
        "ja",
        "ka",
        "ko",
        "th",
        "vi",
    ]


def test_branches_part_the_large_families():
    branches = Counter((row.family, row.branch) for row in OF_XTREME)
    assert [LANGUAGES[code].branch for code in ("af", "hi", "sw", "ka")] == [
        *("Germanic", "Indo-Aryan", "Bantu", ""),
    ]
    of_branches = {branch: number for (_, branch), number in branches.items() if number > 1}
    assert of_branches == {
        **{"Germanic": 4, "Romance": 4, "Indo-Aryan": 4, "Slavic": 2},
        **{"Finnic": 2, "Malayic": 2, "Semitic": 2, "South Dravidian": 2},
    }
    families = Counter(row.family for row in OF_XTREME)
    assert all(row.branch or families[row.family] == 1 for row in OF_XTREME)


def test_the_table_cannot_be_changed():
    with pytest.raises(TypeError, match="does not support item assignment"):
        LANGUAGES["xx"] = find_language("sw")  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError, match="script"):
        find_language("sw").script = "Arab"  # type: ignore[misc]


def test_the_library_is_loaded_where_the_table_does_not_do():
    code = (
        "import sys; from orchestrator.spec.languages import find_language;"
        "find_language('sw'); assert 'langcodes' not in sys.modules;"
        "find_language('swa'); assert 'langcodes' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        (
            "swa",
            r"'swa' is no language of WikiANN; did you mean sw \(Swahili\)\? "
            r"accepted: the 176 codes that its card lists, such as ace, af, als$",
        ),
        ("SW", r"'SW' .* did you mean sw \(Swahili\)\?"),
        ("yoruba", r"'yoruba' .* did you mean yo \(Yoruba\)\?"),
        ("", r"'' is no language of WikiANN; accepted: the 176"),
        ("klingon", r"'klingon' is no language of WikiANN; accepted: the 176"),
        ("hau", r"'hau' is no language of WikiANN; accepted: the 176"),  # a language, and not there
    ],
)
def test_a_code_that_wikiann_lacks_is_refused_with_a_close_one(code, hint):
    with pytest.raises(SpecError, match=hint):
        wikiann_language(code)


def test_hints_are_of_what_is_accepted():
    assert did_you_mean("hausaa", ["hau", "xyz"]) == "did you mean hau (Hausa)? "
    assert did_you_mean("xyy", ["hau", "xyz"]) == "did you mean xyz? "
    assert did_you_mean("sw", ["hau", "swa"]) == "did you mean swa (Swahili)? "
    assert did_you_mean("klingon", ["hau", "xyz"]) == ""
