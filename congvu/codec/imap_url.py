"""IMAP URLs (RFC 5092) of a message or a part of it, as CATENATE names them (RFC 4469). Pure."""

import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from congvu.codec.imap import Section
from congvu.codec.imap_parse import section
from congvu.codec.imap_words import Bad, Words

_URL = re.compile(
    r"(?:imap://(?:(?P<user>[^@/;]*)(?:;AUTH=[^@/]*)?@)?(?P<host>[^@/:]+|\[[0-9a-f:.]+\])(?::\d{1,5})?)?"
    r"(?:/(?P<mailbox>[^;?#]+?)(?:;UIDVALIDITY=(?P<validity>[1-9]\d{0,9}))?/)?"
    r";UID=(?P<uid>[1-9]\d{0,9})"
    r"(?:/?;SECTION=(?P<section>[^;?#]+?))?"
    r"(?:/?;PARTIAL=(?P<start>\d{1,10})(?:\.(?P<count>[1-9]\d{0,9}))?)?",
    re.IGNORECASE,
)
_BAD_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class Url:
    """`user`, `host`: None when the URL is relative. `mailbox`: None for the selected one. `partial`: start and count
    (None: up to the end)."""

    user: str | None
    host: str | None
    mailbox: str | None
    uid_validity: int | None
    uid: int
    section: Section
    partial: tuple[int, int | None] | None


def parse(text: str) -> Url:
    """Raises `ValueError` for what is no IMAP URL of a message; URLs with access control (RFC 4467) are none here."""
    found = _URL.fullmatch(text)
    if found is None or _BAD_ESCAPE.search(text):
        raise ValueError("not an IMAP URL of a message")
    user, host, mailbox = found["user"], found["host"], found["mailbox"]
    if host is not None and mailbox is None:
        raise ValueError("no mailbox")
    validity, uid = int(found["validity"] or 0), int(found["uid"])
    if max(uid, validity) >= 2**32:
        raise ValueError("number out of range")
    part = Section()
    if found["section"] is not None:
        try:
            words = Words(b"[%b]" % unquote_to_bytes(found["section"]))
            part = section(words, binary=False)
            words.end()
        except Bad as error:
            raise ValueError("no such section") from error
    partial = None
    if found["start"] is not None:
        partial = int(found["start"]), int(found["count"]) if found["count"] else None
    return Url(
        None if user is None else _text(user),
        host,
        None if mailbox is None else _text(mailbox),
        validity or None,
        uid,
        part,
        partial,
    )


def _text(escaped: str) -> str:
    text = unicodedata.normalize("NFC", unquote_to_bytes(escaped).decode())  # UnicodeDecodeError is a ValueError
    if "\0" in text:
        raise ValueError("NUL in a name")
    return text
