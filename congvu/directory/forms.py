"""Forms of addresses: the small vocabulary that a regulation profile writes them in, and how a name is taken apart.

Pure. Promises that a form is checked and compiled once, that capitals, composed or decomposed marks, both places of a
tone mark, "và" and "&", hyphens, commas and double spaces make no difference, and that what comes out is `[a-z0-9.]`.
Must never guess a letter: a name that cannot be written in ASCII is refused.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from string import Formatter

from congvu.base import vietnamese
from congvu.base.failure import Refused
from congvu.base.texts import say_in

# ---- kinds and vocabulary

PERSON = "person"
KINDS = (
    "so", "ban", "hoi", "nganh", "huyen", "thixa", "thanhpho", "xa", "phuong", "thitran", "dackhu", "phong", "trungtam",
    "chicuc", "vanphong", "benhvien", "congan", "other", PERSON,
)  # fmt: skip
PLACES = frozenset({"huyen", "thixa", "thanhpho", "xa", "phuong", "thitran", "dackhu"})


@dataclass(frozen=True, slots=True)
class Word:
    """One word of the vocabulary. `may_be_empty`: a form with it works without it as well."""

    doc: str
    person: bool | None = None  # only in forms of persons, only in those of units, in both
    may_be_empty: bool = False
    of_name: bool = False  # says something of the unit's own name


VOCABULARY: dict[str, Word] = {
    # units
    "ten": Word(
        "đơn vị: tên riêng sau từ chỉ loại, viết đủ nếu ít âm tiết, nếu không thì viết tắt; người: tên"
        " / unit: the proper name, in full if short, else initials; person: the given name",
        None,
        of_name=True,
    ),
    "ten_day_du": Word("tên riêng viết đủ, liền / the proper name in full", False, of_name=True),
    "viet_tat": Word("chữ đầu các âm tiết của tên riêng / initials of the proper name", False, of_name=True),
    "viet_tat_ca_loai": Word(
        "viết tắt cả từ chỉ loại (Sở Xây dựng → sxd) / initials of type word and name", False, of_name=True
    ),
    "cha": Word("phần trước @ của đơn vị cấp trên / the local part of the unit above"),
    "cha_bo_loai": Word("như cha, bỏ từ chỉ loại (soxaydung → xaydung) / the same without its type word"),
    "huyen": Word("phần trước @ của huyện; mặc định là cha / the district's local part, else the one above", False),
    # persons
    "dau_ho_lot": Word("chữ đầu của họ và chữ lót / initials of family and middle names", True, True),
    "dau_ho": Word("chữ đầu của họ / initial of the family name", True, True),
    "dau_lot": Word("chữ đầu của chữ lót / initials of the middle names", True, True),
    "ho": Word("họ viết đủ / the family name", True, True),
    "lot": Word("chữ lót viết đủ / the middle names", True, True),
    "ho_ten": Word("họ và tên đầy đủ, viết liền / the whole name", True),
    "nam_sinh": Word("năm sinh, 4 số / year of birth", True),
    "nam_sinh_2": Word("năm sinh, 2 số cuối / its last two digits", True),
    "thang_sinh": Word("tháng sinh, 2 số / month of birth", True),
    "ngay_sinh": Word("ngày sinh, 2 số / day of birth", True),
    "cccd_3": Word("3 số cuối CCCD / last 3 digits of the identity number", True),
    "cccd_4": Word("4 số cuối CCCD / last 4 digits", True),
    "co_quan": Word("phần trước @ của cơ quan / the agency's local part", True),
    # all
    "stt": Word("số thứ tự đăng ký / number by order of registration"),
    "mien": Word("tên miền; chỉ sau @ / the mail domain; after @ only"),
}

_LITERAL = re.compile(r"[a-z0-9.@]*")


@dataclass(frozen=True, slots=True)
class Form:
    """One compiled form with its conditions. `row`: its clause; `row_if_abbreviated`: where `{ten}` was abbreviated."""

    local: str
    domain: str
    needs: frozenset[str]
    row: str
    why: str
    row_if_abbreviated: str = ""
    if_taken_by: frozenset[str] = frozenset()
    if_parent: frozenset[str] = frozenset()
    if_name_begins: tuple["Phrase", ...] = ()
    if_number: bool = False
    since: date = date.min
    until: date = date.max
    numbered: bool = False
    of_name: bool = False
    shortens: bool = False  # has {ten}, which may abbreviate


def words_of(template: str, person: bool) -> frozenset[str]:
    """The words of a form. Raises `Refused("profile-form")`: what is wrong with it."""

    def wrong(what: str) -> Refused:
        return Refused("profile-form", form=template, what=what)

    try:
        pieces = list(Formatter().parse(template))
    except ValueError as error:
        raise wrong(str(error)) from None
    local, at, domain = template.partition("@")
    if not local or "@" in domain or (at and not domain) or "{mien}" in local:
        raise wrong("@")
    found = []
    for literal, name, spec, conversion in pieces:
        if not _LITERAL.fullmatch(literal):
            raise wrong(literal)
        if name is None:
            continue
        if name not in VOCABULARY or VOCABULARY[name].person not in (None, person) or spec or conversion:
            raise wrong("{" + name + "}")
        found.append(name)
    if len(template) > 100 or not found:
        raise wrong(template[:100])
    return frozenset(found)


# ---- words of a name


@dataclass(frozen=True, slots=True)
class Token:
    """A syllable in ASCII. `key`: how it is recognised, with its marks; `whole`: an acronym or number, kept whole."""

    text: str
    key: str
    whole: bool = False


# Letters that have no decomposition but a usual way in ASCII; đ and ð are the fold's.
_LATIN = str.maketrans({"ø": "o", "æ": "ae", "œ": "oe", "ß": "ss", "ł": "l", "ı": "i", "þ": "th", "ʼ": "'"})
_NOT_ASCII = re.compile(r"[^a-z0-9]+")
_VOWEL = re.compile(r"[aeiouy]")


@lru_cache(maxsize=30_000)  # some 7,000 syllables are written in Vietnamese, with capitals and without
def ascii_of(syllable: str) -> str:
    """`[a-z0-9]` of one word; "" if it has letters that cannot be written so, or nothing else."""
    text = vietnamese.fold(syllable).translate(_LATIN)
    return "" if any(c.isalnum() and not c.isascii() for c in text) else _NOT_ASCII.sub("", text)


@lru_cache(maxsize=30_000)
def key_of(syllable: str) -> str:
    """The same for "Ủy" and "Uỷ", "Kỹ" and "Kĩ", other for "và" and "va"."""
    apart = unicodedata.normalize("NFD", syllable).lower().replace("y", "i")
    letters = [c for c in apart if not unicodedata.combining(c)]
    return "".join(letters + sorted(c for c in apart if unicodedata.combining(c)))


def tokens(name: str) -> list[Token]:
    """The syllables of a name as it was written. Raises `Refused("naming-unwritable")`."""
    written = vietnamese.words(name)
    mixed = any(word != word.upper() for word in written)
    found = []
    for word in written:
        text = ascii_of(word)
        if not text:
            raise Refused("naming-unwritable", word=word)
        # UBND, GDĐT, cntt, 2, A1: capitals among small letters, no vowel, or digits
        acronym = len(text) > 1 and ((mixed and word.isupper()) or not _VOWEL.search(text))
        whole = acronym or any(c.isdigit() for c in text)
        found.append(Token(text, key_of(word), whole))
    return found


# A phrase is recognised by its keys; in a name without any mark by its letters alone.
@dataclass(frozen=True, slots=True)
class Phrase:
    """Words of a profile ("Ủy ban nhân dân") as they are recognised in names."""

    keys: tuple[str, ...]
    texts: tuple[str, ...]

    @classmethod
    def of(cls, found: Sequence[Token]) -> "Phrase":
        return cls(tuple(t.key for t in found), tuple(t.text for t in found))

    def __len__(self) -> int:
        return len(self.keys)

    def at(self, found: Sequence[Token], start: int, bare: bool) -> bool:
        """Do these words stand there? `bare`: the name was written without marks."""
        some = found[start : start + len(self.keys)]
        if len(some) != len(self.keys) or start < 0:
            return False
        if bare:
            return all(token.text == text for token, text in zip(some, self.texts, strict=True))
        return all(token.key == key for token, key in zip(some, self.keys, strict=True))


@dataclass(frozen=True, slots=True)
class Naming:
    """The naming rule of one profile, compiled."""

    forms: Mapping[str, tuple[Form, ...]] = field(default_factory=dict)
    full_if_syllables: int = 0
    full_row: str = ""
    dropped: frozenset[Phrase] = frozenset()
    shortened: tuple[tuple[Phrase, Token], ...] = ()
    dropped_at_end: tuple[Phrase, ...] = ()
    type_words: Mapping[str, tuple[Phrase, ...]] = field(default_factory=dict)
    type_starts: frozenset[str] = frozenset()  # first syllables of all of them
    type_initials: Mapping[str, str] = field(default_factory=dict)
    prefixes: Mapping[str, str] = field(default_factory=dict)  # literal beginnings of forms, by kind: so, ban, …
    labels: Mapping[str, str] = field(default_factory=dict)  # of kinds, as people read them
    reserved: frozenset[str] = frozenset()
    exceptions: tuple[tuple[str, Phrase, Form], ...] = ()  # kind, whole name, a form that is one local part
    first_number: int = 2
    digits: int = 2
    domains: tuple[str, ...] = ()

    def sentence(self, why: str, syllables: int, short: bool) -> str:
        """The reason of a form with what its `{ten}` did, and by which row."""
        if short:
            return say_in(
                "vi", "naming-short", why=why, count=syllables, more=self.full_if_syllables + 1, row=self.full_row
            )
        return say_in("vi", "naming-full", why=why, count=syllables, most=self.full_if_syllables, row=self.full_row)

    def shorten(self, found: Sequence[Token], bare: bool) -> list[Token]:
        """Words left out (`và`) and words shortened (`Ủy ban nhân dân` → ubnd), wherever they stand."""
        kept: list[Token] = []
        at = 0
        while at < len(found):
            for phrase, short in self.shortened:
                if phrase.at(found, at, bare):
                    kept.append(short)
                    at += len(phrase)
                    break
            else:
                if not any(phrase.at(found, at, bare) for phrase in self.dropped):
                    kept.append(found[at])
                at += 1
        return kept


# ---- names of units


@dataclass(frozen=True, slots=True)
class UnitName:
    """A unit's name taken apart: `rest` is the proper name."""

    whole: tuple[Token, ...]
    rest: tuple[Token, ...]
    begins: Phrase | None  # the words of `if_name_begins` that it began with
    above: str  # the kind of the unit above, when the name ended with that unit's name


def initials(found: Sequence[Token]) -> str:
    """Acronyms and numbers whole, of other syllables the first letter."""
    return "".join(token.text if token.whole else token.text[0] for token in found)


def unit_name(naming: Naming, kind: str, name: str, parent: str) -> UnitName:
    """Type word, parent's name and words at the end off. Raises `Refused`: naming-unwritable, naming-no-name."""
    found = tokens(name)
    if not found:
        raise Refused("naming-no-name", name=name)
    bare = name.isascii()
    whole = naming.shorten(found, bare)
    rest = whole
    begins, above = None, ""
    for form in naming.forms.get(kind, ()):
        for phrase in form.if_name_begins:
            if phrase.at(rest, 0, bare):
                begins, rest = phrase, rest[len(phrase) :]
                break
        if begins:
            break
    rest = _without_type(naming, kind, rest, bare)
    if parent:
        alone, above = _without_parent(naming, kind, rest, parent, bare)
        rest = alone or (rest if kind in PLACES else [])  # the township of a district may bear its name
    for phrase in naming.dropped_at_end:
        if len(rest) > len(phrase) and phrase.at(rest, len(rest) - len(phrase), bare):
            rest = rest[: -len(phrase)]
            break
    return UnitName(tuple(whole), tuple(rest), begins, above)


def place_in(naming: Naming, name: str) -> str:
    """The kind of place that a name begins with, "" if none. Raises `Refused("naming-unwritable")`."""
    bare = name.isascii()
    found = naming.shorten(tokens(name), bare)
    lengths = {kind: len(found) - len(_without_type(naming, kind, found, bare)) for kind in PLACES}
    best = max(sorted(lengths), key=lambda kind: lengths[kind])
    return best if lengths[best] else ""


def _without_type(naming: Naming, kind: str, found: list[Token], bare: bool) -> list[Token]:
    for phrase in naming.type_words.get(kind, ()):
        if phrase.at(found, 0, bare):
            return found[len(phrase) :]
    return found


def _without_parent(naming: Naming, of: str, found: list[Token], parent: str, bare: bool) -> tuple[list[Token], str]:
    """The name without its end that names the unit above, and the kind of that unit: "Văn phòng *Sở Xây dựng*" under
    soxaydung; "Phòng Nội vụ *UBND huyện Châu Phú*", but "Văn phòng UBND *huyện Châu Phú*"."""
    above = parent.rpartition(".")[2]
    starts = range(len(found))
    for start in reversed(starts) if of == "vanphong" else starts:
        if found[start].text not in naming.type_starts:
            continue
        for kind in naming.type_words:
            rest = _without_type(naming, kind, found[start:], bare)
            if len(rest) == len(found) - start or not rest:
                continue
            spellings = {"".join(t.text for t in found[start:]), initials(found[start:])}
            spellings |= {_filled_alone(naming, kind, form, rest) for form in naming.forms.get(kind, ())}
            if above in spellings:
                return found[:start], kind
    for start in range(len(found)):  # "Trung tâm Văn hóa *Long Xuyên*" under longxuyen
        if "".join(t.text for t in found[start:]) == above:
            return found[:start], ""
    return found, ""


def _filled_alone(naming: Naming, kind: str, form: Form, rest: Sequence[Token]) -> str:
    """A form filled with nothing but a name; "" if it needs more."""
    values = unit_values(naming, kind, rest)
    return form.local.format_map(values) if form.needs <= values.keys() and not form.numbered else ""


def unit_values(naming: Naming, kind: str, rest: Sequence[Token]) -> dict[str, str]:
    """What the words of a form stand for, by the proper name; none where there is no such name."""
    if not rest:
        return {}
    full, short = "".join(token.text for token in rest), initials(rest)
    return {
        "ten": full if len(rest) <= naming.full_if_syllables else short,
        "ten_day_du": full,
        "viet_tat": short,
        "viet_tat_ca_loai": naming.type_initials.get(kind, "") + short,
    }


# ---- names of persons


@dataclass(frozen=True, slots=True)
class PersonName:
    """Họ, chữ lót, tên in ASCII; a single word is the tên."""

    family: str
    middle: tuple[str, ...]
    given: str


def person_name(name: str) -> PersonName:
    """By the order in which Vietnamese names are written. Raises `Refused`: naming-unwritable, -no-name, -digits."""
    found = []
    for chunk in unicodedata.normalize("NFC", name).split():
        text = ascii_of(chunk)
        if not text:
            if any(c.isalnum() for c in chunk):
                raise Refused("naming-unwritable", word=chunk)
            continue  # a dash between two words
        if not text.isalpha():
            raise Refused("naming-digits", name=name)
        found.append(text)
    if not found:
        raise Refused("naming-no-name", name=name)
    *before, given = found
    return PersonName(before[0] if before else "", tuple(before[1:]), given)


def person_values(name: PersonName) -> dict[str, str]:
    middle = "".join([word[0] for word in name.middle])
    lot = "".join(name.middle)
    return {
        "ten": name.given,
        "ho": name.family,
        "lot": lot,
        "dau_ho": name.family[:1],
        "dau_lot": middle,
        "dau_ho_lot": name.family[:1] + middle,
        "ho_ten": name.family + lot + name.given,
    }
