"""IMAP input: SEARCH, SORT and THREAD as typed values (RFC 3501, 9051, 4731, 5256, 5267 and 9394).

One function a command, as in `imap_parse`. Errors are `Bad` and `BadCharset` only; depth and number of everything
nested are bounded.
"""

import re

from congvu.codec.imap import Search, SearchKey, Sort, SortKey, Thread
from congvu.codec.imap_words import Bad, BadCharset, TooBig, Words

MAX_DEPTH = 50  # of search programs
MAX_KEYS = 1_000  # of one search program; each is a pass over the mailbox at worst
MAX_SORT_KEYS = 50  # of one SORT; those that come again say nothing new

# SEARCH: a new key without an argument, with a number or with a text is one word here and a row of the search itself.
FLAG_KEYS = frozenset(
    {"ALL", "SAVEDATESUPPORTED", "ANSWERED", "DELETED", "DRAFT", "FLAGGED", "NEW", "OLD", "RECENT", "SEEN"}
    | {"UNANSWERED", "UNDELETED", "UNDRAFT", "UNFLAGGED", "UNSEEN"}
)
TEXT_KEYS = frozenset({"BCC", "BODY", "CC", "FROM", "SUBJECT", "TEXT", "TO"})
DAY_KEYS = frozenset(
    {"BEFORE", "ON", "SINCE", "SENTBEFORE", "SENTON", "SENTSINCE", "SAVEDBEFORE", "SAVEDON", "SAVEDSINCE"}  # RFC 8514
)
ID_KEYS = frozenset({"EMAILID", "THREADID"})  # RFC 8474
NUMBER_KEYS = frozenset({"LARGER", "SMALLER"})
AGE_KEYS = frozenset({"OLDER", "YOUNGER"})  # RFC 5032
RETURN_OPTIONS = frozenset({"MIN", "MAX", "ALL", "COUNT", "SAVE", "PARTIAL"})
SORT_KEYS = frozenset(
    {"ARRIVAL", "CC", "DATE", "FROM", "SIZE", "SUBJECT", "TO"} | {"DISPLAYFROM", "DISPLAYTO"}  # the latter: RFC 5957
)
ALGORITHMS = frozenset({"ORDEREDSUBJECT", "REFERENCES"})
_FIRST_OF_SET = frozenset(b"0123456789*$")
_ENTRY = re.compile(rb'"/flags/((?:[^"\\]|\\["\\])+)" (all|priv|shared) ', re.IGNORECASE)


def search(w: Words) -> Search:
    """rfc9051 6.4.4, rfc3501 6.4.4: both revisions' keys and RETURN options."""
    w.space()
    returns, partial = _returns(w)
    charset = w.data[w.at : w.at + 8].upper() == b"CHARSET "
    if charset:
        w.at += 8
        _charset(w)
    return Search(_program(w), returns, charset, partial)


def sort(w: Words) -> Sort:
    """rfc5256 BASE.6.4.SORT; RETURN as of rfc5267 3."""
    w.space()
    returns, partial = _returns(w)
    if returns is not None and "SAVE" in returns:
        raise Bad("SAVE is not for SORT")
    keys: dict[str, SortKey] = {}
    w.expect(b"(")
    count = 0
    while not w.skip(b")"):
        if count:
            w.space()
        count += 1
        if count > MAX_SORT_KEYS:
            raise TooBig("too many sort keys")
        name = w.word()
        reverse = name == "REVERSE"
        if reverse:
            w.space()
            name = w.word()
        if name not in SORT_KEYS:
            raise Bad("unknown sort key")
        keys.setdefault(name, SortKey(name, reverse))
    if not keys:
        w.bad("sort key")
    w.space()
    _charset(w)
    return Sort(tuple(keys.values()), _program(w), returns, partial)


def thread(w: Words) -> Thread:
    """rfc5256 BASE.6.4.THREAD."""
    w.space()
    algorithm = w.word()
    if algorithm not in ALGORITHMS:
        raise Bad("unknown THREAD algorithm")
    w.space()
    _charset(w)
    return Thread(algorithm, _program(w))


def _returns(w: Words) -> tuple[tuple[str, ...] | None, tuple[int, int] | None]:
    """RETURN options, ("ALL",) for none of them, None where RETURN is not said; and the range of PARTIAL."""
    if w.data[w.at : w.at + 7].upper() != b"RETURN ":
        return None, None
    w.at += 7
    w.expect(b"(")
    options: dict[str, None] = {}
    partial = None
    while not w.skip(b")"):
        if options:
            w.space()
        option = w.word()
        if option not in RETURN_OPTIONS:
            raise Bad("unknown RETURN option")
        if option == "PARTIAL":
            w.space()
            if partial is not None:
                raise Bad("one PARTIAL only")
            partial = w.partial_range()
        options[option] = None
    w.space()
    if partial is not None and "ALL" in options:
        raise Bad("either ALL or PARTIAL")  # rfc9394 3.1
    return tuple(options) or ("ALL",), partial


def _charset(w: Words) -> None:
    if w.astring().upper() not in {b"UTF-8", b"US-ASCII"}:
        raise BadCharset("charset not known")
    w.space()


def _program(w: Words) -> SearchKey:
    """The search keys up to the end of the command."""
    program = _Program(w)
    keys = [program.key(1)]
    while w.skip(b" ") and not w.at_end():
        keys.append(program.key(1))
    w.end()
    return keys[0] if len(keys) == 1 else SearchKey("AND", keys=tuple(keys))


class _Program:
    """A search program being read; counts its keys."""

    __slots__ = ("left", "w")

    def __init__(self, w: Words) -> None:
        self.w = w
        self.left = MAX_KEYS

    def key(self, depth: int) -> SearchKey:
        w = self.w
        self.left -= 1
        if depth > MAX_DEPTH or self.left < 0:
            raise TooBig("search program too large")
        if w.skip(b"("):
            keys = [self.key(depth + 1)]
            while not w.skip(b")"):
                w.space()
                keys.append(self.key(depth + 1))
            return keys[0] if len(keys) == 1 else SearchKey("AND", keys=tuple(keys))
        first = w.peek()
        if first and first[0] in _FIRST_OF_SET:
            return SearchKey("SEQ", set=w.sequence_set())
        return self._named(w.word(), depth)

    def _named(self, name: str, depth: int) -> SearchKey:
        w = self.w
        if name in FLAG_KEYS:
            return SearchKey(name)
        w.space()
        if name in TEXT_KEYS:
            return SearchKey(name, text=w.text())
        if name in DAY_KEYS:
            return SearchKey(name, day=w.day())
        if name in NUMBER_KEYS:
            return SearchKey(name, number=w.number())
        if name in AGE_KEYS:
            return SearchKey(name, number=w.number() or w.bad("number of seconds"))
        if name in ID_KEYS:
            return SearchKey(name, field=w.object_id())
        match name:
            case "KEYWORD" | "UNKEYWORD":
                return SearchKey(name, field=w.astring().decode("ascii", "replace"))
            case "HEADER":
                field = w.astring()
                w.space()
                return SearchKey(name, field=field.decode("ascii", "replace"), text=w.text())
            case "UID":
                return SearchKey(name, set=w.sequence_set())
            case "NOT":
                return SearchKey(name, keys=(self.key(depth + 1),))
            case "OR":
                left = self.key(depth + 1)
                w.space()
                return SearchKey(name, keys=(left, self.key(depth + 1)))
            case "MODSEQ":
                # The entry's name is read and passed over: modseq is one for all flags here (rfc7162 3.1.5).
                w.take(_ENTRY)
                return SearchKey(name, number=w.number())
        raise Bad("unknown search key")
