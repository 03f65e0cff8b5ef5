"""The base subject (rfc5256 2.1): what letters of one conversation have in common, whatever "Re:" and "[list]" stand
around it.

Pure; raises nothing, whatever the text. The time is linear in its length but for "[fwd:" nested into each other.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BaseSubject:
    """`text`: without what was added to it. `reply`: something said that it answers or passes on another letter."""

    text: str
    reply: bool


_BLOB = r"\[[^\[\]]*+\]\s*+"
_LEADER = re.compile(rf"(?:{_BLOB})*+(?:re|fwd?)\s*+(?:{_BLOB})?+:\s*+", re.IGNORECASE)
_LIST = re.compile(_BLOB)
_FIRST = frozenset("[rRfF")  # whatever is taken off a subject's beginning begins so


def base_subject(subject: str) -> BaseSubject:
    text = " ".join(subject.split())
    if not text or (text[0] not in _FIRST and text[-1] != ")"):
        return BaseSubject(text, reply=False)
    reply = False
    while True:
        text, passed_on = _without_trailers(text)
        text, answered = _without_leaders(text)
        reply |= passed_on or answered
        if not (text[:5].lower() == "[fwd:" and text.endswith("]")):  # rfc5256 2.1 step 6
            return BaseSubject(text, reply)
        text = text[5:-1].strip()
        reply = True


def _without_trailers(text: str) -> tuple[str, bool]:
    """Step 2: "(fwd)" at the end."""
    passed_on = False
    while text[-5:].lower() == "(fwd)":
        text = text[:-5].rstrip()
        passed_on = True
    return text, passed_on


def _without_leaders(text: str) -> tuple[str, bool]:
    """Steps 3 to 5: "Re:", "Fwd [x]:" and, unless nothing were left, "[list]"."""
    at = 0
    answered = False
    while found := _LEADER.match(text, at):
        at = found.end()
        answered = True
    # No "Re:" stands behind these: it would have been taken together with them.
    while (found := _LIST.match(text, at)) and found.end() < len(text):
        at = found.end()
    return text[at:], answered
