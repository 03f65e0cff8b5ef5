"""IMAP access control on the wire (RFC 4314, RFC 8440): rights as letters, the arguments of its commands.

Rights are a string in the order of `ALL`, each letter once. "c" and "d" are older words (RFC 2086) for several of them:
they are read as what they stand for and shown beside it, never kept. Pure; the only error is `Bad`.
"""

from dataclasses import dataclass
from enum import Enum

from congvu.codec.imap_words import Bad, Words

ALL = "lrswipkxtea"  # rfc4314 2.1; all that is not in RFC 2086 stands in NEW
NEW = "kxte"
_OLD = {"c": "kx", "d": "te"}  # rfc4314 2.1.1: of its two readings the one in which "d" deletes letters only
MAX_RIGHTS = 100  # letters of one argument, repeated or not
MAX_IDENTIFIER = 320  # characters: of the longest address


class Change(Enum):
    """What SETACL does with the rights it names (rfc4314 3.1)."""

    SET = ""
    ADD = "+"
    REMOVE = "-"


@dataclass(frozen=True, slots=True)
class Identified:
    """DELETEACL and LISTRIGHTS."""

    mailbox: str
    identifier: str


@dataclass(frozen=True, slots=True)
class SetAcl:
    """SETACL. `rights` as in `ALL`."""

    mailbox: str
    identifier: str
    change: Change
    rights: str


def rights_of(text: str) -> str:
    """The rights that letters stand for. What is no right is BAD, never passed over (rfc4314 3.1)."""
    if len(text) > MAX_RIGHTS or not set(text) <= set(ALL) | set(_OLD):
        raise Bad("rights expected: letters of lrswipkxteacd")
    named = {letter for each in text for letter in _OLD.get(each, each)}
    return ordered(named)


def ordered(rights: "set[str] | str") -> str:
    """Each right once, in the order of `ALL`."""
    return "".join(letter for letter in ALL if letter in rights)


def changed(have: str, change: Change, rights: str) -> str:
    """The rights after a SETACL."""
    match change:
        case Change.SET:
            return rights
        case Change.ADD:
            return ordered({*have, *rights})
        case Change.REMOVE:
            return ordered({*have} - {*rights})


def shown(rights: str) -> str:
    """Rights as ACL and MYRIGHTS answer them: with "c" and "d" where one of theirs is there (rfc4314 2.1.1)."""
    return rights + "".join(old for old, members in _OLD.items() if set(members) & set(rights))


def identified(w: Words) -> Identified:
    w.space()
    mailbox = w.mailbox()
    w.space()
    identifier = _identifier(w)
    w.end()
    return Identified(mailbox, identifier)


def set_acl(w: Words) -> SetAcl:
    w.space()
    mailbox = w.mailbox()
    w.space()
    identifier = _identifier(w)
    w.space()
    text = w.text()
    w.end()
    change = Change(text[:1]) if text[:1] in {"+", "-"} else Change.SET
    return SetAcl(mailbox, identifier, change, rights_of(text.removeprefix(change.value)))


def _identifier(w: Words) -> str:
    text = w.text()
    if not text or len(text) > MAX_IDENTIFIER or not text.isprintable():
        raise Bad("identifier expected")
    return text
