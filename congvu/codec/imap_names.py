"""Mailbox names on the wire: modified UTF-7 (rfc3501 5.1.3) both ways, and the patterns of LIST.

Pure and linear in time: no pattern and no name, however made, costs more than its length.
"""

import re
from base64 import b64decode, b64encode
from binascii import Error

LONGEST = 1000  # characters of a name that anybody may have: a pattern that asks for more matches nothing

_SHIFTED = re.compile(r"&([^&-]*)-")  # an "&" within would make a row of them cost the square of its length
_OUTSIDE = re.compile(r"[^\x20-\x7e]+")


def encode_utf7(name: str) -> str:
    """Printable ASCII as it is, "&" as "&-", runs of anything else as base64 of UTF-16 with "," for "/"."""

    def shifted(run: re.Match[str]) -> str:
        packed = b64encode(run.group().encode("utf-16-be", "surrogatepass")).rstrip(b"=").replace(b"/", b",")
        return f"&{packed.decode()}-"

    return _OUTSIDE.sub(shifted, name.replace("&", "&-"))


def decode_utf7(name: str) -> str:
    """The inverse, forgiving: what is no modified UTF-7 ("Q&A") stands for itself, and UTF-8 passes through."""

    def plain(run: re.Match[str]) -> str:
        packed = run.group(1)
        if not packed:
            return "&"
        try:
            raw = b64decode(packed.replace(",", "/") + "=" * (-len(packed) % 4), validate=True)
            return raw.decode("utf-16-be")
        except (Error, ValueError):
            return run.group()

    return _SHIFTED.sub(plain, name)


class Pattern:
    """A LIST pattern: "*" matches anything, "%" anything but the separator (rfc9051 6.3.9).

    Matches by a set of positions kept as the bits of one integer: one step a character, no backtracking.
    """

    __slots__ = ("_end", "_least", "_literal", "_percent", "_star")

    def __init__(self, pattern: str) -> None:
        # Neighbouring wildcards are one, so that stepping past a wildcard is a single shift.
        pattern = re.sub(r"[*%]*\*[*%]*|%+", lambda run: "*" if "*" in run.group() else "%", pattern)
        if pattern[:5].isascii() and pattern[:5].upper() == "INBOX" and pattern[5:6] in ("", "/", "*", "%"):
            pattern = "INBOX" + pattern[5:]
        self._literal: dict[str, int] = {}
        self._star = self._percent = 0
        # A quarter of a million letters between wildcards would be an integer of as many bits for each step.
        self._least = len(pattern) - pattern.count("*") - pattern.count("%")
        if self._least > LONGEST:
            pattern = ""
        for at, c in enumerate(pattern):
            if c == "*":
                self._star |= 1 << at
            elif c == "%":
                self._percent |= 1 << at
            else:
                self._literal[c] = self._literal.get(c, 0) | 1 << at
        self._end = 1 << len(pattern)

    def matches(self, name: str) -> bool:
        if len(name) < self._least:
            return False
        star, percent, literal = self._star, self._percent, self._literal
        wild = star | percent
        states = 1 | (1 & wild) << 1
        for c in name:
            stay = star if c == "/" else wild
            states = (states & literal.get(c, 0)) << 1 | states & stay
            states |= (states & wild) << 1
            if not states:
                return False
        return bool(states & self._end)
