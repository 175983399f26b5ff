"""The 40 languages of WikiANN as XTREME uses them: code, name, sizes of the splits, script, family
and its branch.

Sources: the languages are those of XTREME (Hu et al. 2020, named-entity recognition); `num_train`,
`num_validation` and `num_test` are the balanced splits of WikiANN by Rahimi et al. (2019); `script`
is the ISO 15924 code of the script that the sentences are written in; `family` follows URIEL
(Littell et al. 2017) or, where that has no entry, Glottolog's usual classification; `branch` is the
group below the family that both name, such as Germanic; empty for isolates and where there is none.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from orchestrator.errors import SpecError


@dataclass(frozen=True)
class Language:
    """A language: WikiANN's code, its English name, the number of sentences in each split, ISO
    15924 script, family, branch."""

    code: str
    name: str
    num_train: int
    num_validation: int
    num_test: int
    script: str
    family: str
    branch: str


_TABLE = (
    Language("af", "Afrikaans", 5_000, 1_000, 1_000, "Latn", "Indo-European", "Germanic"),
    Language("ar", "Arabic", 20_000, 10_000, 10_000, "Arab", "Afro-Asiatic", "Semitic"),
    Language("bg", "Bulgarian", 20_000, 10_000, 10_000, "Cyrl", "Indo-European", "Slavic"),
    Language("bn", "Bengali", 10_000, 1_000, 1_000, "Beng", "Indo-European", "Indo-Aryan"),
    Language("de", "German", 20_000, 10_000, 10_000, "Latn", "Indo-European", "Germanic"),
    Language("el", "Greek", 20_000, 10_000, 10_000, "Grek", "Indo-European", "Greek"),
    Language("en", "English", 20_000, 10_000, 10_000, "Latn", "Indo-European", "Germanic"),
    Language("es", "Spanish", 20_000, 10_000, 10_000, "Latn", "Indo-European", "Romance"),
    Language("et", "Estonian", 15_000, 10_000, 10_000, "Latn", "Uralic", "Finnic"),
    Language("eu", "Basque", 10_000, 10_000, 10_000, "Latn", "Basque (isolate)", ""),
    Language("fa", "Persian", 20_000, 10_000, 10_000, "Arab", "Indo-European", "Iranian"),
    Language("fi", "Finnish", 20_000, 10_000, 10_000, "Latn", "Uralic", "Finnic"),
    Language("fr", "French", 20_000, 10_000, 10_000, "Latn", "Indo-European", "Romance"),
    Language("he", "Hebrew", 20_000, 10_000, 10_000, "Hebr", "Afro-Asiatic", "Semitic"),
    Language("hi", "Hindi", 5_000, 1_000, 1_000, "Deva", "Indo-European", "Indo-Aryan"),
    Language("hu", "Hungarian", 20_000, 10_000, 10_000, "Latn", "Uralic", "Hungarian"),
    Language("id", "Indonesian", 20_000, 10_000, 10_000, "Latn", "Austronesian", "Malayic"),
    Language("it", "Italian", 20_000, 10_000, 10_000, "Latn", "Indo-European", "Romance"),
    Language("ja", "Japanese", 20_000, 10_000, 10_000, "Jpan", "Japonic", ""),
    Language("jv", "Javanese", 100, 100, 100, "Latn", "Austronesian", "Javanesic"),
    Language("ka", "Georgian", 10_000, 10_000, 10_000, "Geor", "Kartvelian", ""),
    Language("kk", "Kazakh", 1_000, 1_000, 1_000, "Cyrl", "Turkic", "Kipchak"),
    Language("ko", "Korean", 20_000, 10_000, 10_000, "Kore", "Korean (isolate)", ""),
    Language("ml", "Malayalam", 10_000, 1_000, 1_000, "Mlym", "Dravidian", "South Dravidian"),
    Language("mr", "Marathi", 5_000, 1_000, 1_000, "Deva", "Indo-European", "Indo-Aryan"),
    Language("ms", "Malay", 20_000, 1_000, 1_000, "Latn", "Austronesian", "Malayic"),
    Language("my", "Burmese", 100, 100, 100, "Mymr", "Sino-Tibetan", "Burmish"),
    Language("nl", "Dutch", 20_000, 10_000, 10_000, "Latn", "Indo-European", "Germanic"),
    Language("pt", "Portuguese", 20_000, 10_000, 10_000, "Latn", "Indo-European", "Romance"),
    Language("ru", "Russian", 20_000, 10_000, 10_000, "Cyrl", "Indo-European", "Slavic"),
    Language("sw", "Swahili", 1_000, 1_000, 1_000, "Latn", "Niger-Congo", "Bantu"),
    Language("ta", "Tamil", 15_000, 1_000, 1_000, "Taml", "Dravidian", "South Dravidian"),
    Language("te", "Telugu", 1_000, 1_000, 1_000, "Telu", "Dravidian", "Central Dravidian"),
    Language("th", "Thai", 20_000, 10_000, 10_000, "Thai", "Kra-Dai", "Tai"),
    Language("tl", "Tagalog", 10_000, 1_000, 1_000, "Latn", "Austronesian", "Philippine"),
    Language("tr", "Turkish", 20_000, 10_000, 10_000, "Latn", "Turkic", "Oghuz"),
    Language("ur", "Urdu", 20_000, 1_000, 1_000, "Arab", "Indo-European", "Indo-Aryan"),
    Language("vi", "Vietnamese", 20_000, 10_000, 10_000, "Latn", "Austro-Asiatic", "Vietic"),
    Language("yo", "Yoruba", 100, 100, 100, "Latn", "Niger-Congo", "Yoruboid"),
    Language("zh", "Mandarin Chinese", 20_000, 10_000, 10_000, "Hani", "Sino-Tibetan", "Sinitic"),
)

LANGUAGES: Mapping[str, Language] = MappingProxyType({row.code: row for row in _TABLE})
"""Every language by its code, in the order of the codes."""


def language(code: str) -> Language:
    """The language with a WikiANN code such as `sw`.

    Raises:
        SpecError: there is no such code; the message names a close one, found by code or by English
            name.
    """
    if code in LANGUAGES:
        return LANGUAGES[code]
    codes = {name: row.code for row in _TABLE for name in (row.code, row.name.lower())}
    close = difflib.get_close_matches(str(code).lower(), codes, n=1)
    hint = f"did you mean {codes[close[0]]} ({LANGUAGES[codes[close[0]]].name})? " if close else ""
    raise SpecError(
        f"languages: {code!r} is no language of WikiANN; {hint}accepted: {', '.join(LANGUAGES)}"
    )
