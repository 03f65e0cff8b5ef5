"""IMAP input, upper half: the arguments of each command (RFC 3501, RFC 9051 section 9) as typed values.

One function a form of arguments; `servers.imap.commands` names one in each row. All start after the command's name and
consume everything. SEARCH and its kin stand in `imap_search`. The only error is `Bad`; depth and
number of everything nested are bounded.
"""

import re
from base64 import b64decode
from binascii import Error
from functools import lru_cache

from congvu.codec.imap import (
    Authenticate,
    Compress,
    Copy,
    Create,
    Enable,
    Fetch,
    FetchItem,
    Identity,
    Listing,
    Login,
    Named,
    Nothing,
    Rename,
    Resync,
    Section,
    Select,
    SequenceSet,
    Status,
    Store,
    StoreOp,
    Uids,
)
from congvu.codec.imap_resources import entries
from congvu.codec.imap_words import Bad, TooBig, Words

MAX_ITEMS = 200  # of one FETCH
MAX_FIELDS = 200  # of one HEADER.FIELDS
MAX_PARTS = 100  # numbers of one section: deeper than any letter is kept
MAX_PATTERNS = 50  # of one LIST
MAX_KNOWN = 300  # bytes of FETCH items that are remembered: with 256 of them two megabytes at most


def nothing(w: Words) -> Nothing:
    w.end()
    return Nothing()


def login(w: Words) -> Login:
    w.space()
    name = w.text()
    w.space()
    # A password is compared as typed: only its encoding is checked here, its preparation is the directory's.
    try:
        password = w.astring().decode()
    except UnicodeDecodeError:
        raise Bad("string is not UTF-8") from None
    w.end()
    return Login(name, password)


def authenticate(w: Words) -> Authenticate:
    """With the initial response of SASL-IR (RFC 4959); "=" stands for an empty one."""
    w.space()
    mechanism = w.word()
    initial = None
    if w.skip(b" "):
        text = w.data[w.at :]
        w.at = len(w.data)
        initial = decode_base64(b"" if text == b"=" else text)
    w.end()
    return Authenticate(mechanism, initial)


def decode_base64(text: bytes) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (Error, ValueError):
        raise Bad("base64 expected") from None


def compress(w: Words) -> Compress:
    w.space()
    mechanism = w.word()
    w.end()
    return Compress(mechanism)


def enable(w: Words) -> Enable:
    words: list[str] = []
    while w.skip(b" ") and not w.at_end():
        if len(words) == 50:
            raise TooBig("list too long")
        words.append(w.word())
    w.end()
    if not words:
        w.bad("capability")
    return Enable(tuple(words))


def identity(w: Words) -> Identity:
    """RFC 2971 3.3: at most 30 pairs, fields of 30 and values of 1,024 bytes."""
    w.space()
    pairs: list[tuple[str, str]] = []
    if w.peek() == b"(":
        w.skip(b"(")
        while not w.skip(b")"):
            if pairs:
                w.space()
            field = w.nstring() or ""
            w.space()
            value = w.nstring() or ""
            if len(pairs) == 30 or len(field) > 30 or len(value) > 1024:
                raise TooBig("ID too long")
            pairs.append((field, value))
    elif w.word() != "NIL":
        w.bad("NIL or list")
    w.end()
    return Identity(tuple(pairs))


def select(w: Words) -> Select:
    w.space()
    mailbox = w.mailbox()
    condstore, resync = False, None
    if w.skip(b" ") and not w.at_end():
        w.expect(b"(")
        while True:
            match w.word():
                case "CONDSTORE":
                    condstore = True
                case "QRESYNC" if resync is None:
                    w.space()
                    resync = _resync(w)
                case _:
                    raise Bad("unknown parameter")
            if w.skip(b")"):
                break
            w.space()
    w.end()
    return Select(mailbox, ("CONDSTORE",) if condstore else (), resync)


def _resync(w: Words) -> Resync:
    """rfc7162 3.2.5, 7: `(67890007 20050715194045000 41,43:211 (5000 5010))`."""
    w.expect(b"(")
    validity = w.number()
    w.space()
    modseq = w.number()
    known = None
    match = None
    if w.skip(b" ") and w.peek() != b"(":
        known = _plain_set(w)
        w.skip(b" ")
    if w.skip(b"("):
        numbers = _plain_set(w)
        w.space()
        match = numbers, _plain_set(w)
        w.expect(b")")
    w.expect(b")")
    return Resync(validity, modseq, known, match)


def _plain_set(w: Words) -> SequenceSet:
    """A set without "*" and "$"."""
    found = w.sequence_set()
    if found.saved or any(None in each for each in found.ranges):
        w.bad("numbers")
    return found


def named(w: Words) -> Named:
    w.space()
    mailbox = w.mailbox()
    w.end()
    return Named(mailbox)


def create(w: Words) -> Create:
    w.space()
    mailbox = w.mailbox()
    use: list[str] = []
    if w.skip(b" ") and not w.at_end():
        w.expect(b"(")
        if w.word() != "USE":
            w.bad("USE")
        w.space()
        w.expect(b"(")
        while not w.skip(b")"):
            if use:
                w.space()
            if len(use) == 10:
                raise TooBig("list too long")
            w.expect(b"\\")
            use.append(w.word().lower())
        w.expect(b")")
    w.end()
    return Create(mailbox, tuple(use))


def rename(w: Words) -> Rename:
    w.space()
    old = w.mailbox()
    w.space()
    new = w.mailbox()
    w.end()
    return Rename(old, new)


STATUS_ITEMS = frozenset(
    {"MESSAGES", "RECENT", "UIDNEXT", "UIDVALIDITY", "UNSEEN", "DELETED", "SIZE", "HIGHESTMODSEQ", "MAILBOXID"}
    | {"APPENDLIMIT", "DELETED-STORAGE"}
)
LIST_SELECT = frozenset({"SUBSCRIBED", "REMOTE", "RECURSIVEMATCH", "SPECIAL-USE"})
LIST_RETURN = frozenset({"SUBSCRIBED", "CHILDREN", "SPECIAL-USE", "STATUS", "METADATA", "MYRIGHTS"})


def _status_items(w: Words) -> tuple[str, ...]:
    items = tuple(dict.fromkeys(w.word_list()))
    if not items or not STATUS_ITEMS.issuperset(items):
        raise Bad("unknown STATUS item")
    return items


def status(w: Words) -> Status:
    w.space()
    mailbox = w.mailbox()
    w.space()
    items = _status_items(w)
    w.end()
    return Status(mailbox, items)


def lsub(w: Words) -> Listing:
    w.space()
    reference = w.mailbox()
    w.space()
    pattern = w.pattern()
    w.end()
    return Listing(reference, (pattern,))


def listing(w: Words) -> Listing:
    """rfc9051 6.3.9, with the selection and return options of RFC 5258, 5819 and 6154."""
    w.space()
    chosen: frozenset[str] = frozenset()
    extended = w.peek() == b"("
    if extended:
        chosen = frozenset(w.word_list())
        if not chosen <= LIST_SELECT:
            raise Bad("unknown selection option")
        if chosen and chosen <= {"RECURSIVEMATCH", "REMOTE"} and "RECURSIVEMATCH" in chosen:
            raise Bad("RECURSIVEMATCH needs a selection beside it")
        w.space()
    reference = w.mailbox()
    w.space()
    patterns: list[str] = []
    if w.skip(b"("):
        extended = True
        while not w.skip(b")"):
            if patterns:
                w.space()
            if len(patterns) == MAX_PATTERNS:
                raise TooBig("too many patterns")
            patterns.append(w.pattern())
        if not patterns:
            w.bad("pattern")
    else:
        patterns.append(w.pattern())
    returns: list[str] = []
    items: tuple[str, ...] = ()
    metadata: tuple[str, ...] = ()
    if w.skip(b" ") and not w.at_end():
        extended = True
        if w.word() != "RETURN":
            w.bad("RETURN")
        w.space()
        w.expect(b"(")
        while not w.skip(b")"):
            if returns:
                w.space()
            option = w.word()
            if option not in LIST_RETURN or len(returns) == 20:
                raise Bad("unknown return option")
            if option == "STATUS":
                w.space()
                items = _status_items(w)
            elif option == "METADATA":  # RFC 9590
                w.space()
                metadata = entries(w)
            returns.append(option)
    w.end()
    return Listing(reference, tuple(patterns), chosen, frozenset(returns), items, extended, metadata)


def uids(w: Words) -> Uids:
    w.space()
    found = w.sequence_set()
    w.end()
    return Uids(found)


def copy(w: Words) -> Copy:
    w.space()
    found = w.sequence_set()
    w.space()
    mailbox = w.mailbox()
    w.end()
    return Copy(found, mailbox)


def store(w: Words) -> Store:
    """rfc9051 6.4.6; UNCHANGEDSINCE of rfc7162 3.1.3."""
    w.space()
    found = w.sequence_set()
    w.space()
    unchanged = None
    if w.skip(b"("):
        if w.word() != "UNCHANGEDSINCE":
            w.bad("UNCHANGEDSINCE")
        w.space()
        unchanged = w.number()
        w.expect(b")")
        w.space()
    name, _, silent = w.word().partition(".")
    if name not in {op.value for op in StoreOp} or silent not in {"", "SILENT"}:
        w.bad("FLAGS")
    w.space()
    bits, keywords = w.flags(bare=True)
    w.end()
    return Store(found, StoreOp(name), bool(silent), bits, keywords, unchanged)


# FETCH: a new item without arguments is one word here, and its answer one row of servers/imap/fetch.py.
PLAIN_ITEMS = frozenset(
    {"UID", "FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODY", "BODYSTRUCTURE", "MODSEQ"}
    | {"RFC822", "RFC822.HEADER", "RFC822.TEXT", "EMAILID", "THREADID", "SAVEDATE", "PREVIEW"}
)
MACROS = {
    "FAST": ("FLAGS", "INTERNALDATE", "RFC822.SIZE"),
    "ALL": ("FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE"),
    "FULL": ("FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODY"),
}
_ITEM = re.compile(rb"[A-Za-z0-9.\-]+")
# A list, or one item, in which no string and no literal stands; lists are no deeper than header fields in a list.
_USUAL = re.compile(rb"\([^(){}\"]*(?:\([^(){}\"]*\)[^(){}\"]*)*\)|[^ (){}\"]+")
_PARTIAL = re.compile(rb"<(\d{1,10})\.(\d{1,10})>")
_LAZY = re.compile(rb" \(LAZY\)", re.IGNORECASE)
_PART = re.compile(rb"[1-9]\d{0,8}(?:\.[1-9]\d{0,8})*")
_AS_CLIENTS = re.compile(rb"~?\{(\d{1,20})\+?\}\r\n")  # only clients may say {4+} (rfc7888 7), and a section is echoed
_SECTION_TEXT = re.compile(rb"HEADER\.FIELDS\.NOT|HEADER\.FIELDS|HEADER|TEXT|MIME", re.IGNORECASE)


def fetch(w: Words) -> Fetch:
    w.space()
    found = w.sequence_set()
    w.space()
    items = _usual_items(w)
    changed, partial, vanished = None, None, False
    if w.skip(b" ") and not w.at_end():
        w.expect(b"(")
        while True:
            match w.word():
                case "CHANGEDSINCE" if changed is None:
                    w.space()
                    changed = w.number()
                case "PARTIAL" if partial is None:
                    w.space()
                    partial = w.partial_range()
                case "VANISHED":
                    vanished = True
                case _:
                    raise Bad("unknown FETCH modifier")
            if w.skip(b")"):
                break
            w.space()
    w.end()
    return Fetch(found, items, changed, partial, vanished)


def _usual_items(w: Words) -> tuple[FetchItem, ...]:
    """An item, a macro or a list. Mail programs say the same few of them all day long: those are known."""
    start = w.at
    text = w.take(_USUAL)
    items = _known(text[0]) if text and len(text[0]) <= MAX_KNOWN else None
    if items is None:
        w.at = start
        items = _items(w)
    return items


@lru_cache(maxsize=256)
def _known(text: bytes) -> tuple[FetchItem, ...] | None:
    """None: not all of it is items, which is told by who reads them where they stand."""
    w = Words(text)
    try:
        items = _items(w)
    except Bad:
        return None
    return items if w.at_end() else None


def _items(w: Words) -> tuple[FetchItem, ...]:
    if w.peek() == b"(":
        return fetch_items(w)
    start = w.at
    word = w.take(_ITEM)
    macro = MACROS.get(word[0].decode().upper()) if word else None
    if macro:
        return tuple(map(FetchItem, macro))
    w.at = start
    return (_item(w),)


def fetch_items(w: Words) -> tuple[FetchItem, ...]:
    """`(FLAGS BODY[])`, each once."""
    w.expect(b"(")
    items: list[FetchItem] = []
    while not w.skip(b")"):
        if items:
            w.space()
        if len(items) == MAX_ITEMS:
            raise TooBig("too many items")
        items.append(_item(w))
    if not items:
        w.bad("item")
    return tuple(dict.fromkeys(items))


def _item(w: Words) -> FetchItem:
    found = w.take(_ITEM)
    name = found[0].decode().upper() if found else w.bad("item")
    base = name.removesuffix(".PEEK")
    if w.peek() == b"[" and base in {"BODY", "BINARY", "BINARY.SIZE"} and name != "BINARY.SIZE.PEEK":
        found_section = section(w, binary=base != "BODY")
        partial = None
        if base != "BINARY.SIZE" and (found := w.take(_PARTIAL)):
            partial = int(found[1]), int(found[2])
            if max(partial) >= 2**32:
                w.bad("partial")
        return FetchItem(f"{base}[]", found_section, partial, name != base or base == "BINARY.SIZE")
    if name not in PLAIN_ITEMS:
        raise Bad("unknown FETCH item")
    if name == "PREVIEW":
        w.take(_LAZY)  # rfc8970 3.1: it is always at hand here
    return FetchItem(name)


def section(w: Words, binary: bool) -> Section:
    """`[…]` of BODY and BINARY, with its brackets."""
    w.expect(b"[")
    start = w.at
    part: tuple[int, ...] = ()
    text = ""
    fields: tuple[str, ...] = ()
    if found := w.take(_PART):
        part = tuple(map(int, found[0].split(b".")))
        if len(part) > MAX_PARTS:
            raise TooBig("section too deep")
    if not binary and (not part or w.skip(b".")) and w.peek() != b"]":
        found = w.take(_SECTION_TEXT)
        text = found[0].decode().upper() if found else w.bad("section")
        if text == "MIME" and not part:
            w.bad("part number")
        if text.startswith("HEADER.FIELDS"):
            w.space()
            fields = _header_fields(w)
    elif part and w.data[w.at - 1 : w.at] == b".":
        w.bad("section")
    raw = _AS_CLIENTS.sub(rb"{\1}\r\n", w.data[start : w.at])
    w.expect(b"]")
    return Section(part, text, fields, raw)


def _header_fields(w: Words) -> tuple[str, ...]:
    w.expect(b"(")
    names: list[str] = []
    while not w.skip(b")"):
        if names:
            w.space()
        if len(names) == MAX_FIELDS:
            raise TooBig("too many header fields")
        name = w.astring()
        if not name.isascii() or b"\r" in name or b"\n" in name or b"\0" in name:
            w.bad("header field name")
        names.append(name.decode())
    if not names:
        w.bad("header field name")
    return tuple(names)
