"""The words of the embedded corpus: one small grammar for each language, as text that a reader of
it can correct.

Here is data only; `workers.data.synthetic` turns it into sentences. Names of persons, places and
companies are not here: they come from Faker's locales.

A grammar has one rule a line, `symbol: alternative | alternative`; a symbol given twice keeps both
lines' alternatives, and an alternative given twice is drawn twice as often. In an alternative
`{symbol}` is replaced by an alternative of that symbol or, for a symbol of
`SyntheticLanguage.names`, by a name from Faker; `{year}`, `{years}`, `{number}` and `{digit}` are
numbers. In a `line`, `[LOC]` marks an entity written as the symbol `LOC` says, and `[ORG FC
{town}]` one that is spelled out. A name outside brackets belongs to no entity (a song, a battle),
which is part of what has to be learned. Words stand apart from punctuation by a space, as in
WikiANN.

Where a language inflects names, lines are worded so that the dictionary form is right, or nearly
so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

# Faker's methods behind the symbols that every grammar may use. `namesake` below is built from
# them: the name that stands for a person, a place or a company, depending on what is around it.
COMMON_NAMES = {
    "man": "first_name_male",
    "woman": "first_name_female",
    "surname": "last_name",
    "woman_surname": "last_name",
    "town": "city",
    "country": "country",
}

# Lines that consist of names, marks and numbers, the same for all languages: Wikipedia's redirects,
# disambiguation pages, headings, lists and table rows. Some say no more than the name itself: those
# nobody can label with certainty.
COMMON_GRAMMAR = """
he: {man} {surname}
she: {woman} {woman_surname}
PER: {he} | {she}
namesake: {surname}
comma: ,
common_line: # {redirect} [PER]
common_line: # {redirect} [LOC]
common_line: # {redirect} [ORG]
common_line: # {redirect} [PER {namesake}]
common_line: # {redirect} [LOC {namesake}]
common_line: == [PER] ==
common_line: == [LOC] ==
common_line: == [ORG] ==
common_line: [PER {namesake}] ( {occupation} )
common_line: [PER {namesake}] ( {occupation} {comma} {year} )
common_line: [LOC {namesake}] ( {landform} )
common_line: [LOC {namesake}] {comma} {landform} ( [LOC] )
common_line: [ORG {namesake}] ( {firm} )
common_line: [ORG {namesake}] {comma} {firm} ( [LOC] )
common_line: '' {namesake} '' ( {work} ) – [PER]
common_line: '' {town} '' ( {work} {comma} {year} ) – [PER]
common_line: ' '' [PER] ' '' ( {years} )
common_line: [PER] ( {years} )
common_line: [PER {he}] ( {years} ) {comma} {occupation}
common_line: {year} : [PER] ( [ORG] )
common_line: {year} – [PER] {comma} [ORG]
common_line: [LOC] {comma} [LOC]
common_line: [LOC] ( [LOC] )
common_line: * [ORG] ( [LOC] )
common_line: ** [PER] – [ORG]
common_line: [ORG] {comma} [LOC]
common_line: [PER] {comma} [PER] {comma} [PER]
common_line: [ORG {town}] – [ORG {town}] {digit} : {digit}
common_line: [LOC {town}] – [LOC {town}] ( {number} km )
"""


@dataclass(frozen=True, kw_only=True)
class SyntheticLanguage:
    """One language of the corpus: how many sentences it has, and what they are made of."""

    locale: str
    """The Faker locale that names are drawn from."""
    scripts: tuple[str, ...]
    """How the Unicode names of all its names' letters start."""
    num_train: int
    """Sentences in `train`."""
    num_eval: int
    """Sentences in `validation`, and as many in `test`."""
    names: Mapping[str, str]
    """Symbol -> Faker method, for the symbols that are names."""
    rules: Mapping[str, tuple[str, ...]]
    """Symbol -> alternatives, for all others."""
    digits: str = "0123456789"
    """What numbers are written with, from zero to nine."""
    is_split_into_characters: bool = False
    """Whether each character is a word of its own, as WikiANN has it where words are not set apart
    by spaces."""


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """A language as it is written down below; `_read` completes it."""

    locale: str
    scripts: tuple[str, ...]
    sizes: tuple[int, int]
    grammar: str
    names: Mapping[str, str] = field(default_factory=dict)
    digits: str = "0123456789"
    is_split_into_characters: bool = False


def _read_grammar(text: str) -> dict[str, tuple[str, ...]]:
    rules: dict[str, tuple[str, ...]] = {}
    for line in text.strip().splitlines():
        symbol, alternatives = line.split(": ", maxsplit=1)
        rules[symbol] = rules.get(symbol, ()) + tuple(alternatives.split(" | "))
    return rules


def _read(entry: _Entry) -> SyntheticLanguage:
    num_train, num_eval = entry.sizes
    return SyntheticLanguage(
        locale=entry.locale,
        scripts=entry.scripts,
        num_train=num_train,
        num_eval=num_eval,
        names=MappingProxyType(COMMON_NAMES | dict(entry.names)),
        rules=MappingProxyType(_read_grammar(COMMON_GRAMMAR) | _read_grammar(entry.grammar)),
        digits=entry.digits,
        is_split_into_characters=entry.is_split_into_characters,
    )


# Three sizes, so that there are languages with little to learn from: (train, validation and test
# each).
_LARGE = (1000, 200)
_MEDIUM = (400, 150)
_SMALL = (100, 100)

_ENTRIES = {
    "ar": _Entry(
        locale="ar_DZ",  # the Arabic locale that has places and companies; its countries are English, and unused
        scripts=("ARABIC",),
        sizes=_LARGE,
        names={"region": "administrative_unit", "company": "company"},
        grammar="""
redirect: تحويل
comma: ،
occupation: سياسي | رسام | كاتب | لاعب كرة قدم | ملحن | مهندس معماري | مؤرخ
landform: نهر | قرية | بحيرة | جبل | جزيرة | بلدية
firm: شركة | بنك | دار نشر | نادي | مصنع
work: ألبوم | فيلم | أغنية | رواية
LOC: {town} | {town} | {town} | {region} | شارع {surname} | جبل {surname} | حي {surname} | وادي {surname} | ساحة {he}
ORG: {company} | {company} | جامعة {town} | نادي {town} | مولودية {town} | شباب {town} | بنك {town}
ORG: دار {surname} | مؤسسة {surname}
plain: انظر أيضا : قائمة الأفلام | وصلات خارجية ومراجع أخرى
line: [PER {he}] ( ولد عام {year} في [LOC {town}] ) {occupation} جزائري .
line: ولد [PER {he}] في [LOC {town}] عام {year} .
line: ولدت [PER {she}] في [LOC {town}] عام {year} .
line: درس في [ORG جامعة {town}] حتى عام {year} .
line: يقع مقر شركة [ORG] في [LOC {town}] .
line: تقع القرية بين [LOC] وبين [LOC] .
line: قائمة بلديات ولاية [LOC {region}]
line: لعب [PER {he}] مع [ORG نادي {town}] عام {year} .
line: « {namesake} » أغنية من ألحان [PER] .
line: معركة {town} ( {year} ) بقيادة [PER] .
line: [ORG] ضد [ORG] ( {year} )
line: تأسست شركة [ORG] عام {year} على يد [PER] .
""",
    ),
    "bn": _Entry(
        locale="bn_BD",
        scripts=("BENGALI",),
        sizes=_SMALL,
        names={"village": "town", "company": "company"},
        digits="০১২৩৪৫৬৭৮৯",
        grammar="""
redirect: পুনর্নির্দেশ
occupation: রাজনীতিবিদ | চিত্রশিল্পী | লেখক | ক্রিকেটার | সুরকার | স্থপতি | ইতিহাসবিদ
landform: নদী | গ্রাম | হ্রদ | পাহাড় | দ্বীপ | উপজেলা
firm: কোম্পানি | ব্যাংক | প্রকাশনী | ক্লাব | পত্রিকা
work: অ্যালবাম | চলচ্চিত্র | গান | উপন্যাস
LOC: {town} | {town} | {village} | {village} | {country} | {surname} সড়ক | {surname} বাজার
LOC: {town} জেলা | {surname} পাড়া
ORG: {company} | {company} | {company} | {town} বিশ্ববিদ্যালয় | {town} ক্রিকেট ক্লাব | {surname} প্রকাশনী
ORG: {surname} গ্রুপ | {surname} ব্রাদার্স | {surname} অ্যান্ড সন্স
plain: আরও দেখুন : গানের তালিকা | বহিঃসংযোগ ও অন্যান্য সূত্র
line: [PER] ( জন্ম {year} , [LOC {town}] ) একজন বাংলাদেশী {occupation} ।
line: [PER] {year} সালে [LOC {town}] শহরে জন্মগ্রহণ করেন ।
line: তিনি {year} সালে [ORG {town} বিশ্ববিদ্যালয়] থেকে স্নাতক হন ।
line: [ORG] এর সদর দপ্তর [LOC {town}] শহরে অবস্থিত ।
line: গ্রামটি [LOC] ও [LOC] এর মাঝে অবস্থিত ।
line: শহরের তালিকা : [LOC {town}] , [LOC {town}]
line: {year} সালে [PER] [ORG] দলে যোগ দেন ।
line: " {namesake} " হলো [PER] এর একটি গান ।
line: {town} যুদ্ধে {year} সালে [PER] জয়ী হন ।
line: [ORG] বনাম [ORG] ( {year} )
line: [ORG] {year} সালে [PER] প্রতিষ্ঠা করেন ।
""",
    ),
    "de": _Entry(
        locale="de_DE",
        scripts=("LATIN",),
        sizes=_LARGE,
        names={"region": "state", "company": "company"},
        grammar="""
redirect: WEITERLEITUNG
occupation: Politiker | Maler | Schriftsteller | Fußballspieler | Komponist | Architekt | Historiker | Bildhauer
landform: Fluss | Dorf | See | Berg | Insel | Stadt
firm: Unternehmen | Verlag | Brauerei | Verein | Automobilhersteller
work: Album | Film | Lied | Roman
LOC: {town} | {town} | {town} | {region} | {country} | Burg {town} | Schloss {surname}
LOC: Landkreis {town} | Kap {surname}
ORG: {company} | {company} | Universität {town} | FC {town} | TSV {town} | Technische Hochschule {town}
ORG: Stadtwerke {town} | Verlag {surname} | Brauerei {surname}
plain: Siehe auch : Liste der Kulturdenkmäler | Einzelnachweise und weitere Literatur
line: [PER {he}] ( * {year} in [LOC {town}] ) ist ein deutscher {occupation} .
line: [PER] wurde {year} in [LOC {town}] geboren .
line: Sie studierte bis {year} an der [ORG Universität {town}] .
line: Der Ort liegt zwischen [LOC {town}] und [LOC {town}] .
line: Sitz der Firma [ORG] ist [LOC {town}] .
line: Liste der Bürgermeister von [LOC {town}]
line: Bis {year} spielte er für den [ORG FC {town}] .
line: Gegründet wurde [ORG] im Jahr {year} von [PER] .
line: {year} wechselte [PER] zu [ORG] .
line: „ {namesake} “ ist ein Lied von [PER] .
line: Die Schlacht bei {town} gewann {year} [PER] .
line: [ORG] gegen [ORG] ( {year} )
""",
    ),
    "el": _Entry(
        locale="el_GR",
        scripts=("GREEK",),
        sizes=_MEDIUM,
        names={
            "surname": "last_name_male",
            "woman_surname": "last_name_female",
            "company": "company",
        },
        # A woman's surname is the genitive of the man's, which is what streets and publishers are
        # called.
        grammar="""
redirect: ΑΝΑΚΑΤΕΥΘΥΝΣΗ
occupation: πολιτικός | ζωγράφος | συγγραφέας | ποδοσφαιριστής | συνθέτης | αρχιτέκτονας | ιστορικός
landform: ποταμός | χωριό | λίμνη | βουνό | νησί | πόλη
firm: εταιρεία | τράπεζα | εκδοτικός οίκος | σύλλογος | ζυθοποιία
work: άλμπουμ | ταινία | τραγούδι | μυθιστόρημα
LOC: {town} | {town} | {town} | {country} | οδός {woman_surname} | πλατεία {woman_surname} | όρμος {woman_surname}
ORG: {company} | {company} | ΠΑΣ {town} | Α.Ε. {town} | Εκδόσεις {woman_surname} | Ίδρυμα {woman_surname}
ORG: Βιβλιοπωλείο {woman_surname} | Όμιλος {woman_surname}
plain: Δείτε επίσης : Κατάλογος ταινιών | Εξωτερικοί σύνδεσμοι και παραπομπές
line: Ο [PER {he}] ( γεννημένος το {year} ) είναι Έλληνας {occupation} .
line: Η [PER {she}] γεννήθηκε το {year} ( [LOC {town}] ) .
line: Η εταιρεία [ORG] έχει έδρα στην πόλη [LOC {town}] .
line: Πόλεις : [LOC {town}] , [LOC {town}] , [LOC {town}]
line: Το {year} ο [PER {he}] αγωνιζόταν για την ομάδα [ORG ΠΑΣ {town}] .
line: « {namesake} » – τραγούδι ( μουσική : [PER] )
line: Μάχη στην πόλη {town} ( {year} ) , νικητής ο [PER {he}] .
line: [ORG] – [ORG] ( {year} )
line: Ιδρύθηκε το {year} από την εταιρεία [ORG] .
line: Πρόεδρος : [PER] , αντιπρόεδρος : [PER]
line: Πρωτεύουσα : [LOC] , πληθυσμός : {number}
""",
    ),
    "en": _Entry(
        locale="en_US",
        scripts=("LATIN",),
        sizes=_LARGE,
        names={"region": "state", "company": "company"},
        grammar="""
redirect: REDIRECT
occupation: politician | painter | writer | football player | composer | architect | historian | judge
landform: river | village | lake | mountain | island | town
firm: company | bank | publisher | record label | brewery
work: album | film | song | novel
LOC: {town} | {town} | {town} | {region} | {country} | {surname} River | Lake {surname} | Mount {surname}
LOC: {surname} County | Port {man}
ORG: {company} | {company} | University of {town} | {town} United | {surname} Records | Bank of {town}
ORG: {surname} College | {region} State Senate
plain: See also : List of songs | Further reading and external links
line: [PER] ( born {year} in [LOC] ) is a former {occupation} .
line: [PER] was born in [LOC] in {year} .
line: She studied at the [ORG University of {town}] until {year} .
line: The headquarters of [ORG] are in [LOC] .
line: In {year} he moved from [LOC] to [LOC] .
line: List of mayors of [LOC {town}]
line: It was founded by [PER] in {year} .
line: [PER] played {number} games for [ORG] .
line: The village lies on the road from [LOC] to [LOC] .
line: In {year} [ORG] was sold to [ORG] .
line: `` {namesake} '' is a song by [PER] .
line: [PER] won the {year} {town} Open .
line: The {surname} effect is named after [PER] .
line: [ORG] v. [ORG] ( {year} )
""",
    ),
    "es": _Entry(
        locale="es_CO",  # its municipalities are 770 where es_ES has 52 provinces; companies are made from surnames
        scripts=("LATIN",),
        sizes=_LARGE,
        names={"region": "department"},
        grammar="""
redirect: REDIRECCIÓN
occupation: político | pintor | escritor | futbolista | compositor | arquitecto | historiador
landform: río | pueblo | lago | cerro | isla | municipio
firm: empresa | banco | editorial | club | cervecería
work: álbum | película | canción | novela
LOC: {town} | {town} | {town} | {region} | {country} | río {surname} | cerro {surname} | calle {surname}
LOC: Puerto {surname} | laguna {surname}
ORG: {surname} y Asociados | Hermanos {surname} | {surname} & {surname} S.A.
ORG: Universidad de {town} | Deportivo {town}
ORG: Atlético {town} | Editorial {surname} | Banco {surname} | Banco de {town}
plain: Véase también : Anexo de canciones | Referencias y enlaces externos
line: [PER {he}] ( nacido en {year} en [LOC {town}] ) es un {occupation} colombiano .
line: [PER] nació en [LOC] en {year} .
line: Ella estudió en la [ORG Universidad de {town}] hasta {year} .
line: La sede de [ORG] está en [LOC] .
line: El municipio limita con [LOC {town}] y [LOC {town}] .
line: Anexo : Alcaldes de [LOC {town}]
line: En {year} [PER] fichó por el [ORG Deportivo {town}] .
line: « {namesake} » es una canción de [PER] .
line: La batalla de {town} fue ganada por [PER] en {year} .
line: [ORG] contra [ORG] ( {year} )
line: Fue fundada por [PER] en {year} .
line: [ORG] compró [ORG] en {year} .
""",
    ),
    "fa": _Entry(
        locale="fa_IR",  # its cities are a kind of place and a given name ("village of Reyhaneh"); its states are real
        scripts=("ARABIC",),
        sizes=_MEDIUM,
        names={"region": "state", "company": "company"},
        digits="۰۱۲۳۴۵۶۷۸۹",
        grammar="""
redirect: تغییرمسیر
comma: ،
occupation: سیاستمدار | نقاش | نویسنده | فوتبالیست | آهنگساز | معمار | تاریخدان
landform: رود | روستا | دریاچه | کوه | جزیره | شهر
firm: شرکت | بانک | انتشارات | باشگاه | کارخانه
work: آلبوم | فیلم | ترانه | رمان
LOC: {town} | {town} | {region} | {country} | خیابان {surname} | کوه {surname} | میدان {surname} | دریاچه {surname}
ORG: {company} | {company} | دانشگاه {region} | باشگاه {surname} | بانک {surname}
ORG: انتشارات {surname} | بنیاد {surname}
plain: جستارهای وابسته : فهرست فیلم ها | پیوند به بیرون و منابع
line: [PER] ( زاده {year} در [LOC] ) {occupation} ایرانی است .
line: [PER] در سال {year} در [LOC] به دنیا آمد .
line: او تا سال {year} در [ORG دانشگاه {region}] تحصیل کرد .
line: دفتر مرکزی شرکت [ORG] در [LOC] است .
line: این روستا میان [LOC] و [LOC] قرار دارد .
line: فهرست شهرهای استان [LOC {region}]
line: در سال {year} [PER] به [ORG] پیوست .
line: « {namesake} » آهنگی از [PER] است .
line: نبرد {region} در سال {year} با پیروزی [PER] پایان یافت .
line: [ORG] در برابر [ORG] ( {year} )
line: [ORG] را [PER] در سال {year} بنیاد نهاد .
""",
    ),
    "fr": _Entry(
        locale="fr_FR",
        scripts=("LATIN",),
        sizes=_LARGE,
        names={"region": "administrative_unit", "company": "company"},
        grammar="""
redirect: REDIRECTION
occupation: peintre | écrivain | homme politique | footballeur | compositeur | architecte | historien
landform: rivière | village | lac | montagne | île | commune
firm: entreprise | banque | maison d' édition | club | brasserie
work: album | film | chanson | roman
LOC: {town} | {town} | {town} | {region} | {country} | rue {surname} | mont {surname} | lac {surname} | cap {surname}
LOC: château de {town}
ORG: {company} | {company} | université de {town} | FC {town} | Olympique de {town} | AS {town}
ORG: éditions {surname} | banque {surname}
plain: Voir aussi : Liste de chansons | Notes et références , liens externes
line: [PER {he}] , né en {year} à [LOC {town}] , est un {occupation} français .
line: [PER {she}] est née à [LOC {town}] en {year} .
line: Il étudie à l' [ORG université de {town}] jusqu' en {year} .
line: Le siège de [ORG] se trouve à [LOC {town}] .
line: La commune est située entre [LOC {town}] et [LOC {town}] .
line: Liste des maires de [LOC {town}]
line: En {year} , [PER] rejoint [ORG] .
line: « {namesake} » est une chanson de [PER] .
line: La bataille de {town} est remportée par [PER] en {year} .
line: [ORG] contre [ORG] ( {year} )
line: Fondée par [PER] , [ORG] compte {number} employés .
""",
    ),
    "he": _Entry(
        locale="he_IL",  # no companies: they are made from surnames
        scripts=("HEBREW",),
        sizes=_MEDIUM,
        grammar="""
redirect: הפניה
occupation: פוליטיקאי | צייר | סופר | כדורגלן | מלחין | אדריכל | היסטוריון
landform: נחל | כפר | אגם | הר | אי | מושב
firm: חברה | בנק | הוצאת ספרים | קבוצת כדורגל | מפעל
work: אלבום | סרט | שיר | רומן
LOC: {town} | {town} | {town} | {country} | רחוב {surname} | נחל {town} | הר {surname}
LOC: כיכר {surname} | גבעת {surname}
ORG: אוניברסיטת {town} | הפועל {town} | מכבי {town} | בנק {surname} | הוצאת {surname} | קבוצת {surname}
ORG: האחים {surname} | קרן {surname}
plain: ראו גם : רשימת שירים | קישורים חיצוניים והערות שוליים
line: [PER {he}] ( נולד בשנת {year} ) הוא {occupation} ישראלי .
line: [PER {she}] נולדה בשנת {year} ביישוב [LOC {town}] .
line: הוא בוגר [ORG אוניברסיטת {town}] משנת {year} .
line: משרדי חברת [ORG] נמצאים ביישוב [LOC {town}] .
line: הכפר שוכן בין [LOC {town}] לבין [LOC {town}] .
line: רשימת רחובות : [LOC רחוב {surname}] , [LOC רחוב {surname}]
line: בשנת {year} הצטרף [PER {he}] אל [ORG] .
line: " {namesake} " הוא שיר של [PER] .
line: קרב {town} נערך בשנת {year} בפיקוד [PER] .
line: [ORG] נגד [ORG] ( {year} )
line: [PER {he}] ייסד את [ORG] בשנת {year} .
""",
    ),
    "hi": _Entry(
        locale="hi_IN",  # no companies: they are made from surnames
        scripts=("DEVANAGARI",),
        sizes=_MEDIUM,
        names={"region": "state"},
        grammar="""
redirect: अनुप्रेषित
occupation: राजनेता | चित्रकार | लेखक | क्रिकेट खिलाड़ी | संगीतकार | वास्तुकार | इतिहासकार
landform: नदी | गाँव | झील | पर्वत | द्वीप | नगर
firm: कंपनी | बैंक | प्रकाशन | क्लब | समाचारपत्र
work: एल्बम | फ़िल्म | गीत | उपन्यास
LOC: {town} | {town} | {region} | {country} | {surname} नगर | {surname} मार्ग | {surname} झील
LOC: {surname} गंज | {town} ज़िला
ORG: {surname} एंड संस | {surname} समूह | {town} विश्वविद्यालय | {town} क्रिकेट क्लब | बैंक ऑफ़ {town}
ORG: {surname} प्रकाशन | {surname} इंडस्ट्रीज़ | {surname} और {surname} लिमिटेड | {region} सरकार
plain: इन्हें भी देखें : गीतों की सूची | बाहरी कड़ियाँ और सन्दर्भ
line: [PER {he}] ( जन्म {year} , [LOC {town}] ) एक भारतीय {occupation} हैं ।
line: [PER] का जन्म {year} में [LOC {town}] में हुआ था ।
line: उन्होंने {year} तक [ORG {town} विश्वविद्यालय] में पढ़ाई की ।
line: [ORG] का मुख्यालय [LOC {town}] में है ।
line: यह गाँव [LOC {town}] और [LOC {town}] के बीच स्थित है ।
line: [LOC {region}] के ज़िलों की सूची
line: {year} में [PER {he}] [ORG] में शामिल हुए ।
line: " {namesake} " [PER] का एक गीत है ।
line: {town} की लड़ाई {year} में [PER] ने जीती ।
line: [ORG] बनाम [ORG] ( {year} )
line: [ORG] की स्थापना {year} में [PER] ने की ।
""",
    ),
    "id": _Entry(
        locale="id_ID",
        scripts=("LATIN",),
        sizes=_SMALL,
        names={
            "surname": "last_name_male",
            "woman_surname": "last_name_female",
            "region": "state",
            "company": "company",
        },
        grammar="""
redirect: ALIH
occupation: politikus | pelukis | penulis | pemain sepak bola | komponis | arsitek | sejarawan
landform: sungai | desa | danau | gunung | pulau | kecamatan
firm: perusahaan | bank | penerbit | klub sepak bola | koperasi
work: album | film | lagu | novel
LOC: {town} | {town} | {region} | {country} | Gunung {surname} | Jalan {surname} | Kabupaten {town} | Pelabuhan {town}
ORG: {company} | {company} | Universitas {town} | PS {town} | Bank {town} | Penerbit {surname} | Yayasan {surname}
plain: Lihat pula : Daftar lagu | Referensi dan pranala luar
line: [PER] ( lahir di [LOC {town}] , {year} ) adalah seorang {occupation} Indonesia .
line: [PER] lahir di [LOC {town}] pada tahun {year} .
line: Ia belajar di [ORG Universitas {town}] sampai tahun {year} .
line: Kantor pusat [ORG] berada di [LOC {town}] .
line: Desa ini terletak di antara [LOC] dan [LOC] .
line: Daftar wali kota [LOC {town}]
line: Pada tahun {year} , [PER] pindah ke [ORG] .
line: " {namesake} " adalah lagu karya [PER] .
line: Pertempuran {town} dimenangkan oleh [PER] pada tahun {year} .
line: [ORG] melawan [ORG] ( {year} )
line: [ORG] didirikan oleh [PER] pada tahun {year} .
""",
    ),
    "it": _Entry(
        locale="it_IT",  # towns are its provincial capitals: Faker keeps its cities in a set, in an order that varies
        scripts=("LATIN",),
        sizes=_MEDIUM,
        names={"town": "state", "company": "company"},
        grammar="""
redirect: RINVIA
occupation: pittore | politico | calciatore | compositore | architetto | regista | poeta
landform: fiume | frazione | lago | monte | isola | comune
firm: azienda | banca | casa editrice | squadra di calcio | birrificio
work: album | film | canzone | romanzo
LOC: {town} | {town} | {town} | {country} | via {surname} | monte {surname} | lago {surname}
LOC: castello di {town} | villa {surname} | palazzo {surname}
ORG: {company} | {company} | Università di {town} | Calcio {town} | Polisportiva {town} | edizioni {surname}
ORG: Banca di {town} | Fratelli {surname}
plain: Voci correlate : Lista di canzoni | Note e collegamenti esterni
line: [PER {he}] ( [LOC {town}] , {year} ) è un {occupation} italiano .
line: [PER {she}] nacque a [LOC {town}] nel {year} .
line: Studiò all' [ORG Università di {town}] fino al {year} .
line: La sede di [ORG] si trova a [LOC {town}] .
line: Il comune confina con [LOC {town}] e [LOC {town}] .
line: Lista dei sindaci di [LOC {town}]
line: Nel {year} [PER {he}] passò al [ORG Calcio {town}] .
line: « {namesake} » è una canzone di [PER] .
line: La battaglia di {town} fu vinta da [PER] nel {year} .
line: [ORG] contro [ORG] ( {year} )
line: Fondata da [PER] , [ORG] ha {number} dipendenti .
""",
    ),
    "ja": _Entry(
        locale="ja_JP",
        scripts=("CJK", "HIRAGANA", "KATAKANA", "IDEOGRAPHIC"),
        sizes=_LARGE,
        names={"region": "prefecture", "village": "town", "company": "company"},
        is_split_into_characters=True,
        grammar="""
redirect: 転送
comma: 、
he: {surname}{man}
she: {surname}{woman}
occupation: 政治家 | 画家 | 小説家 | サッカー選手 | 作曲家 | 建築家 | 歴史学者
landform: 川 | 村 | 湖 | 山 | 島 | 町
firm: 企業 | 銀行 | 出版社 | 鉄道会社 | 新聞社
work: アルバム | 映画 | 曲 | 小説
LOC: {town} | {town} | {region} | {village} | {country} | {surname}山 | {surname}川 | {surname}駅 | {surname}町
ORG: {company} | {company} | {region}立大学 | {surname}銀行 | {surname}書店 | {surname}電機
ORG: {village}高等学校 | {village}鉄道
plain: 関連項目：楽曲一覧 | 脚注および外部リンク
line: [PER]（{year}年生まれ）は、日本の{occupation}である。
line: [PER]は{year}年に[LOC]で生まれた。
line: {year}年まで[ORG {region}立大学]で学んだ。
line: [ORG]の本社は[LOC]にある。
line: [LOC]と[LOC]の間に位置する。
line: [LOC {region}]の市町村一覧
line: {year}年、[PER]は[ORG]に移った。
line: 「{namesake}」は[PER]の楽曲。
line: {village}の戦いで[PER]が勝利した（{year}年）。
line: [ORG]対[ORG]（{year}年）
line: [PER]が{year}年に[ORG]を設立した。
""",
    ),
    "ka": _Entry(
        locale="ka_GE",  # no companies: they are made from surnames
        scripts=("GEORGIAN",),
        sizes=_SMALL,
        grammar="""
redirect: გადამისამართება
occupation: პოლიტიკოსი | მხატვარი | მწერალი | ფეხბურთელი | კომპოზიტორი | არქიტექტორი | ისტორიკოსი
landform: მდინარე | სოფელი | ტბა | მთა | კუნძული | დაბა
firm: კომპანია | ბანკი | გამომცემლობა | კლუბი | ქარხანა
work: ალბომი | ფილმი | სიმღერა | რომანი
LOC: {town} | {town} | {town} | {country} | {country} | სოფელი {town} | მთა {surname}
ORG: შპს {surname} | ბანკი {surname} | გამომცემლობა {surname} | საფეხბურთო კლუბი {town} | ფონდი {surname}
ORG: {surname} და კომპანია | ქარხანა „ {town} “
plain: იხილეთ აგრეთვე : სიმღერების სია | სქოლიო და რესურსები ინტერნეტში
line: [PER] ( დ. {year} , [LOC {town}] ) — ქართველი {occupation} .
line: [PER] დაიბადა {year} წელს ( [LOC {town}] ) .
line: კომპანია [ORG] დაარსდა {year} წელს .
line: ქალაქების სია : [LOC {town}] , [LOC {town}]
line: ადმინისტრაციული ცენტრი — [LOC {town}] .
line: მოსახლეობა : [LOC {town}] — {number} კაცი .
line: სიმღერა „ {namesake} “ ( ავტორი — [PER] )
line: ბრძოლა : {town} , {year} წელი ( მხედართმთავარი — [PER] )
line: მწვრთნელი — [PER] , კაპიტანი — [PER] .
line: [ORG] — [ORG] ( {year} )
line: {year} წელს [PER] თამაშობდა გუნდში [ORG საფეხბურთო კლუბი {town}] .
""",
    ),
    "ko": _Entry(
        locale="ko_KR",  # surnames are one syllable, so that a given name is what places and companies share
        scripts=("HANGUL",),
        sizes=_MEDIUM,
        names={
            "region": "province",
            "borough": "borough",
            "road": "road_name",
            "company": "company",
        },
        grammar="""
redirect: 넘겨주기
he: {surname}{man}
she: {surname}{woman}
namesake: {man} | {woman}
occupation: 정치인 | 화가 | 작가 | 축구 선수 | 작곡가 | 건축가 | 역사학자
landform: 강 | 마을 | 호수 | 산 | 섬 | 동네
firm: 기업 | 은행 | 출판사 | 축구단 | 신문사
work: 음반 | 영화 | 노래 | 소설
LOC: {town} | {town} | {town} | {region} | {borough} | {country} | {country} | {road}로 | {woman} 마을 | {man} 산
ORG: {company} | {company} | {company} | {town} 대학교 | {town} 축구단 | {borough} 신문사
ORG: {woman} 출판사 | {man} 은행
plain: 같이 보기 : 노래 목록 | 각주 및 바깥 고리
line: [PER] ( {year}년 ~ ) , 대한민국의 {occupation} .
line: [PER] , {year}년 [LOC] 출생 .
line: [ORG {town} 대학교] 졸업 ( {year}년 )
line: [ORG] 본사 소재지 : [LOC]
line: [LOC] 및 [LOC] 사이에 위치한 마을 .
line: [LOC {region}] 행정 구역 목록
line: {year}년 [PER] 선수 , [ORG] 입단 .
line: 《 {namesake} 》 – [PER] 노래
line: {town} 전투 ( {year}년 , 지휘관 : [PER] )
line: [ORG] 대 [ORG] ( {year}년 )
line: [ORG] : {year}년 [PER] 설립 .
line: [PER] 전 [LOC {town}] 시장 .
""",
    ),
    "mr": _Entry(
        locale="mr_IN",  # 30 surnames and 29 towns; no companies: they are made from surnames
        scripts=("DEVANAGARI",),
        sizes=_SMALL,
        names={"region": "state"},
        digits="०१२३४५६७८९",
        grammar="""
redirect: पुनर्निर्देशन
occupation: राजकारणी | चित्रकार | लेखक | क्रिकेट खेळाडू | संगीतकार | वास्तुविशारद | इतिहासकार
landform: नदी | गाव | तलाव | डोंगर | बेट | तालुका
firm: कंपनी | बँक | प्रकाशन | संघ | वृत्तपत्र
work: अल्बम | चित्रपट | गाणे | कादंबरी
LOC: {town} | {town} | {region} | {country} | {surname} नगर | {surname} मार्ग | {surname} वाडी | {town} जिल्हा
ORG: {surname} आणि कंपनी | {surname} समूह | {town} विद्यापीठ | {town} क्रिकेट संघ | बँक ऑफ {town}
ORG: {surname} प्रकाशन | {surname} उद्योग
plain: हे सुद्धा पहा : गाण्यांची यादी | संदर्भ आणि बाह्य दुवे
line: [PER {he}] ( जन्म : {year} , [LOC {town}] ) हे भारतीय {occupation} आहेत .
line: [PER] यांचा जन्म {year} मध्ये [LOC {town}] येथे झाला .
line: त्यांनी [ORG {town} विद्यापीठ] येथे शिक्षण घेतले .
line: [ORG] या कंपनीचे मुख्यालय [LOC {town}] येथे आहे .
line: हे गाव [LOC {town}] आणि [LOC {town}] यांच्या दरम्यान आहे .
line: शहरांची यादी : [LOC {town}] , [LOC {town}]
line: {year} मध्ये [PER {he}] [ORG] मध्ये सामील झाले .
line: " {namesake} " हे [PER] यांचे गाणे आहे .
line: {town} ची लढाई {year} मध्ये [PER] यांनी जिंकली .
line: [ORG] विरुद्ध [ORG] ( {year} )
""",
    ),
    "nl": _Entry(
        locale="nl_NL",
        scripts=("LATIN",),
        sizes=_MEDIUM,
        names={"region": "province", "company": "company"},
        grammar="""
redirect: DOORVERWIJZING
occupation: schilder | politicus | schrijver | voetballer | componist | architect | historicus
landform: rivier | dorp | meer | berg | eiland | buurtschap
firm: bedrijf | bank | uitgeverij | voetbalclub | brouwerij
work: album | film | lied | roman
LOC: {town} | {town} | {town} | {region} | {country} | Huis {surname} | Kasteel {town} | Kaap {surname}
LOC: Meer van {town} | Nieuw {town}
ORG: {company} | {company} | Universiteit {town} | VV {town} | FC {town} | Uitgeverij {surname} | Brouwerij {surname}
ORG: Bank van {town} | Gebroeders {surname}
plain: Zie ook : Lijst van liederen | Bronnen , noten en externe links
line: [PER {he}] ( [LOC {town}] , {year} ) is een Nederlands {occupation} .
line: [PER] werd in {year} geboren in [LOC] .
line: Zij studeerde tot {year} aan de [ORG Universiteit {town}] .
line: Het hoofdkantoor van [ORG] staat in [LOC {town}] .
line: Het dorp ligt tussen [LOC {town}] en [LOC {town}] .
line: Lijst van burgemeesters van [LOC {town}]
line: In {year} ging [PER] naar [ORG] .
line: ' {namesake} ' is een lied van [PER] .
line: De Slag bij {town} werd in {year} gewonnen door [PER] .
line: [ORG] tegen [ORG] ( {year} )
line: [ORG] werd in {year} opgericht door [PER] .
""",
    ),
    "pt": _Entry(
        locale="pt_PT",
        scripts=("LATIN",),
        sizes=_MEDIUM,
        names={"region": "administrative_unit", "company": "company"},
        grammar="""
redirect: REDIRECIONAMENTO
occupation: político | pintor | escritor | futebolista | compositor | arquiteto | historiador
landform: rio | aldeia | lago | monte | ilha | freguesia
firm: empresa | banco | editora | clube | cervejaria
work: álbum | filme | canção | romance
LOC: {town} | {town} | {town} | {region} | {country} | rua {surname} | monte {surname}
LOC: praça {surname} | castelo de {town}
LOC: Vila {surname}
ORG: {company} | {company} | Universidade de {town} | Sporting de {town} | Académica de {town} | Editora {surname}
ORG: Banco {surname} | Irmãos {surname}
plain: Ver também : Lista de canções | Referências e ligações externas
line: [PER {he}] ( [LOC {town}] , {year} ) é um {occupation} português .
line: [PER] nasceu em [LOC {town}] em {year} .
line: Ela estudou na [ORG Universidade de {town}] até {year} .
line: A sede da empresa [ORG] fica em [LOC {town}] .
line: A freguesia fica entre [LOC {town}] e [LOC {town}] .
line: Lista de presidentes da câmara de [LOC {town}]
line: Em {year} , [PER] assinou pelo [ORG Sporting de {town}] .
line: « {namesake} » é uma canção de [PER] .
line: A batalha de {town} foi vencida por [PER] em {year} .
line: [ORG] contra [ORG] ( {year} )
line: Foi fundada por [PER] em {year} .
""",
    ),
    "ru": _Entry(
        locale="ru_RU",
        scripts=("CYRILLIC",),
        sizes=_LARGE,
        names={
            "surname": "last_name_male",
            "woman_surname": "last_name_female",
            "town": "city_name",
            "company": "company",
        },
        # A woman's surname is spelled as the genitive of the man's, which is what streets and
        # foundations are called.
        grammar="""
redirect: ПЕРЕНАПРАВЛЕНИЕ
occupation: политик | художник | писатель | футболист | композитор | архитектор | историк
landform: река | деревня | озеро | гора | остров | посёлок
firm: компания | банк | издательство | завод | клуб
work: альбом | фильм | песня | роман
LOC: {town} | {town} | {town} | {country} | улица {woman_surname} | площадь {woman_surname} | мыс {woman_surname}
LOC: остров {woman_surname}
ORG: {company} | {company} | ФК « {town} » | ХК « {town} » | Издательство « {surname} » | Банк « {town} »
ORG: Завод имени {woman_surname} | Фонд {woman_surname}
plain: См. также : Список песен | Примечания и внешние ссылки
line: [PER {he}] ( род. {year} , [LOC {town}] ) — русский {occupation} .
line: [PER {she}] родилась в {year} году ( [LOC {town}] ) .
line: [PER {he}] играл за [ORG ФК « {town} »] до {year} года .
line: [ORG] — российская компания ( [LOC {town}] ) .
line: Список улиц : [LOC улица {woman_surname}] , [LOC улица {woman_surname}]
line: Административный центр — [LOC {town}] .
line: Население : [LOC {town}] — {number} человек .
line: Песня « {namesake} » ( автор — [PER] )
line: Битва у города {town} : победил [PER {he}] .
line: [ORG] — [ORG] ( {year} )
line: В {year} году основана компания [ORG] ( [LOC] ) .
line: Главный тренер — [PER] , капитан — [PER] .
line: Метод {woman_surname} предложил [PER {he}] .
""",
    ),
    "ta": _Entry(
        locale="ta_IN",  # no companies: they are made from surnames
        scripts=("TAMIL",),
        sizes=_SMALL,
        names={"region": "state"},
        grammar="""
redirect: வழிமாற்று
occupation: அரசியல்வாதி | ஓவியர் | எழுத்தாளர் | துடுப்பாட்டக்காரர் | இசையமைப்பாளர் | கட்டிடக் கலைஞர் | வரலாற்றாளர்
landform: ஆறு | ஊர் | ஏரி | மலை | தீவு | நகரம்
firm: நிறுவனம் | வங்கி | பதிப்பகம் | கழகம் | நாளிதழ்
work: திரைப்படம் | பாடல் | புதினம் | நூல்
LOC: {town} | {town} | {town} | {region} | {country} | {surname} நகர் | {surname} சாலை | {surname} மலை
ORG: {surname} பதிப்பகம் | {surname} வங்கி | {surname} நிறுவனம் | {town} பல்கலைக்கழகம்
ORG: {town} துடுப்பாட்டக் கழகம் | {surname} குழுமம் | {region} அரசு
plain: இவற்றையும் பார்க்க : பாடல்களின் பட்டியல் | மேற்கோள்கள் மற்றும் வெளி இணைப்புகள்
line: [PER] ( பிறப்பு : {year} , [LOC {town}] ) ஒரு இந்திய {occupation} ஆவார் .
line: [PER] {year} ஆம் ஆண்டு [LOC {town}] நகரில் பிறந்தார் .
line: கல்வி : [ORG {town} பல்கலைக்கழகம்] ( {year} )
line: [ORG] அமைப்பின் தலைமையகம் [LOC {town}] நகரில் உள்ளது .
line: இவ்வூர் [LOC] மற்றும் [LOC] இடையே அமைந்துள்ளது .
line: நகரங்களின் பட்டியல் : [LOC {town}] , [LOC {town}]
line: {year} இல் [PER] [ORG] அமைப்பில் சேர்ந்தார் .
line: " {namesake} " என்பது [PER] பாடிய பாடல் ஆகும் .
line: {town} போரில் [PER] {year} இல் வென்றார் .
line: [ORG] எதிர் [ORG] ( {year} )
line: [ORG] அமைப்பை [PER] {year} இல் தொடங்கினார் .
""",
    ),
    "th": _Entry(
        locale="th_TH",
        scripts=("THAI",),
        sizes=_MEDIUM,
        names={"region": "province", "district": "amphoe", "company": "company"},
        is_split_into_characters=True,
        grammar="""
redirect: เปลี่ยนทาง
occupation: นักการเมือง | จิตรกร | นักเขียน | นักฟุตบอล | นักแต่งเพลง | สถาปนิก | นักประวัติศาสตร์
landform: แม่น้ำ | หมู่บ้าน | ทะเลสาบ | ภูเขา | เกาะ | ตำบล
firm: บริษัท | ธนาคาร | สำนักพิมพ์ | สโมสร | โรงงาน
work: อัลบั้ม | ภาพยนตร์ | เพลง | นวนิยาย
LOC: {region} | {region} | {town} | {district} | {country} | ถนน{surname} | เขา{surname}
LOC: คลอง{surname} | บ้าน{surname}
ORG: {company} | {company} | {company} | มหาวิทยาลัย{town} | สโมสรฟุตบอล{region}
ORG: สำนักพิมพ์{surname} | ธนาคาร{surname}
ORG: โรงเรียน{region}
plain: ดูเพิ่ม : รายชื่อเพลง | อ้างอิงและแหล่งข้อมูลอื่น
line: [PER](เกิดปี{year}ที่[LOC])เป็น{occupation}ชาวไทย
line: [PER]เกิดที่[LOC]ในปี{year}
line: เขาเรียนที่[ORG มหาวิทยาลัย{town}]จนถึงปี{year}
line: สำนักงานใหญ่ของ[ORG]ตั้งอยู่ที่[LOC]
line: หมู่บ้านตั้งอยู่ระหว่าง[LOC]กับ[LOC]
line: รายชื่ออำเภอในจังหวัด[LOC {region}]
line: ในปี{year} [PER]ย้ายไปอยู่กับ[ORG]
line: “{namesake}” เป็นเพลงของ[PER]
line: ศึก{town}ในปี{year}นำโดย[PER]
line: [ORG]พบกับ[ORG]
line: [PER]ก่อตั้ง[ORG]ในปี{year}
""",
    ),
    "zh": _Entry(
        locale="zh_CN",  # surnames are one character, so that a given name is what places and companies share
        scripts=("CJK",),
        sizes=_LARGE,
        names={
            "town": "city_name",
            "county": "city",
            "region": "province",
            "district": "district",
            "company": "company",
        },
        is_split_into_characters=True,
        grammar="""
redirect: 重定向
comma: 、
he: {surname}{man}
she: {surname}{woman}
namesake: {woman} | {man}
occupation: 政治家 | 画家 | 作家 | 足球运动员 | 作曲家 | 建筑师 | 历史学家
landform: 河流 | 村庄 | 湖泊 | 山峰 | 岛屿 | 乡镇
firm: 公司 | 银行 | 出版社 | 足球俱乐部 | 报纸
work: 专辑 | 电影 | 歌曲 | 小说
LOC: {town} | {town} | {county} | {county} | {region} | {district}区 | {country} | {surname}家村
LOC: {surname}家庄 | {town}路
ORG: {company} | {company} | {town}大学 | {town}足球俱乐部 | {town}银行 | {woman}出版社
ORG: {district}中学 | {surname}氏集团
ORG: {town}日报
plain: 参见：歌曲列表 | 参考文献和外部链接
line: [PER]（{year}年－），中国{occupation}。
line: [PER]于{year}年出生于[LOC]。
line: 他毕业于[ORG {town}大学]。
line: [ORG]的总部位于[LOC]。
line: 该村位于[LOC]和[LOC]之间。
line: [LOC {region}]城市列表
line: {year}年，[PER]加入[ORG]。
line: 《{namesake}》是[PER]的歌曲。
line: {town}战役由[PER]指挥。
line: [ORG]诉[ORG]（{year}年）
line: [ORG]由[PER]于{year}年创办。
""",
    ),
}

LANGUAGES: Mapping[str, SyntheticLanguage] = MappingProxyType(
    {code: _read(entry) for code, entry in _ENTRIES.items()}
)
"""WikiANN's code -> language, for the languages of the embedded corpus."""
