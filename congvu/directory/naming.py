"""Which address somebody gets: candidates in order, each with its clause and a sentence, by the profile's forms.

Pure: who holds what is asked of the caller. Promises that the same subject always gets the same candidates, all of
them distinct, valid, lower-case ASCII; that an address somebody holds or that rests (row 13.6) is never among them; and
that a name is never guessed at: what cannot be done is refused with its reason. Must never rename anybody.
"""

import difflib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from congvu.base.failure import Refused
from congvu.base.texts import say_in
from congvu.base.vietnamese import fold
from congvu.directory import addresses, forms
from congvu.directory.forms import KINDS, PERSON, Form, Naming, PersonName, UnitName
from congvu.directory.people import MAX_NAME, checked_name

if TYPE_CHECKING:
    from congvu.directory.profile import Profile

RESTING = "resting"  # what `taken` says of an address that nobody holds and that may not be given yet
_MOST_NUMBERS = 10_000  # of one name; the commonest names are borne by hundreds in a province
_FIRST_NUMBERS = 8  # asked for at once, then four times as many
_LOCAL = re.compile(r"[a-z0-9]+(?:\.[a-z0-9]+)*")

# Which of the full addresses asked for are not free: a set, or by address the kind of what holds it ("xa", "person",
# `RESTING`, None when it is not known), by which rows 2.11 and 2.12 are told apart.
Taken = Callable[[Sequence[str]], Collection[str]]


@dataclass(frozen=True, slots=True)
class Subject:
    """Who or what wants an address. `name` as people write it, with the type word or without; `parent`: local part or
    address of the unit above, of persons their agency; `identity`: digits of the CCCD. `on`: by the forms of that day;
    None: by the newest. A person's name is divided as it is written unless `given` says where the tên begins."""

    kind: str
    name: str
    parent: str = ""
    parent_kind: str = ""
    district: str = ""
    birth: date | None = None
    identity: str = ""
    domain: str = ""
    on: date | None = None
    given: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One address that may be given. `clause`: the row that decides its form; `why`: a sentence in Vietnamese."""

    address: str
    clause: str
    why: str


@dataclass(frozen=True, slots=True)
class Objection:
    """What speaks against an address given by hand. `final`: it cannot be given at all; else a reason is recorded."""

    reason: Refused
    final: bool


@dataclass(frozen=True, slots=True)
class _Ready:
    """A subject taken apart: the forms that it has all words for, `lacking` those tried in vain when there is none,
    what the words stand for, and how long the name is."""

    forms: tuple[Form, ...]
    lacking: tuple[Form, ...]
    values: Mapping[str, str]
    domain: str
    syllables: int


def propose(profile: "Profile", subject: Subject, taken: Taken | Collection[str] | None = None) -> list[Candidate]:
    """Candidates in order, the rule's own first. Without `taken` all of them, as if everything were free; with it
    (asked in batches, or all there is) those that are free, each with the reason why not the first. Raises `Refused`:
    naming-…, bad-name."""
    naming = profile.naming
    ready = _prepared(naming, subject)
    made: dict[str, Form] = {}
    numbered: list[Form] = []
    problem: Refused | None = None
    for form in ready.forms:
        if form.numbered:
            numbered.append(form)
            continue
        try:
            made.setdefault(_filled(naming, form, ready), form)
        except Refused as refused:
            problem = problem or refused
    first = naming.first_number
    run = {form: _run(naming, form, ready, first, 1 if taken is None else _FIRST_NUMBERS) for form in numbered}
    if not made and (not any(run.values()) or (problem and subject.kind != PERSON)):  # root02 may be a person's
        raise problem or Refused("naming-needs", name=subject.name, needs=_needs(ready))
    if taken is None:
        found = [_candidate(naming, ready, address, form, "") for address, form in made.items()]
        found += [_candidate(naming, ready, a, form, "", n) for form, some in run.items() for a, n in some.items()]
        return _distinct(found)
    asked = list(dict.fromkeys([*made, *(address for some in run.values() for address in some)]))
    held = _held(taken, asked)
    head = next(iter(made), "")
    blocked = _blocked(naming, head, held) if head in held else ""
    found = [
        _candidate(naming, ready, address, form, blocked)
        for address, form in _by_holder(made, head, held)
        if address not in held
    ]
    for form, some in run.items():
        if free := _first_free(naming, form, ready, some, held, taken):
            found.append(_candidate(naming, ready, free[0], form, blocked, free[1]))
    if not found:
        raise Refused("naming-all-taken", name=subject.name, address=asked[0])
    return _distinct(found)


def accepts(profile: "Profile", subject: Subject, local: str) -> list[Objection]:
    """What speaks against a local part that an administrator chose (row 2.13); none when it is the rule's own.
    Whether it is free is another question. Raises nothing."""
    naming = profile.naming
    if wrong := _wrong(naming, local):
        return [Objection(wrong, True)]
    found = []
    if _digits_of_identity(local, subject.identity) and profile.address.warn_identity_digits.or_none:
        found.append(Objection(Refused("naming-identity", local=local), False))  # rows 2.24, 12.15
    try:
        proposed = [each.address.partition("@")[0] for each in propose(profile, subject)]
        ready = _prepared(naming, subject)
    except Refused as refused:
        return [*found, Objection(refused, False)]
    if local not in proposed and not any(_is_numbered(naming, form, ready, local) for form in ready.forms):
        found.append(Objection(Refused("naming-not-the-rule", local=local, proposed=proposed[0]), False))
    return found


def _is_numbered(naming: Naming, form: Form, ready: _Ready, local: str) -> bool:
    before, number, after = form.local.format_map({**ready.values, "stt": "#"}).partition("#")
    digits = local[len(before) : len(local) - len(after)]
    return bool(number) and local == before + digits + after and digits.isdigit() and len(digits) >= naming.digits


def domain_for(profile: "Profile", subject: Subject, served: Sequence[str] = ()) -> str:
    """The mail domain of a subject: its own, else the profile's first that is served here, else the main one here."""
    of_profile = profile.naming.domains
    return subject.domain or next(iter([d for d in of_profile if d in served] or served or of_profile), "")


def kind_of_name(profile: "Profile", name: str) -> str:
    """The kind of place that a unit's name speaks of ("UBND phường Long Xuyên": phuong), "" when it speaks of none."""
    try:
        return forms.place_in(profile.naming, name)
    except Refused:
        return ""


def matches(profile: "Profile", name: str, local: str) -> float:
    """How well a local part fits a person's name (row 7.7): 1 by the profile's forms, 0.9 by another usual one, 0.6
    when it holds the tên, less the less alike they are. Whoever's row it is should fit clearly better than the next."""
    try:
        person = forms.person_name(name[:MAX_NAME])
    except Refused:
        return 0.0
    plain = _alike(fold(local[: addresses.MAX_ADDRESS]).partition("@")[0])
    parts = [part for part in re.split(r"[._-]", plain) if part]
    if not parts:
        return 0.0
    spellings = {"".join(parts), parts[0]}
    values = forms.person_values(person)
    blank = dict.fromkeys(forms.VOCABULARY, "") | values
    own = {_alike(form.local.format_map(blank)).replace(".", "") for form in profile.naming.forms.get(PERSON, ())}
    if spellings & own:
        return 1.0
    if spellings & {_alike("".join(values[word] for word in order)) for order in _USUAL}:
        return 0.9
    given = _alike(values["ten"])
    if given in parts or (len(given) > 2 and any(part.startswith(given) or part.endswith(given) for part in parts)):
        return 0.6
    return 0.5 * difflib.SequenceMatcher(None, _alike(values["ho_ten"]), "".join(parts), autojunk=False).ratio()


_USUAL = (
    ("dau_ho_lot", "ten"), ("ten", "dau_ho_lot"), ("ho_ten",), ("dau_ho", "lot", "ten"), ("ten", "ho", "lot"),
    ("dau_ho", "ten"), ("ten", "dau_ho"), ("ho", "ten"), ("ten", "ho"), ("lot", "ten"), ("ten", "lot"),
)  # fmt: skip


def _alike(local: str) -> str:
    """Without digits; y as i, which people write one for the other."""
    return re.sub(r"[\d\s]", "", local).replace("y", "i")


# ---- taking the subject apart


def _prepared(naming: Naming, subject: Subject) -> _Ready:
    name = checked_name(subject.name)
    if subject.kind not in KINDS:
        raise Refused("naming-no-kind", kind=subject.kind, known=" ".join(KINDS))
    domain = addresses.normalise(f"a@{subject.domain or next(iter(naming.domains), '')}")[2:]
    if not addresses.is_domain(domain):
        raise Refused("naming-no-domain", domain=domain)
    parent = _local_of(subject.parent)
    day = subject.on or date.max
    some = [form for form in naming.forms.get(subject.kind, ()) if form.since <= day <= form.until]
    if not some:
        raise Refused("naming-no-rule", kind=subject.kind)
    values = {"mien": domain}
    if parent:
        values |= {"cha": parent, "co_quan": parent}
    if subject.kind == PERSON:
        values |= forms.person_values(_person(name, subject.given)) | dict(_facts(subject))
        return _ready(some, values, domain, 0)
    unit = forms.unit_name(naming, subject.kind, name, parent)
    values |= forms.unit_values(naming, subject.kind, unit.rest)
    parent_kind = subject.parent_kind or unit.above or _kind_of(naming, parent)
    if parent:
        values["cha_bo_loai"] = parent.removeprefix(naming.prefixes.get(parent_kind, "")) or parent
        values["huyen"] = parent
    if district := _local_of(subject.district):
        values["huyen"] = district
    some = [*_fixed(naming, subject.kind, unit), *(form for form in some if _concerns(form, unit, parent_kind))]
    return _ready(some, values, domain, len(unit.rest))


def _ready(some: Sequence[Form], values: Mapping[str, str], domain: str, syllables: int) -> _Ready:
    known = values.keys()
    usable = tuple(form for form in some if form.needs <= known)
    lacking = () if usable else tuple(some)
    return _Ready(usable, lacking, values, domain, syllables)


def _person(name: str, given: str) -> PersonName:
    whole = forms.person_name(name)
    if not given:
        return whole
    count = len(given.split())
    before = checked_name(name).split()[:-count]
    ten = forms.person_name("".join(checked_name(given).split())).given
    if not before:
        return PersonName("", (), ten)
    rest = forms.person_name(" ".join(before))
    return PersonName(rest.family or rest.given, (*rest.middle, *([rest.given] if rest.family else [])), ten)


def _facts(subject: Subject) -> Iterator[tuple[str, str]]:
    if subject.birth:
        year, month, day = subject.birth.isoformat().split("-")
        yield from (("nam_sinh", year), ("nam_sinh_2", year[2:]), ("thang_sinh", month), ("ngay_sinh", day))
    if subject.identity:
        if not re.fullmatch(r"[0-9]{4,12}", subject.identity):
            raise Refused("naming-bad-identity")
        yield from (("cccd_3", subject.identity[-3:]), ("cccd_4", subject.identity[-4:]))


def _local_of(address: str) -> str:
    """The local part of a unit above. Raises `Refused("naming-bad-parent")`."""
    local = address.strip().lower().partition("@")[0]
    if local and (not _LOCAL.fullmatch(local) or len(local) > addresses.MAX_LOCAL):
        raise Refused("naming-bad-parent", parent=address)
    return local


def _kind_of(naming: Naming, parent: str) -> str:
    """What kind a local part seems to be of, by the type word that it begins with; "" when nothing tells. (Of `hoian`,
    a commune, two letters would be left for a name: no type word.)"""
    kinds = (
        k for k, word in naming.prefixes.items() if word and parent.startswith(word) and len(parent) > len(word) + 2
    )
    return next(kinds, "")


def _concerns(form: Form, unit: UnitName, parent_kind: str) -> bool:
    if form.of_name != bool(unit.rest):  # a form without the name is for "Văn phòng Sở Xây dựng", which has none
        return False
    if form.if_number and not all(token.text.isdigit() for token in unit.rest):
        return False
    if form.if_parent and parent_kind not in form.if_parent:
        return False
    return unit.begins in form.if_name_begins if unit.begins else not form.if_name_begins


def _fixed(naming: Naming, kind: str, unit: UnitName) -> list[Form]:
    keys = tuple(token.key for token in unit.whole)
    return [form for of, phrase, form in naming.exceptions if of == kind and phrase.keys == keys]


def _needs(ready: _Ready) -> str:
    """What the forms lack, in words: the fewest that any of them lacks."""
    nothing = frozenset({"ten_day_du"})  # "Phòng" and no more
    lacking = min((form.needs - ready.values.keys() for form in ready.lacking), key=len, default=nothing)
    return "; ".join(forms.VOCABULARY[word].doc for word in sorted(lacking))


# ---- filling forms


def _filled(naming: Naming, form: Form, ready: _Ready, number: str = "") -> str:
    """The full address. Raises `Refused` when it cannot be given to anybody."""
    values = {**ready.values, "stt": number} if number else ready.values
    local = form.local.format_map(values)
    if wrong := _wrong(naming, local):
        raise wrong
    if not form.domain:
        return f"{local}@{ready.domain}"
    domain = form.domain.format_map(values)
    if not addresses.is_domain(domain):
        raise Refused("naming-no-domain", domain=domain)
    return f"{local}@{domain}"


def is_local(local: str) -> bool:
    """Can a local part be written so at all?"""
    return len(local) <= addresses.MAX_LOCAL and bool(_LOCAL.fullmatch(local))


def _wrong(naming: Naming, local: str) -> Refused | None:
    if len(local) > addresses.MAX_LOCAL:
        return Refused("naming-too-long", local=local, most=addresses.MAX_LOCAL)
    if not _LOCAL.fullmatch(local):
        return Refused("naming-bad-local", local=local)
    if local.replace(".", "").isdigit():
        return Refused("naming-only-digits", local=local)
    if local in naming.reserved:
        return Refused("naming-reserved", local=local)
    return None


def _run(naming: Naming, form: Form, ready: _Ready, start: int, count: int) -> dict[str, int]:
    """Numbered addresses; none when the form does not fit."""
    try:
        return {_filled(naming, form, ready, f"{n:0{naming.digits}}"): n for n in range(start, start + count)}
    except Refused:
        return {}


def _first_free(
    naming: Naming,
    form: Form,
    ready: _Ready,
    some: dict[str, int],
    held: Mapping[str, str | None],
    taken: Taken | Collection[str],
) -> tuple[str, int] | None:
    count = _FIRST_NUMBERS
    while some and max(some.values()) < _MOST_NUMBERS:
        for address, number in some.items():
            if address not in held:
                return address, number
        count *= 4
        some = _run(naming, form, ready, max(some.values()) + 1, count)
        held = _held(taken, list(some))
    return None


# ---- who holds what


def _held(taken: Taken | Collection[str], asked: Sequence[str]) -> Mapping[str, str | None]:
    answer = taken(asked) if callable(taken) else taken
    return answer if isinstance(answer, Mapping) else dict.fromkeys(answer)


def _by_holder(made: Mapping[str, Form], head: str, held: Mapping[str, str | None]) -> list[tuple[str, Form]]:
    """Forms meant for what holds the first address come before those meant for other holders (rows 2.11, 2.12)."""
    kind = held.get(head)
    if kind not in KINDS:
        return list(made.items())
    return sorted(made.items(), key=lambda pair: bool(pair[1].if_taken_by) and kind not in pair[1].if_taken_by)


def _blocked(naming: Naming, address: str, held: Mapping[str, str | None]) -> str:
    """Why the first address cannot be given."""
    local, kind = address.partition("@")[0], held[address]
    if kind == RESTING:
        return say_in("vi", "naming-resting", local=local)
    if kind in KINDS and kind != PERSON:
        return say_in("vi", "naming-held-by", local=local, kind=naming.labels.get(kind, kind))
    return say_in("vi", "naming-held", local=local)


def _candidate(
    naming: Naming, ready: _Ready, address: str, form: Form, blocked: str, number: int | None = None
) -> Candidate:
    clause, why = form.row, form.why
    if number is not None:
        why = why.replace("{stt}", f"{number:0{naming.digits}}")
    if form.shortens:
        short = ready.syllables > naming.full_if_syllables
        if short:
            clause = form.row_if_abbreviated or clause
        why = naming.sentence(why, ready.syllables, short)
    if blocked:
        why = f"{blocked} ({clause}): {why}"
    return Candidate(address, clause, why)


def _distinct(found: Sequence[Candidate]) -> list[Candidate]:
    first: dict[str, Candidate] = {}
    for each in found:
        first.setdefault(each.address, each)
    return list(first.values())


def _digits_of_identity(local: str, identity: str) -> bool:
    return len(identity) >= 3 and any(run in local for run in (identity[-4:], identity[-3:]))
