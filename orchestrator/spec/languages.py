"""What is known of languages: name, script, family and its branch, and how large WikiANN is.

The table is `languages.csv` beside this file: all 176 languages of WikiANN, and those that
MasakhaNER (1 and 2) and XTREME-R have besides. Its sources: codes and `num_train`,
`num_validation` and `num_test` are those of WikiANN's balanced splits (Rahimi et al. 2019; the
data set's card counts them); codes that WikiANN has not are of ISO 639. `script` is the ISO 15924
code of the script that most sentences are written in. `family` follows URIEL (Littell et al. 2017)
or, where that has no entry, Glottolog; `branch` is the group below the family that both name, such
as Germanic; empty for isolates and where there is none. Creoles stand with the language that gave
them most words, and constructed languages in a family of their own, both as in Glottolog.

A code that the table lacks may be another one of a language that it has (`swa` and `sw`), and CLDR
knows the script that most languages are written in; the library langcodes tells both. What nobody
knows is empty. A sweep adds to it, but for names (`SweepSpec.language_table`), and so does a file
languages.yaml in a corpus folder.
"""

import csv
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

from orchestrator.errors import SpecError
from workers.trial import SPLITS

FILE = Path(__file__).with_name("languages.csv")

DESCRIBE = "describe it under language_table"
"""What to do where too little is known of a language."""


@dataclass(frozen=True)
class Language:
    """A language, as far as it is known.

    Attributes:
        code: as the corpus calls it.
        name: in English; the code where there is none.
        script: ISO 15924; empty where it is not known, as family, branch and tier are.
        family: such as Indo-European.
        branch: the group below it, such as Germanic.
        num_train: sentences of WikiANN's train split; None of a language that it does not have.
        num_validation: of its validation split.
        num_test: of its test split.
        tier: the resource tier, where a sweep gives it.
    """

    code: str
    name: str
    script: str = ""
    family: str = ""
    branch: str = ""
    num_train: int | None = None
    num_validation: int | None = None
    num_test: int | None = None
    tier: str = ""

    @property
    def is_known(self) -> bool:
        """Whether anything can be said of what it shares with others."""
        return bool(self.script or self.family)

    def described_as(self, facts: Mapping[str, str]) -> "Language":
        """The language with these facts in place of those of the same names.

        Args:
            facts: of script, family, branch and tier.
        """
        return replace(self, **facts)  # type: ignore[arg-type]


def _read_table() -> Mapping[str, Language]:
    table = {}
    with FILE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            train, validation, test = (int(row[f"num_{split}"] or 0) or None for split in SPLITS)
            table[row["code"]] = Language(
                code=row["code"],
                name=row["name"],
                script=row["script"],
                family=row["family"],
                branch=row["branch"],
                num_train=train,
                num_validation=validation,
                num_test=test,
            )
    return MappingProxyType(table)


LANGUAGES = _read_table()
"""The languages of the table by their code, in the order of the codes."""

# fmt: off
XTREME = (
    "af", "ar", "bg", "bn", "de", "el", "en", "es", "et", "eu", "fa", "fi", "fr", "he", "hi", "hu",
    "id", "it", "ja", "jv", "ka", "kk", "ko", "ml", "mr", "ms", "my", "nl", "pt", "ru", "sw", "ta",
    "te", "th", "tl", "tr", "ur", "vi", "yo", "zh",
)
# fmt: on
"""The 40 languages of WikiANN that XTREME uses for named-entity recognition (Hu et al. 2020)."""


@cache
def find_language(code: str) -> Language:
    """What is known of a language, be it little.

    Args:
        code: of whatever corpus. Another code of a language of the table, as ISO 639-3 has for
            many, gives that language without the sizes of WikiANN's splits.
    """
    if code in LANGUAGES:
        return LANGUAGES[code]
    # It takes a tenth of a second to load, and most sweeps do without.
    from langcodes.data_dicts import LIKELY_SUBTAGS

    usual = _usual_code(code)
    if usual in LANGUAGES:
        known = LANGUAGES[usual]
        return Language(code, known.name, known.script, known.family, known.branch)
    parts = LIKELY_SUBTAGS.get(usual, "").split("-")
    return Language(code, code, script=next((part for part in parts if len(part) == 4), ""))


def is_in_wikiann(code: str) -> bool:
    """Whether WikiANN has a language with this code."""
    return code in LANGUAGES and LANGUAGES[code].num_train is not None


def wikiann_language(code: str) -> Language:
    """The language of WikiANN with a code such as `sw`.

    Raises:
        SpecError: there is no such code; the message names a close one, found by code or by English
            name.
    """
    if is_in_wikiann(code):
        return LANGUAGES[code]
    wikiann = [one for one in LANGUAGES if is_in_wikiann(one)]
    raise SpecError(
        f"languages: {code!r} is no language of WikiANN; {did_you_mean(code, wikiann)}accepted: "
        f"the {len(wikiann)} codes that its card lists, such as {', '.join(wikiann[:3])}"
    )


def did_you_mean(code: str, accepted: Iterable[str]) -> str:
    """`did you mean sw (Swahili)? ` where one of these codes is close, or its language's name is;
    nothing where none is.

    Args:
        code: what was written.
        accepted: codes that would do.
    """
    codes: dict[str, str] = {}
    for one in accepted:
        codes |= {find_language(one).name.lower(): one, _usual_code(one): one, one: one}
    written = str(code).lower()
    usual = _usual_code(written)
    close = [usual] if usual in codes else difflib.get_close_matches(written, codes, n=1)
    if not close or (usual in LANGUAGES and usual not in codes):  # a language that is not accepted
        return ""
    meant = codes[close[0]]
    name = find_language(meant).name
    return f"did you mean {meant}{'' if name == meant else f' ({name})'}? "


def _usual_code(code: str) -> str:
    """The shortest code of a language: `sw` for `swa`; what is none stays as it is."""
    from langcodes import standardize_tag
    from langcodes.tag_parser import LanguageTagError

    try:
        return str(standardize_tag(code))
    except LanguageTagError:
        return code
