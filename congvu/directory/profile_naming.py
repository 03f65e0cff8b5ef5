"""The naming rule of a profile: its tables compiled, its examples tried.

Promises that every form, word and example was looked at before the first address is proposed by it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from congvu.base.failure import Refused
from congvu.directory import forms, naming
from congvu.directory.forms import KINDS, PERSON, VOCABULARY, Form, Naming, Phrase, Token
from congvu.directory.profile_file import ProfileFile

if TYPE_CHECKING:
    from congvu.directory.profile import Profile

Chain = Sequence[ProfileFile]  # the profile, the one it is like, the national floor: the first that says something

_KEYS = ("like", "full_if_syllables", "first_number", "digits", "dropped", "dropped_at_end", "shortened", "type_words",
         "reserved", "exceptions", "forms")  # fmt: skip
_FORM_KEYS = ("form", "row", "row_if_abbreviated", "why", "if_taken_by", "if_parent", "if_name_begins", "if_number",
              "from", "until")  # fmt: skip
_EXAMPLE_KEYS = ("kind", "name", "parent", "parent_kind", "district", "birth", "identity", "domain", "on", "given",
                 "taken", "gives", "clause", "shows", "refused")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Example:
    """A case of a profile's own. `taken`: addresses that are held, with the kind of what holds them; `shows`: the rows
    that it is a case of; `gives`: the local part or the address, "" when `refused` names the refusal."""

    subject: naming.Subject
    gives: str
    clause: str
    shows: tuple[str, ...]
    taken: Mapping[str, str]
    refused: str


def compiled(chain: Chain, domains: tuple[str, ...]) -> Naming:
    """The whole rule. Raises `Refused`: profile-…"""
    file = chain[0]
    file.known(["naming"], file.at(["naming"], dict, {}), _KEYS)
    words = Naming(shortened=_shortened(chain), dropped=frozenset(_phrases(chain, ["naming", "dropped"], Naming())))
    type_words: dict[str, list[Phrase]] = {}
    labels: dict[str, str] = {}
    for kind in KINDS:
        if said := _where(chain, ["naming", "type_words", kind]):
            path = ["naming", "type_words", kind]
            labels[kind] = said.words(path)[0].lower()
            type_words[kind] = _phrases([said], path, words)
    made: dict[str, tuple[Form, ...]] = {}
    for kind in KINDS:
        if said := _where(chain, ["naming", "forms", kind]):
            count = len(said.at(["naming", "forms", kind], list))
            made[kind] = tuple(_form(said, ["naming", "forms", kind, n], kind, words) for n in range(count))
    for each in chain:
        for table in ("type_words", "forms"):
            each.known(["naming", table], each.at(["naming", table], dict, {}), KINDS)
    full = _where(chain, ["naming", "full_if_syllables"]) or file
    return Naming(
        forms=made,
        full_if_syllables=_number(chain, "full_if_syllables", 0, 20),
        full_row=full.row(["naming", "full_if_syllables", "row"]),
        dropped=words.dropped,
        shortened=words.shortened,
        dropped_at_end=tuple(sorted(_phrases(chain, ["naming", "dropped_at_end"], words), key=len, reverse=True)),
        type_words={kind: tuple(sorted(some, key=len, reverse=True)) for kind, some in type_words.items()},
        type_starts=frozenset(phrase.texts[0] for some in type_words.values() for phrase in some),
        type_initials={kind: _initials(some[0], words) for kind, some in type_words.items() if some},
        prefixes={kind: some[0].local.partition("{")[0] for kind, some in made.items() if some and kind != PERSON},
        labels=labels,
        reserved=frozenset(word for each in chain for word in each.words(["naming", "reserved"])),
        exceptions=tuple(_exceptions(chain[:-1] or chain, words)),
        first_number=_number(chain, "first_number", 0, 100),
        digits=_number(chain, "digits", 1, 6),
        domains=domains,
    )


def _where(chain: Chain, path: Sequence[str]) -> ProfileFile | None:
    """The first file that says something there."""
    for each in chain:
        found: Any = each.table
        for part in path:
            found = found.get(part) if isinstance(found, dict) else None
        if found is not None:
            return each
    return None


def _number(chain: Chain, key: str, low: int, high: int) -> int:
    path = ["naming", key]
    file = _where(chain, path) or chain[0]
    file.known(path, file.at(path, dict), ("value", "row", "source"))
    file.row([*path, "row"])
    file.at([*path, "source"], str)
    found = file.at([*path, "value"], int)
    if not low <= found <= high:
        raise file.wrong(path, f"{low}–{high}", found)
    return found


def _tokens(file: ProfileFile, path: Sequence[str | int], text: str) -> list[Token]:
    try:
        found = forms.tokens(text)
    except Refused:
        found = []
    if not found:
        raise file.wrong(path, "chữ / words", text)
    return found


def _phrases(chain: Chain, path: list[str], words: Naming) -> list[Phrase]:
    """Words of a list, as they stand in a name after it was shortened."""
    file = _where(chain, path) or chain[0]
    found = []
    for n, text in enumerate(file.words(path)):
        some = words.shorten(_tokens(file, [*path, n], text), text.isascii())
        if not some:
            raise file.wrong([*path, n], "chữ / words", text)
        found.append(Phrase.of(some))
    return found


def _shortened(chain: Chain) -> tuple[tuple[Phrase, Token], ...]:
    made: dict[str, tuple[Phrase, Token]] = {}
    for file in reversed(chain):
        path = ["naming", "shortened"]
        for words in file.at(path, dict, {}):
            short = file.at([*path, words], str)
            if not short.isascii() or not short.isalnum() or short != short.lower():
                raise file.wrong([*path, words], '"ubnd"', short)
            made[words] = (Phrase.of(_tokens(file, [*path, words], words)), Token(short, short, True))
    return tuple(sorted(made.values(), key=lambda pair: len(pair[0]), reverse=True))


def _initials(phrase: Phrase, words: Naming) -> str:
    whole = {token.text for _, token in words.shortened}
    return "".join(text if text in whole else text[0] for text in phrase.texts)


def _form(file: ProfileFile, path: list[str | int], kind: str, words: Naming) -> Form:
    file.known(path, file.at(path, dict), _FORM_KEYS)
    template = file.at([*path, "form"], str)
    try:
        used = forms.words_of(template, kind == PERSON)
    except Refused as refused:
        known = " ".join(word for word, each in VOCABULARY.items() if each.person in (None, kind == PERSON))
        raise Refused("profile-form", place=file.place([*path, "form"]), known=known, **refused.facts) from None
    local, _, domain = template.partition("@")
    row = file.row([*path, "row"])
    begins = [*path, "if_name_begins"]
    return Form(
        local,
        domain,
        frozenset(word for word in used if not VOCABULARY[word].may_be_empty and word != "stt"),
        row,
        file.at([*path, "why"], str),
        file.row([*path, "row_if_abbreviated"], row),
        _kinds(file, [*path, "if_taken_by"]),
        _kinds(file, [*path, "if_parent"]),
        tuple(Phrase.of(words.shorten(_tokens(file, begins, text), text.isascii())) for text in file.words(begins)),
        file.at([*path, "if_number"], bool, False),
        file.at([*path, "from"], date, date.min),
        file.at([*path, "until"], date, date.max),
        numbered="stt" in used,
        of_name=any(VOCABULARY[word].of_name for word in used),
        shortens=kind != PERSON and "ten" in used,
    )


def _kinds(file: ProfileFile, path: list[str | int]) -> frozenset[str]:
    found = file.words(path)
    for n, word in enumerate(found):
        if word not in KINDS:
            raise file.wrong([*path, n], " ".join(KINDS), word)
    return frozenset(found)


def _exceptions(chain: Chain, words: Naming) -> list[tuple[str, Phrase, Form]]:
    found = []
    for file in chain:
        for n in range(len(file.at(["naming", "exceptions"], list, []))):
            path: list[str | int] = ["naming", "exceptions", n]
            file.known(path, file.at(path, dict), ("kind", "name", "local", "row", "why"))
            kind = file.at([*path, "kind"], str)
            if kind not in KINDS or kind == PERSON:
                raise file.wrong([*path, "kind"], " ".join(KINDS[:-1]), kind)
            name, local = file.at([*path, "name"], str), file.at([*path, "local"], str)
            if not naming.is_local(local):
                raise file.wrong([*path, "local"], "a–z 0–9 .", local)
            phrase = Phrase.of(words.shorten(_tokens(file, [*path, "name"], name), name.isascii()))
            form = Form(local, "", frozenset(), file.row([*path, "row"]), file.at([*path, "why"], str))
            found.append((kind, phrase, form))
    return found


# ---- examples


def examples(file: ProfileFile) -> list[tuple[list[str | int], Example]]:
    """Every example with its place."""
    found = []
    for group in file.at(["examples"], dict, {}):
        for n in range(len(file.at(["examples", group], list))):
            path: list[str | int] = ["examples", group, n]
            found.append((path, _example(file, path)))
    return found


def _example(file: ProfileFile, path: list[str | int]) -> Example:
    file.known(path, file.at(path, dict), _EXAMPLE_KEYS)
    texts = {key: file.at([*path, key], str) for key in _TEXTS if key in file.at(path, dict)}
    for key in ("birth", "on"):
        if key in file.at(path, dict):
            file.at([*path, key], date)
    taken = file.at([*path, "taken"], dict, {})
    for key, kind in taken.items():
        if kind not in (*KINDS, naming.RESTING):
            raise file.wrong([*path, "taken"], " ".join(KINDS), kind)
        if not isinstance(key, str):
            raise file.wrong([*path, "taken"], "a–z 0–9 .", key)
    shows = file.words([*path, "shows"])
    for n in range(len(shows)):
        file.row([*path, "shows", n])
    table = file.at(path, dict)
    subject = naming.Subject(
        kind=file.at([*path, "kind"], str),
        name=file.at([*path, "name"], str),
        birth=table.get("birth"),
        on=table.get("on"),
        **{key: texts[key] for key in _TEXTS if key in texts and key not in ("gives", "clause", "refused")},
    )
    gives, refused = texts.get("gives", ""), texts.get("refused", "")
    if bool(gives) == bool(refused):
        raise Refused("profile-missing", place=file.place(path), key="gives")
    clause = file.row([*path, "clause"]) if "clause" in table else ""
    return Example(subject, gives, clause, tuple(shows), taken, refused)


_TEXTS = ("parent", "parent_kind", "district", "identity", "domain", "given", "gives", "clause", "refused")


def try_out(file: ProfileFile, path: list[str | int], profile: "Profile", example: Example) -> None:
    """Raises `Refused("profile-example")` when the forms give something else."""
    subject = example.subject
    domain = subject.domain or (profile.naming.domains or ("",))[0]
    held = {at if "@" in at else f"{at}@{domain}": kind for at, kind in example.taken.items()}
    clause = ""
    try:
        first = naming.propose(profile, subject, (lambda _: held) if held else None)[0]
        found, clause = first.address, first.clause
        if "@" not in example.gives:
            found = found.removesuffix(f"@{domain}")
    except Refused as refused:
        found = refused.code
    wanted = example.gives or example.refused
    if found != wanted or (example.clause and clause != example.clause):
        raise Refused(
            "profile-example",
            place=file.place(path),
            name=subject.name,
            wanted=f"{wanted} {example.clause}".strip(),
            found=f"{found} {clause}".strip(),
        )
