"""The 40 languages of WikiANN as XTREME uses them: code, name, sizes of the splits, script, family.

Sources: the languages are those of XTREME (Hu et al. 2020, named-entity recognition); `num_train`,
`num_validation` and `num_test` are the balanced splits of WikiANN by Rahimi et al. (2019); `script`
is the ISO 15924 code of the script that the sentences are written in; `family` follows URIEL
(Littell et al. 2017) or, where that has no entry, Glottolog's usual classification.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from orchestrator.errors import SpecError


@dataclass(frozen=True)
class Language:
    """A language: WikiANN's code, its English name, the number of sentences in each split, ISO
    15924 script, family."""

    code: str
    name: str
    num_train: int
    num_validation: int
    num_test: int
    script: str
    family: str


_TABLE = (
    Language("af", "Afrikaans", 5_000, 1_000, 1_000, "Latn", "Indo-European"),
    Language("ar", "Arabic", 20_000, 10_000, 10_000, "Arab", "Afro-Asiatic"),
    Language("bg", "Bulgarian", 20_000, 10_000, 10_000, "Cyrl", "Indo-European"),
    Language("bn", "Bengali", 10_000, 1_000, 1_000, "Beng", "Indo-European"),
    Language("de", "German", 20_000, 10_000, 10_000, "Latn", "Indo-European"),
    Language("el", "Greek", 20_000, 10_000, 10_000, "Grek", "Indo-European"),
    Language("en", "English", 20_000, 10_000, 10_000, "Latn", "Indo-European"),
    Language("es", "Spanish", 20_000, 10_000, 10_000, "Latn", "Indo-European"),
    Language("et", "Estonian", 15_000, 10_000, 10_000, "Latn", "Uralic"),
    Language("eu", "Basque", 10_000, 10_000, 10_000, "Latn", "Basque (isolate)"),
    Language("fa", "Persian", 20_000, 10_000, 10_000, "Arab", "Indo-European"),
    Language("fi", "Finnish", 20_000, 10_000, 10_000, "Latn", "Uralic"),
    Language("fr", "French", 20_000, 10_000, 10_000, "Latn", "Indo-European"),
    Language("he", "Hebrew", 20_000, 10_000, 10_000, "Hebr", "Afro-Asiatic"),
    Language("hi", "Hindi", 5_000, 1_000, 1_000, "Deva", "Indo-European"),
    Language("hu", "Hungarian", 20_000, 10_000, 10_000, "Latn", "Uralic"),
    Language("id", "Indonesian", 20_000, 10_000, 10_000, "Latn", "Austronesian"),
    Language("it", "Italian", 20_000, 10_000, 10_000, "Latn", "Indo-European"),
    Language("ja", "Japanese", 20_000, 10_000, 10_000, "Jpan", "Japonic"),
    Language("jv", "Javanese", 100, 100, 100, "Latn", "Austronesian"),
    Language("ka", "Georgian", 10_000, 10_000, 10_000, "Geor", "Kartvelian"),
    Language("kk", "Kazakh", 1_000, 1_000, 1_000, "Cyrl", "Turkic"),
    Language("ko", "Korean", 20_000, 10_000, 10_000, "Kore", "Korean (isolate)"),
    Language("ml", "Malayalam", 10_000, 1_000, 1_000, "Mlym", "Dravidian"),
    Language("mr", "Marathi", 5_000, 1_000, 1_000, "Deva", "Indo-European"),
    Language("ms", "Malay", 20_000, 1_000, 1_000, "Latn", "Austronesian"),
    Language("my", "Burmese", 100, 100, 100, "Mymr", "Sino-Tibetan"),
    Language("nl", "Dutch", 20_000, 10_000, 10_000, "Latn", "Indo-European"),
    Language("pt", "Portuguese", 20_000, 10_000, 10_000, "Latn", "Indo-European"),
    Language("ru", "Russian", 20_000, 10_000, 10_000, "Cyrl", "Indo-European"),
    Language("sw", "Swahili", 1_000, 1_000, 1_000, "Latn", "Niger-Congo"),
    Language("ta", "Tamil", 15_000, 1_000, 1_000, "Taml", "Dravidian"),
    Language("te", "Telugu", 1_000, 1_000, 1_000, "Telu", "Dravidian"),
    Language("th", "Thai", 20_000, 10_000, 10_000, "Thai", "Kra-Dai"),
    Language("tl", "Tagalog", 10_000, 1_000, 1_000, "Latn", "Austronesian"),
    Language("tr", "Turkish", 20_000, 10_000, 10_000, "Latn", "Turkic"),
    Language("ur", "Urdu", 20_000, 1_000, 1_000, "Arab", "Indo-European"),
    Language("vi", "Vietnamese", 20_000, 10_000, 10_000, "Latn", "Austro-Asiatic"),
    Language("yo", "Yoruba", 100, 100, 100, "Latn", "Niger-Congo"),
    Language("zh", "Mandarin Chinese", 20_000, 10_000, 10_000, "Hani", "Sino-Tibetan"),
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
