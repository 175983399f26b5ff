"""What a grammar file may hold, and what is said of one that is wrong."""

from pathlib import Path

import pytest

from workers.data.synthetic_grammars import FOLDER, LANGUAGES, read_languages

COMMON = """
# For all languages.
names: man = first_name_male | town = city
PER: {man}
common_line: [PER] ( {year} )
"""
GOOD = """
locale: tr_TR
scripts: LATIN | GREEK
size: small
names: town = state | company = company

LOC: {town} | {town}
ORG: {company}
plain: Ayrıca bakınız
line: [PER] , [LOC] – [ORG FC {town}] ( {years} )
line: {number} km
"""


def folder_of(folder: Path, grammar: str, common: str = COMMON) -> Path:
    (folder / "common.txt").write_text(common, encoding="utf-8")
    (folder / "tr.txt").write_text(grammar, encoding="utf-8")
    return folder


def test_a_file_says_all_of_its_language(tmp_path):
    languages = read_languages(folder_of(tmp_path, GOOD))
    assert list(languages) == ["tr"]
    language = languages["tr"]
    assert (language.locale, language.scripts) == ("tr_TR", ("LATIN", "GREEK"))
    assert (language.num_train, language.num_eval) == (100, 100)
    assert language.names == {"man": "first_name_male", "town": "state", "company": "company"}
    assert language.rules == {
        "PER": ("{man}",),
        "common_line": ("[PER] ( {year} )",),
        "LOC": ("{town}", "{town}"),
        "ORG": ("{company}",),
        "plain": ("Ayrıca bakınız",),
        "line": ("[PER] , [LOC] – [ORG FC {town}] ( {years} )", "{number} km"),
    }
    assert (language.digits, language.is_split_into_characters) == ("0123456789", False)


def test_digits_and_words_may_be_those_of_the_language(tmp_path):
    grammar = GOOD + "digits: ০১২৩৪৫৬৭৮৯\nwords: characters\n"
    language = read_languages(folder_of(tmp_path, grammar))["tr"]
    assert (language.digits, language.is_split_into_characters) == ("০১২৩৪৫৬৭৮৯", True)


def test_a_language_takes_the_place_of_what_is_common(tmp_path):
    language = read_languages(folder_of(tmp_path, GOOD + "PER: Bay {man}\n"))["tr"]
    assert language.rules["PER"] == ("Bay {man}",)


def test_each_language_is_one_file_beside_the_common_one():
    names = {file.name for file in FOLDER.iterdir()}
    assert names == {f"{code}.txt" for code in LANGUAGES} | {"common.txt"}
    assert list(LANGUAGES) == sorted(LANGUAGES)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (
            "LOC: {town}",
            "LOC {town}",
            r"tr.txt, line 7: 'LOC \{town\} \| \{town\}' is no rule; write it as `symbol: alt",
        ),
        ("| {town}", "|  | {town}", "tr.txt, line 7: .* is no rule"),
        ("| {town}", "| {town} |", "tr.txt, line 7: .* is no rule"),
        ("ORG: {company}", "ORG: ", "tr.txt, line 8: 'ORG: ' is no rule"),
        ("locale: tr_TR\n", "", "tr.txt: locale is missing; add a line for it"),
        ("scripts: LATIN | GREEK\n", "", "tr.txt: scripts is missing; add a line for it"),
        ("size: small\n", "", "tr.txt: size is missing; add a line for it"),
        (
            "size: small",
            "size: tiny",
            "tr.txt: size is 'tiny', which is unknown; there are large, medium, small",
        ),
        ("tr_TR", "tr_TR | tr_CY", "tr.txt: locale has 2 values; give one"),
        (
            "size: small",
            "size: small\nwords: letters",
            "tr.txt: words is 'letters', which is unknown; there are characters, spaces",
        ),
        (
            "size: small",
            "size: small\ndigits: 012345678",
            "tr.txt: digits are '012345678'; give ten, from zero to nine",
        ),
        ("size: small", "size: small\ndigits: 01234567890", "tr.txt: digits are '01234567890'"),
        (
            "town = state",
            "town: state",
            "tr.txt: names has 'town: state'; write `symbol = method of Faker`",
        ),
        ("plain: Ayrıca bakınız\n", "", "tr.txt: there is no rule for plain; add one"),
        (
            "{number} km",
            "{count} km",
            r"tr.txt: line: '\{count\} km' has the unknown count; there are LOC, ORG, PER, common_",
        ),
        ("[ORG FC", "[ORG FC [LOC]", "tr.txt: line: .* has a stray bracket; write {symbol}"),
        ("[LOC]", "[CITY]", "tr.txt: line: .* has a stray bracket"),
        ("{number}", "{number", "tr.txt: line: .* has a stray bracket"),
        ("ORG: {company}", "ORG: [LOC]", r"tr.txt: ORG: '\[LOC\]' has a stray bracket"),
        (
            "ORG: {company}",
            "ORG: {firm}\nfirm: FC {ORG}",
            "tr.txt: (ORG -> firm -> ORG|firm -> ORG -> firm) never ends; take one of them out",
        ),
    ],
)
def test_wrong_grammars_are_refused_with_the_file_and_what_to_write(tmp_path, old, new, match):
    assert GOOD.count(old) >= 1
    with pytest.raises(ValueError, match=match):
        read_languages(folder_of(tmp_path, GOOD.replace(old, new, 1)))


def test_a_wrong_common_file_is_refused_by_its_name(tmp_path):
    with pytest.raises(ValueError, match="common.txt, line 2: 'PER' is no rule"):
        read_languages(folder_of(tmp_path, GOOD, "\nPER\n"))


def test_text_that_is_not_utf_8_is_refused(tmp_path):
    folder = folder_of(tmp_path, GOOD)
    (folder / "tr.txt").write_bytes(GOOD.encode("utf-16"))
    with pytest.raises(ValueError, match="tr.txt: it is not UTF-8 .*; save it as UTF-8"):
        read_languages(folder)


def test_a_folder_without_the_common_file_is_refused(tmp_path):
    with pytest.raises(OSError, match=r"common\.txt"):
        read_languages(tmp_path)
