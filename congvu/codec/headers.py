"""Header fields (RFC 5322, 2045, 2047, 2231): cut, decoded and taken apart into values.

Forgiving: any bytes give a result. Every function reads its input once or a fixed number of times, whatever it holds.
"""

import re
from binascii import Error as Base64Error
from binascii import a2b_base64, a2b_qp
from collections.abc import Iterable
from datetime import date
from email.utils import parsedate_tz
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from congvu.base.vietnamese import nfc
from congvu.codec import legacy

# An IMAP address (rfc9051 7.5.2): display name, source route, local part, host. A group begins with (None, None, name,
# None) and ends with four times None.
Address = tuple[bytes | None, bytes | None, bytes | None, bytes | None]
Parameter = tuple[bytes, bytes]

# What stands where an address lacks a half, as other servers write it: NIL would mean a group (rfc9051 7.5.2).
NO_MAILBOX = b"MISSING_MAILBOX"
NO_HOST = b"MISSING_DOMAIN"

_FIELD = re.compile(rb"^([!-9;-~]++)[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+)", re.M)
_RAW_FIELD = re.compile(rb"[^\n]*+(?:\n[ \t][^\n]*+)*+\n?")
_NAME = re.compile(rb"([!-9;-~]++)[ \t]*+:")


# --- fields ---------------------------------------------------------------------------------------------------------


def wanted_fields(block: bytes, wanted: frozenset[bytes]) -> dict[bytes, list[bytes]]:
    """The values of the fields named in `wanted` (lower case), unfolded, in the order they stand."""
    found: dict[bytes, list[bytes]] = {}
    for name, value in _FIELD.findall(block):
        low = name.lower()
        if low in wanted:
            found.setdefault(low, []).append(unfold(value))
    return found


def unfold(value: bytes) -> bytes:
    """One line without line ends and NUL (rfc5322 2.2.3), white space at both ends off."""
    return value.translate(None, b"\r\n\0").strip(b" \t")


def address_text(local: bytes | None, host: bytes) -> str:
    """local@host for people."""
    raw = b"%b@%b" % (local or b"", host)
    return raw.decode("ascii") if raw.isascii() else decode_header(raw)


_AUTHORS = frozenset((b"from", b"sender", b"resent-from", b"resent-sender"))
_NO_ADDRESS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|=\?[^?\s]*+\?[bBqQ]\?[^?\s]*+\?=', re.S)  # quoted and encoded words
_ADDRESS_WORD = re.compile(rb'(?<![^\s"(),:;<>@])[^\s"(),:;<>@]++(?:@[^\s"(),:;<>@]++)+')


def authors(block: bytes) -> tuple[int, list[str]]:
    """Who a header says has written: how many From fields it has, and every word of From, Sender and Resent-From
    outside quotes that some program may take for the address, whatever the grammar says of it."""
    fields = wanted_fields(block, _AUTHORS)
    words = [
        word.decode("utf-8", "replace")
        for values in fields.values()
        for value in values
        for word in _ADDRESS_WORD.findall(_NO_ADDRESS.sub(b"", value))
    ]
    return len(fields.get(b"from", ())), words


def header_fields(block: bytes) -> list[tuple[bytes, bytes]]:
    """(name in lower case, the whole field as it stands with its folding and line end). A line that is no field has the
    name b""; the closing empty line is left out."""
    found = []
    for raw in _RAW_FIELD.findall(block):
        if raw in (b"", b"\r\n", b"\n"):
            continue
        match = _NAME.match(raw)
        found.append((match[1].lower() if match else b"", raw))
    return found


@lru_cache(maxsize=256)
def _selector(names: frozenset[bytes]) -> re.Pattern[bytes]:
    either = b"|".join(re.escape(name) for name in sorted(names))
    return re.compile(rb"^(?:" + either + rb")[ \t]*+:[^\n]*+(?:\n[ \t][^\n]*+)*+\n?", re.M | re.I)


def select_fields(block: bytes, names: Iterable[str | bytes], invert: bool = False) -> bytes:
    """BODY[HEADER.FIELDS (names)] or, inverted, BODY[HEADER.FIELDS.NOT (names)]: the fields as they stand and an empty
    line (rfc9051 6.4.5.1)."""
    low = frozenset((n.encode("utf-8", "replace") if isinstance(n, str) else n).strip().lower() for n in names)
    if invert or not low or len(low) > 64:  # a pattern of many names costs more than a look into the set
        chosen = [raw for name, raw in header_fields(block) if (name in low and name != b"") != invert]
    else:
        chosen = _selector(low).findall(block)
    if chosen and not chosen[-1].endswith(b"\n"):
        chosen.append(b"\r\n")
    chosen.append(b"\r\n")
    return b"".join(chosen)


# --- words ----------------------------------------------------------------------------------------------------------

# Longer than the 75 characters of rfc2047 2 and with spaces inside, as real mail has them. The *language of rfc2231 5
# is let go.
_ENCODED = re.compile(rb"=\?([^?\s*]{1,64})(?:\*[^?\s]{0,64})?\?([bBqQ])\?([^?\r\n]*+)\?=")
_NOT_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"))


def unbase64(raw: bytes) -> bytes:
    """Base64 as best one can: strange characters skipped, missing padding added, several runs one after the other."""
    padding = raw.find(b"=")
    if padding < 0 or not raw[padding:].strip(b"= \t\r\n"):
        try:
            return a2b_base64(raw)
        except Base64Error:
            pass
    runs = raw.split(b"=") if raw.count(b"=") <= 1000 else [raw]  # each run ends in at most two of them
    out = []
    for run in runs:
        clean = run.translate(None, _NOT_BASE64)
        if len(clean) % 4 == 1:
            clean = clean[:-1]
        out.append(a2b_base64(clean + b"==="[: -len(clean) % 4]))
    return b"".join(out)


def decode_header(raw: bytes) -> str:
    """A field's value for people: RFC 2047 words decoded, neighbours joined (also in the middle of a character), raw
    8-bit text read as UTF-8 or an old Vietnamese code, NFC, on one line."""
    raw = unfold(raw)
    if b"=?" not in raw:
        return _one_line(raw.decode("ascii") if raw.isascii() else nfc(legacy.decode(raw, "")))
    out: list[str] = []
    run: list[bytes] = []  # decoded bytes of neighbouring words of one charset
    charset = b""
    end = 0
    for match in _ENCODED.finditer(raw):
        between = raw[end : match.start()]
        end = match.end()
        joins = bool(run) and not between.strip(b" \t")
        if run and not (joins and match[1].lower() == charset):
            out.append(legacy.decode(b"".join(run), charset.decode("ascii", "replace")))
            run = []
        if not joins and between:
            out.append(legacy.decode(between, ""))
        charset = match[1].lower()
        run.append(unbase64(match[3]) if match[2] in b"bB" else a2b_qp(match[3], header=True))
    if run:
        out.append(legacy.decode(b"".join(run), charset.decode("ascii", "replace")))
    if end < len(raw):
        out.append(legacy.decode(raw[end:], ""))
    return _one_line(nfc("".join(out)))


def _one_line(text: str) -> str:
    return text if text.isprintable() else text.translate(_CONTROLS).strip()


_CONTROLS = {**dict.fromkeys(range(0x20), " "), 0x7F: None, 0x2028: " ", 0x2029: " ", 0x0D: None, 0: None}


# --- addresses (rfc5322 3.4) ----------------------------------------------------------------------------------------

_ATOMS = rb'[^\s"(),:;<>@\[\]\\]'
_NAMED = re.compile(
    rb'[\s,]*+(?:"([^"\\]*+)"\s*+|([^"(),:;<>@\[\]\\]*+))<(' + _ATOMS + rb"++)@(" + _ATOMS + rb"++)>\s*+(?:,|\Z)"
)
_BARE = re.compile(rb"[\s,]*+(" + _ATOMS + rb"++)@(" + _ATOMS + rb"++)\s*+(?:,|\Z)")
_TOKEN = re.compile(
    rb'"((?:[^"\\]++|\\.)*+)"?'  # 1 quoted string, perhaps unfinished
    rb"|(\()"  # 2 comment
    rb"|(\[[^\]]*+\]?)"  # 3 domain literal
    rb"|([,:;<>@])"  # 4 special
    rb"|(\s++)"  # 5 white space
    rb'|([^\s"(,:;<>@\[]++)',  # 6 atoms, dots and stray characters
    re.S,
)
_IN_COMMENT = re.compile(rb"[()]|\\.", re.S)
_QUOTED_PAIR = re.compile(rb"\\(.)", re.S)


def parse_addresses(value: bytes, limit: int) -> list[Address]:
    """At most `limit` addresses of an unfolded field. Usual forms are read by a pattern each, the rest by tokens."""
    found: list[Address] = []
    position, size = 0, len(value)
    while position < size and len(found) < limit:
        match = _NAMED.match(value, position)
        if match:
            quoted, name, local, host = match.groups()
            name = (name if quoted is None else quoted).strip()
            found.append((name or None, None, local, host))
        else:
            match = _BARE.match(value, position)
            if not match:
                break
            found.append((None, None, match[1], match[2]))
        position = match.end()
    if position < size and len(found) < limit:
        _parse_slowly(value, position, found, limit)
    return found


def _parse_slowly(value: bytes, position: int, found: list[Address], limit: int) -> None:
    """Addresses with groups, comments, routes, quoted local parts, and whatever people write."""
    before: list[tuple[str, bytes]] = []  # tokens before < >, or without it
    inside: list[tuple[str, bytes]] | None = None  # tokens within
    after: list[tuple[str, bytes]] = []  # tokens behind; a name behind is one where none stands before
    closed = in_group = has_at = False  # has_at: an "@" stands in `before`, which may be long and is asked often
    comment = b""
    size = len(value)

    def finish() -> None:
        nonlocal before, inside, after, closed, comment, has_at
        if inside is not None:
            found.append(_address(inside, _phrase(before) or _phrase(after) or comment))
        elif has_at:
            found.extend(_addresses(before, comment)[: limit - len(found)])
        elif name := _phrase(before):
            one = len([kind for kind, _ in before if kind != " "]) == 1
            found.append((None, None, name, NO_HOST) if one else (name, None, NO_MAILBOX, NO_HOST))
        before, inside, after, closed, comment, has_at = [], None, [], False, b"", False

    while position < size and len(found) < limit:
        match = _TOKEN.match(value, position)
        if match is None:  # a lone backslash before the end
            break
        position = match.end()
        here = before if inside is None else after if closed else inside
        match match.lastindex:
            case 1:
                here.append(("q", _QUOTED_PAIR.sub(rb"\1", match[1])))
            case 2:
                text, position = _comment(value, position)
                comment = comment or text
            case 3:
                here.append(("a", match[3]))
            case 5:
                here.append((" ", b" "))
            case 6:
                here.append(("a", match[6]))
            case _:
                match match[4]:
                    case b"<" if inside is None:
                        inside = []
                    case b"<" if closed:  # a comma is missing
                        name = after
                        finish()
                        before, inside = name, []
                    case b">" if inside is not None:
                        closed = True
                    case b",":
                        if inside is None or closed or not (inside and inside[0][0] == "@"):  # a comma within a route
                            finish()
                        else:
                            inside.append(("a", b","))
                    case b":" if inside is not None and not closed:
                        inside.append((":", b":"))
                    case b":" if not in_group and inside is None and not has_at:
                        found.append((None, None, _phrase(before) or b"", None))
                        before, comment, in_group = [], b"", True
                    case b";":
                        finish()
                        if in_group:
                            found.append((None, None, None, None))
                            in_group = False
                    case b"@":
                        here.append(("@", b"@"))
                        has_at = has_at or here is before
                    case _:
                        here.append(("a", match[4]))
    if len(found) < limit:
        finish()
    if in_group:
        found.append((None, None, None, None))


def _comment(value: bytes, position: int) -> tuple[bytes, int]:
    """What follows "(" up to its ")", comments within counted (rfc5322 3.2.2), and the place after it."""
    depth = 1
    for match in _IN_COMMENT.finditer(value, position):
        if match[0] == b"(":
            depth += 1
        elif match[0] == b")":
            depth -= 1
            if depth == 0:
                return _QUOTED_PAIR.sub(rb"\1", value[position : match.start()]).strip(), match.end()
    return value[position:].strip(), len(value)


def _phrase(tokens: list[tuple[str, bytes]]) -> bytes:
    return b"".join(text for _, text in tokens).strip()


def _addresses(tokens: list[tuple[str, bytes]], comment: bytes) -> list[Address]:
    """What stands without < > and has an "@": one address, or several where commas are missing. Words before an address
    that no dot joins to it are its name."""
    chunks: list[list[tuple[str, bytes]]] = [[]]
    gap = False
    for token in tokens:
        if token[0] == " ":
            gap = True
            continue
        last = chunks[-1][-1] if chunks[-1] else None
        words = last is not None and last[0] in "aq" and token[0] in "aq"
        if gap and words and last is not None and not (last[1].endswith(b".") or token[1].startswith(b".")):
            chunks.append([])
        chunks[-1].append(token)
        gap = False
    found: list[Address] = []
    name: list[bytes] = []
    for chunk in chunks:
        if any(kind == "@" for kind, _ in chunk):
            found.append(_address(chunk, b" ".join(name) or comment))
            name = []
        else:
            name.append(_phrase(chunk))
    return found


def _address(tokens: list[tuple[str, bytes]], name: bytes) -> Address:
    """An addr-spec, perhaps with the old source route before it (rfc5322 4.4)."""
    parts = [token for token in tokens if token[0] != " "]
    route = b""
    colon = next((i for i, (kind, _) in enumerate(parts) if kind == ":"), -1)
    if colon >= 0 and parts[0][0] == "@":
        route = b"".join(text for _, text in parts[:colon])
        parts = parts[colon + 1 :]
    at = max((i for i, (kind, _) in enumerate(parts) if kind == "@"), default=-1)
    local = b"".join(text for _, text in (parts[:at] if at >= 0 else parts))
    host = b"".join(text for _, text in parts[at + 1 :]) if at >= 0 else b""
    return (name or None, route or None, local or NO_MAILBOX, host or NO_HOST)


# --- parameters (rfc2045 5.1, rfc2231) ------------------------------------------------------------------------------

_GAP = re.compile(rb"[;\s]*+")
_PARAMETER = re.compile(
    rb'([^\s=;"()<>,]++)\s*+=\s*+(?:"((?:[^"\\]++|\\.)*+)"?|([^;]*+))',
    re.S,
)
_SECTION = re.compile(rb"([^*]+)\*(?:(\d{1,3})(\*)?)?\Z")
_FREE = (b"name", b"filename")  # unquoted values of these may hold spaces


def parse_parameters(value: bytes, limit: int) -> tuple[bytes, list[Parameter]]:
    """("text/plain", [(b"charset", b"utf-8"), …]): names in lower case, at most `limit`, each once.

    Continued parts (name*0, name*1 …) are joined; a value in the extended form of rfc2231 4 is named `name*` and stays
    encoded: charset'language'percent-encoded.
    """
    position = value.find(b";")
    if position < 0:
        return _without_comment(value), []
    main = _without_comment(value[:position])
    plain: dict[bytes, bytes] = {}
    sections: dict[bytes, dict[int, tuple[bool, bytes]]] = {}
    size = len(value)
    left = limit
    while 0 <= position < size and left > 0:
        gap = _GAP.match(value, position)
        position = gap.end() if gap else position
        match = _PARAMETER.match(value, position)
        if match is None:
            position = value.find(b";", position)
            continue
        left -= 1
        position = match.end()
        name = match[1].lower()
        if match[2] is not None:
            text = match[2] if b"\\" not in match[2] else _QUOTED_PAIR.sub(rb"\1", match[2])
            position = value.find(b";", position)
        else:
            text = match[3].strip()
            if not name.startswith(_FREE):
                text = (text.split(None, 1) or [b""])[0]
        section = _SECTION.match(name) if b"*" in name else None
        if section is None:
            plain.setdefault(name, text)
        else:
            extended = section[2] is None or section[3] is not None
            sections.setdefault(section[1], {}).setdefault(int(section[2] or 0), (extended, text))
    for base, pieces in sections.items():
        name, text = _joined(base, pieces)
        plain[name] = text
    return main, list(plain.items())


def _joined(base: bytes, pieces: dict[int, tuple[bool, bytes]]) -> Parameter:
    run: list[tuple[bool, bytes]] = []
    while len(run) in pieces:
        run.append(pieces[len(run)])
    if not any(extended for extended, _ in run):
        return base, b"".join(text for _, text in run)
    text = b"".join(text if extended else text.replace(b"%", b"%25") for extended, text in run)
    return base + b"*", text if run[0][0] else b"''" + text


def _without_comment(value: bytes) -> bytes:
    return value.partition(b"(")[0].strip() if b"(" in value else value.strip()


def parameter_text(parameters: list[Parameter], name: bytes) -> str:
    """The decoded value of `name*` (rfc2231) or `name` (with RFC 2047 words, not allowed and common)."""
    if not parameters:
        return ""
    values = dict(parameters)
    extended = values.get(name + b"*")
    if extended is not None:
        pieces = extended.split(b"'", 2)
        if len(pieces) == 3:
            return nfc(legacy.decode(unquote_to_bytes(pieces[2]), pieces[0].decode("ascii", "replace")))
        return nfc(legacy.decode(unquote_to_bytes(extended), ""))
    return decode_header(values[name]) if name in values else ""


# --- dates (rfc5322 3.3) and message identifiers (3.6.4) ------------------------------------------------------------

_DATE = re.compile(
    r"(?:[A-Za-z]+\.?,?\s+)?(\d{1,2})[ -]([A-Za-z]{3})[a-z]{0,6}[ -](\d{4})\s+(\d\d):(\d\d)(?::(\d\d))?"
    r"(?:\.\d{1,9})?\s*([+-])(\d\d)(\d\d)\b"
)
_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS = {m: i for i, m in enumerate(_MONTH_NAMES, 1)}
_ID = re.compile(rb"<([^<>\s]{1,998})>")
_EPOCH = date(1970, 1, 1).toordinal()


def parse_date(value: bytes) -> int | None:
    """Seconds since 1970 of a Date field; None when it is no date."""
    text = value[:128].decode("ascii", "replace")
    match = _DATE.match(text)
    try:
        if match and (month := _MONTHS.get(match[2].lower())):
            day, _, year, hour, minute, second, sign, ahead, ahead_minutes = match.groups()
            zone = (int(ahead) * 60 + int(ahead_minutes)) * (-60 if sign == "-" else 60)
            days = date(int(year), month, int(day)).toordinal() - _EPOCH
            return days * 86400 + int(hour) * 3600 + int(minute) * 60 + int(second or 0) - zone
        parsed = parsedate_tz(text)
        if parsed is None:
            return None
        days = date(*parsed[:3]).toordinal() - _EPOCH
        return days * 86400 + parsed[3] * 3600 + parsed[4] * 60 + parsed[5] - (parsed[9] or 0)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None  # 31 February; and the standard library stumbles over some oddities


def message_ids(value: bytes) -> list[bytes]:
    """The identifiers of a Message-ID, References or In-Reply-To field, without angle brackets, and without quotes that
    make no difference (rfc5256 3)."""
    found: list[bytes] = _ID.findall(value)
    return [_QUOTED_ID.sub(_plain_id, each) for each in found] if b'"' in value else found


_QUOTED_ID = re.compile(rb'^"((?:[^"\\]|\\.)*)"(?=@)')


def _plain_id(local: re.Match[bytes]) -> bytes:
    return re.sub(rb"\\(.)", rb"\1", local[1])
