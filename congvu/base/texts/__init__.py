"""Sentences for people, by code: Vietnamese first, English beside it, kept in the *.toml catalogues of this folder.

Promises that `say` always returns one printable line and never fails: an unknown code is said as itself and logged.
Facts come from strangers as often as not, so they are cut short and freed of control characters. Must never be a
template language: a catalogue's sentence knows `{name}` and nothing else.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from string import Formatter

from congvu.base.observe import log, printable
from congvu.base.vietnamese import unmarked


@dataclass(frozen=True, slots=True)
class Sentence:
    """One entry: `[no-such-mailbox]` with `vi` and `en`, each a plain sentence without a final full stop."""

    vi: str
    en: str


@cache
def catalogue() -> Mapping[str, Sentence]:
    """All sentences of all rooms. A code that stands twice keeps its first sentence (a test refuses such a pair)."""
    found: dict[str, Sentence] = {}
    for file in sorted(files(__name__).iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".toml"):
            for code, entry in tomllib.loads(file.read_text("utf-8")).items():
                found.setdefault(code, Sentence(entry["vi"], entry["en"]))
    return found


def say(code: str, /, utf8: bool = True, **facts: object) -> str:
    """The sentence of a code. `utf8`: "Vietnamese / English"; otherwise English in ASCII."""
    sentence = catalogue().get(code)
    if sentence is None:
        return _unknown(code)
    clean = _clean(facts)
    if not utf8:
        return _ascii(_fill(sentence.en, clean))
    return f"{_fill(sentence.vi, clean)} / {_fill(sentence.en, clean)}"


def say_in(language: str, code: str, /, utf8: bool = True, **facts: object) -> str:
    """The sentence of a code in one language, vi or en; without `utf8` in ASCII, Vietnamese without its marks."""
    sentence = catalogue().get(code)
    if sentence is None:
        return _unknown(code)
    text = _fill(sentence.vi if language == "vi" else sentence.en, _clean(facts))
    return text if utf8 else _ascii(unmarked(text))


def _unknown(code: str) -> str:
    log.warning("no sentence for the code %s", printable(code, 60))
    return _ascii(printable(code, 60))


def _clean(facts: Mapping[str, object]) -> dict[str, str]:
    return {name: printable(str(fact), 300)[:300] for name, fact in facts.items()}


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode("ascii")


def _fill(sentence: str, facts: Mapping[str, str]) -> str:
    """Each `{name}` becomes its fact, or "?" when the caller gave none."""
    pieces: list[str] = []
    for text, name, _, _ in Formatter().parse(sentence):
        pieces.append(text)
        if name is not None:
            pieces.append(facts.get(name, "?"))
    return "".join(pieces)
