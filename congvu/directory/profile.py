"""Regulation profiles: the numbers and forms on which provinces differ, read from `profiles/*.toml`.

Promises that no such number stands in code; that the national floor lies under every profile (`Rule.value` is the
stricter, `Rule.own` and `Rule.floor` what each says, with its row); and that a profile with an unknown key, a wrong
value, an unknown word in a form or an example that does not come true is refused with file and line.
"""

# ruff: noqa: RUF009  (`_section` is dataclasses.field)

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import date
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from congvu.base.failure import Refused
from congvu.directory import addresses, profile_naming, rules
from congvu.directory.forms import Naming
from congvu.directory.people import Kind
from congvu.directory.profile_file import MAX_FILE, WORD, ProfileFile
from congvu.directory.profile_naming import Example
from congvu.directory.rules import Cited, Days, Key, Period, Rule, Size

FLOOR = "national_floor_2026"


def _silent(kind: Any) -> Any:
    """A section of which no text says anything."""
    return kind(**{each.name: Rule(each.name) for each in fields(kind)})


def _section(kind: Any) -> Any:
    return field(default_factory=partial(_silent, kind))


@dataclass(frozen=True, slots=True)
class Profile:
    """The rules of one province with the national floor under them; a section for each table of the file, see `rules`.

    Besides: `quota`: bytes of a new mailbox by what holds it; 0 means none. `share_with_anyone`: may a mailbox be
    opened to everybody at once? `one_seen`: kinds of mailboxes in which \\Seen is one for all who open them."""

    name: str
    quota: dict[Kind, int]
    share_with_anyone: bool = False
    one_seen: frozenset[Kind] = frozenset()
    title: str = ""
    text: str = ""  # the document, as it is cited
    since: date = date.min
    until: date = date.max
    naming: Naming = field(default_factory=Naming)
    examples: tuple[Example, ...] = ()
    deadline: rules.Deadline = _section(rules.Deadline)
    lock: rules.Lock = _section(rules.Lock)
    revoke: rules.Revoke = _section(rules.Revoke)
    address: rules.Address = _section(rules.Address)
    quotas: rules.Quota = _section(rules.Quota)
    attachments: rules.Attachments = _section(rules.Attachments)
    password: rules.Password = _section(rules.Password)
    sign_in: rules.SignIn = _section(rules.SignIn)
    retention: rules.Retention = _section(rules.Retention)
    report: rules.Report = _section(rules.Report)
    agency: rules.Agency = _section(rules.Agency)
    use: rules.Use = _section(rules.Use)
    sharing: rules.Sharing = _section(rules.Sharing)
    standards: rules.Standards = _section(rules.Standards)

    def every(self) -> Iterator[tuple[str, Key, Rule[Any]]]:
        """Every key with what is known of it, in the order of the file: `("lock.inactive", …, …)`."""
        for word, kind in rules.SECTIONS.items():
            section = getattr(self, _attribute(word))
            for each in fields(kind):
                yield f"{word}.{each.name}", each.metadata["key"], getattr(section, each.name)

    def rule(self, key: str) -> Rule[Any]:
        """One key by its name, as consoles show it. Raises KeyError."""
        section, _, name = key.partition(".")
        try:
            found: Rule[Any] = getattr(getattr(self, _attribute(section)), name)
        except AttributeError:
            raise KeyError(key) from None
        return found


def _attribute(section: str) -> str:
    return "quotas" if section == "quota" else section  # `quota` are the bytes by kind


# ---- finding files


def folder() -> Path:
    """Inside the installed package, or beside it in a checkout."""
    package = Path(str(files("congvu")))
    inside = package / "profiles"
    return inside if inside.is_dir() else package.parent / "profiles"


def names() -> list[str]:
    return sorted(path.stem for path in folder().glob("*.toml"))


@cache
def load(name: str) -> Profile:
    """A profile by its name, or one of one's own by the path of its file. Raises `Refused`: no-such-profile,
    profile-…"""
    if name in names():
        return load_file(folder() / f"{name}.toml")
    if "/" in name or name.endswith(".toml"):
        return load_file(Path(name))
    raise Refused("no-such-profile", name=name, known=", ".join(names()))


def load_file(path: Path) -> Profile:
    """A profile by its file. Raises `Refused`: no-such-profile, profile-…"""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError:
        raise Refused("no-such-profile", name=path, known=", ".join(names())) from None
    return parse(data, path.name)


@cache
def _floor() -> tuple[ProfileFile, dict[str, dict[str, Cited[Any]]]]:
    path = folder() / f"{FLOOR}.toml"
    file = ProfileFile.read(path.read_bytes(), path.name)
    return file, {word: _cited_section(file, word, kind) for word, kind in rules.SECTIONS.items()}


# ---- reading


def _cited_section(file: ProfileFile, word: str, kind: type) -> dict[str, Cited[Any]]:
    table = file.at([word], dict, {})
    known = [each.name for each in fields(kind)]
    file.known([word], table, known)
    hints = get_type_hints(kind)
    metadata = {each.name: each.metadata["key"] for each in fields(kind)}
    return {key: _cited(file, [word, key], get_args(hints[key])[0], metadata[key]) for key in table}


def _cited(file: ProfileFile, path: list[str | int], kind: Any, key: Key) -> Cited[Any]:
    """`{ value = …, row = "4.7", source = "ĐT Đ9.3a" }`"""
    table = file.at(path, dict)
    file.known(path, table, ("value", "row", "source", "only_if_silent"))
    if "value" not in table:
        raise Refused("profile-missing", place=file.place(path), key=f"{path[-1]}.value")
    value = _value(file, path, kind, key, table["value"])
    silent = file.at([*path, "only_if_silent"], bool, False)
    return Cited(value, file.row([*path, "row"]), file.at([*path, "source"], str), silent)


def _value(file: ProfileFile, path: list[str | int], kind: Any, key: Key, found: object) -> Any:
    if get_origin(kind) is tuple:
        if not isinstance(found, list) or len(found) > 100:
            raise file.wrong(path, "[ … ]", found)
        inner = get_args(kind)[0]
        return tuple(_value(file, path, inner, key, each) for each in found)
    if kind is bool or kind is int:
        if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
            raise file.wrong(path, WORD[kind], found)
        if kind is int and not key.low <= found <= key.high:
            raise file.wrong(path, f"{key.low}–{key.high}", found)
        return found
    if kind is Days:
        if not isinstance(found, list) or not found or not all(map(_is_day, found)):
            raise file.wrong(path, '["12-15"]', found)
        return Days(sorted(found))
    if not isinstance(found, str) or not found or not found.isprintable() or len(found) > 300:
        raise file.wrong(path, '"…"', found)
    if kind in (Period, Size):
        read = kind.read(found)
        if read is None:
            raise file.wrong(path, '"45 days", "6 months", "12 hours"' if kind is Period else '"500 MB", "2 GB"', found)
        return read
    if key.words and found not in key.words:
        raise file.wrong(path, ", ".join(key.words), found)
    return Kind(found) if kind is Kind else found


def _is_day(found: object) -> bool:
    if not isinstance(found, str) or not re.fullmatch(r"\d\d-\d\d", found):
        return False
    try:
        return bool(date.fromisoformat(f"2024-{found}"))
    except ValueError:
        return False


_TABLES = ("profile", *rules.SECTIONS, "naming", "examples")


def parse(data: bytes, name: str) -> Profile:
    """A profile from its bytes; `name` is how the file is called in messages. Raises `Refused`: profile-…"""
    file = ProfileFile.read(data, name)
    file.known([], file.table, _TABLES)
    file.known(["profile"], file.at(["profile"], dict), ("title", "text", "from", "until", "domains", "row"))
    file.row(["profile", "row"])
    own = {word: _cited_section(file, word, kind) for word, kind in rules.SECTIONS.items()}
    is_floor = name == f"{FLOOR}.toml"
    floor_file, floor = (file, own) if is_floor else _floor()
    sections = {
        _attribute(word): _combined(file, word, kind, {} if is_floor else own[word], floor[word])
        for word, kind in rules.SECTIONS.items()
    }
    domains = tuple(file.words(["profile", "domains"]))
    for n, domain in enumerate(domains):
        if not addresses.is_domain(domain) or domain != addresses.domain_of(f"a@{domain}"):
            raise file.wrong(["profile", "domains", n], "angiang.gov.vn", domain)
    quotas, sharing = sections["quotas"], sections["sharing"]
    tried = profile_naming.examples(file)
    profile = Profile(
        Path(name).stem,
        {kind: int(getattr(quotas, kind.value).value) for kind in Kind},
        sharing.anyone.value,
        frozenset(sharing.one_seen.value),
        file.at(["profile", "title"], str),
        file.at(["profile", "text"], str),
        file.at(["profile", "from"], date, date.min),
        file.at(["profile", "until"], date, date.max),
        profile_naming.compiled(_chain(file, floor_file), domains),
        tuple(example for _, example in tried),
        **sections,
    )
    for path, example in tried:
        profile_naming.try_out(file, path, profile, example)
    return profile


def _chain(file: ProfileFile, floor: ProfileFile) -> list[ProfileFile]:
    """Where forms are looked for: the file, the profile it is like, the national floor."""
    if file is floor:
        return [file]
    like = file.at(["naming", "like"], str, "") if "like" in file.at(["naming"], dict, {}) else ""
    if not like:
        return [file, floor]
    if like not in names():
        raise file.wrong(["naming", "like"], ", ".join(names()), like)
    path = folder() / f"{like}.toml"
    return [file, ProfileFile.read(path.read_bytes(), path.name), floor]


def _combined(
    file: ProfileFile, word: str, kind: type, own: Mapping[str, Cited[Any]], floor: Mapping[str, Cited[Any]]
) -> Any:
    made = {}
    for each in fields(kind):
        key: Key = each.metadata["key"]
        rule = rules.combine(f"{word}.{each.name}", key.stricter, own.get(each.name), floor.get(each.name))
        if rule.applied is None and not key.silent:
            raise Refused("profile-missing", place=file.place([word, each.name]), key=each.name)
        made[each.name] = rule
    return kind(**made)
