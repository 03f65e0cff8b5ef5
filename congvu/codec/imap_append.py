"""APPEND and REPLACE while they come: what to do with each literal, and the messages that the command names.

APPEND of RFC 9051 with several messages (RFC 3502), binary literals (RFC 3516), UTF8 literals (RFC 6855) and messages
put together of texts and URLs (RFC 4469); REPLACE (RFC 8508). A generator that reads straight: it yields what it has
found or needs and is sent what came. Pure; its only errors are `Bad` and what derives from it.
"""

import re
from collections.abc import Generator
from dataclasses import dataclass

from congvu.codec.imap_words import Literal, TooBig, Words, literal_at_end

MAX_MESSAGES = 1_000  # of one command, which is one transaction: some tens of milliseconds of the one writer
MAX_PARTS = 500  # of one CATENATE; each URL costs a look into the store
MAX_URL = 4_000  # characters: a mailbox's longest name, each byte escaped, and a section


@dataclass(frozen=True, slots=True)
class Held:
    """A literal that is part of the command: send its bytes and the line that goes on behind it."""

    literal: Literal


@dataclass(frozen=True, slots=True)
class Target:
    """Where the messages go. `replaced`: REPLACE's message as written, 0 for "*"; None for APPEND."""

    mailbox: str
    replaced: int | None


@dataclass(frozen=True, slots=True)
class Message:
    """A message begins. `parts`: its bytes come by CATENATE, else by one `Text`."""

    flags: int
    keywords: tuple[str, ...]
    received: int | None
    parts: bool


@dataclass(frozen=True, slots=True)
class Text:
    """A literal that holds bytes of the message: stream it, then send the line that goes on behind it."""

    literal: Literal


@dataclass(frozen=True, slots=True)
class Url:
    """An IMAP URL whose bytes are the next part of the message."""

    text: str


@dataclass(frozen=True, slots=True)
class Complete:
    """The message that began last has all its bytes."""


Event = Held | Target | Message | Text | Url | Complete
Reading = Generator[Event, bytes, None]

_NUMBER = re.compile(rb"\*|[1-9]\d{0,9}")


def read(line: bytes, at: int, utf8: bool, replacing: bool) -> Reading:
    """Reads a command whose arguments begin at `at` of its first line. Ends when the command is complete.

    Whoever drives it sends b"" where nothing is asked for, and drops it on an error.
    """
    w = Words(line, utf8, at)
    w.space()
    replaced = None
    if replacing:
        found = w.take(_NUMBER)
        text = found[0] if found else w.bad("message number")
        replaced = 0 if text == b"*" else int(text)
        if replaced >= 2**32:
            w.bad("message number")
        w.space()
    yield from _whole(w)
    yield Target(w.mailbox(), replaced)
    count = 0
    while True:
        count += 1
        if count > (1 if replacing else MAX_MESSAGES):
            raise TooBig("too many messages")
        w.space()
        yield from _message(w)
        yield Complete()
        if not w.data[w.at :].strip(b" "):  # sloppy clients send spaces at the end
            return


def _message(w: Words) -> Reading:
    flags, received = 0, None
    keywords: tuple[str, ...] = ()
    if w.peek() == b"(":
        flags, keywords = w.flags()
        w.space()
    if w.peek() == b'"':
        received = w.date_time()
        w.space()
    parts = _word(w, b"CATENATE (")
    yield Message(flags, keywords, received, parts)
    if not parts:
        yield from _text(w)
        return
    count = 0
    while True:
        count += 1
        if count > MAX_PARTS:
            raise TooBig("too many parts")
        if _word(w, b"URL "):
            yield from _whole(w)
            url = w.astring()
            if len(url) > MAX_URL or not url.isascii():
                w.bad("URL")
            yield Url(url.decode())
        elif _word(w, b"TEXT ") or w.data[w.at : w.at + 6].upper() == b"UTF8 (":
            yield from _text(w)
        else:
            w.bad("TEXT or URL")
        if w.skip(b")"):
            return
        w.space()


def _text(w: Words) -> Reading:
    """A message's literal, or one in UTF8 (…)."""
    utf8 = _word(w, b"UTF8 (")
    literal = literal_at_end(w.data)
    if literal is None or literal.start != w.at:
        w.bad("literal")
    w.data = yield Text(literal)
    w.at = 0
    if utf8:
        w.expect(b")")


def _whole(w: Words) -> Reading:
    """Sees to it that an astring that begins here is there whole."""
    literal = literal_at_end(w.data)
    if literal is not None and literal.start == w.at:
        more = yield Held(literal)
        w.data = b"%b\r\n%b" % (w.data[w.at :], more)
        w.at = 0


def _word(w: Words, word: bytes) -> bool:
    if w.data[w.at : w.at + len(word)].upper() != word:
        return False
    w.at += len(word)
    return True
