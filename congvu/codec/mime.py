"""MIME (RFC 5322, 2045–2049, 2231, 6532): one scan of a letter gives everything that is kept of it.

Pure and forgiving: any bytes give a result, with bounded depth, parts and memory, in time that grows with the size of
the letter only; offsets always lie inside the data. A large letter comes as an mmap and is never copied as a whole.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from mmap import mmap

from congvu.codec.headers import (
    Address,
    Parameter,
    address_text,
    authors,
    decode_header,
    header_fields,
    message_ids,
    parameter_text,
    parse_addresses,
    parse_date,
    parse_parameters,
    select_fields,
    wanted_fields,
)
from congvu.codec.parts import (
    MAX_DEPTH,
    Buffer,
    Part,
    decode_body,
    find_part,
    header_block,
    html_text,
    letter_text,
    pack_parts,
    part_text,
    unpack_parts,
    walk,
)
from congvu.codec.subjects import BaseSubject, base_subject
from congvu.codec.wire import plain_structure, render_addresses, render_parameters, render_string, render_word

__all__ = [
    "Buffer",
    "Part",
    "Scan",
    "authors",
    "decode_body",
    "decode_header",
    "find_part",
    "header_block",
    "header_fields",
    "html_text",
    "letter_text",
    "pack_parts",
    "part_text",
    "plain_structure",
    "scan",
    "select_fields",
    "unpack_parts",
    "walk",
]


@dataclass(frozen=True, slots=True)
class Scan:
    """What one scan keeps."""

    root: Part
    envelope: bytes  # IMAP ENVELOPE, a parenthesised list as sent on the wire (rfc9051 7.5.2); non-ASCII in literals
    structure: bytes  # IMAP BODYSTRUCTURE with extension data, as sent on the wire; `plain_structure` makes BODY of it
    parts: bytes  # pack_parts(root)
    sent: int | None  # Date:, seconds since 1970
    subject: str  # decoded, NFC, one line, at most 1,000 characters
    sender: str  # From: decoded: "Nguyễn Văn An <an@x>, …", at most 2,000 characters
    recipients: str  # "To: …" and "Cc: …", decoded, one line each, at most 8,000 characters
    message_id: str  # without angle brackets, "" when none
    references: tuple[str, ...]  # References: and In-Reply-To:, without brackets, oldest first, at most 100
    ancestors: int  # so many of `references`, from the first, are the chain of rfc5256's REFERENCES
    base: BaseSubject
    preview: str  # RFC 8970: at most 200 characters of the first text, one line, NFC
    from_addresses: tuple[str, ...]  # bare lower-case addresses of From:, for the rule "only an own address"


Fields = dict[bytes, list[bytes]]

_ADDRESS_FIELDS = (b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc")
_OF_LETTER = frozenset((*_ADDRESS_FIELDS, b"date", b"subject", b"in-reply-to", b"message-id", b"references"))
_OF_PART = frozenset(
    b"content-" + name
    for name in (b"type", b"transfer-encoding", b"disposition", b"id", b"description", b"md5", b"language", b"location")
)
_OF_ROOT = _OF_LETTER | _OF_PART
_CHUNK = 1 << 18  # an mmap is counted through in pieces of this size, which stay in the processor's cache
_SMALL = 4 << 20  # an mmap up to this size is copied: bytes are faster to search
_NO_TOKEN = re.compile(r"[\s,]")  # what people write where a semicolon is missing
_NO_LANGUAGE = re.compile(rb"\([^)]*+\)?|;[^,]*+|,")  # comments, parameters, separators (rfc3282 2)
_TEXT_PLAIN: tuple[str, str, list[Parameter]] = ("text", "plain", [])
_CLOSED = ("application", "octet-stream")
_OTHERS = 16  # boundaries that only begin like the one looked for: parts within have a few


def scan(
    data: Buffer,
    *,
    max_depth: int = MAX_DEPTH,
    max_parts: int = 1_000,  # real letters have under a hundred; what follows stays one closed part
    max_header: int = 262_144,  # bytes of one header that are read; a thousand recipients take 60,000
    max_addresses: int = 2_000,  # of one field, in ENVELOPE: longer lists only cost every client that asks
    max_parameters: int = 64,  # of one field: a file name in continued pieces needs a dozen
) -> Scan:
    """Everything that is kept of a letter. Never raises, whatever the bytes."""
    if isinstance(data, mmap) and len(data) <= _SMALL:
        data = data[:]
    scanner = _Scanner(data, max_parts, max_header, max_addresses, max_parameters)
    root, structure, fields = scanner.letter(0, len(data), max_depth)
    addresses = {name: scanner.addresses(fields, name) for name in _ADDRESS_FIELDS if name in fields}
    senders = addresses.get(b"from", [])
    references, ancestors = _references(fields)
    subject = decode_header((_first(fields, b"subject") or b"")[:8000])[:1000]
    ids = message_ids(_first(fields, b"message-id") or b"")
    return Scan(
        root=root,
        envelope=_envelope(fields, addresses),
        structure=structure,
        parts=pack_parts(root),
        sent=parse_date(_first(fields, b"date") or b""),
        subject=subject,
        sender=_people(senders, 2000),
        recipients="\n".join(
            f"{label}: {_people(addresses[name], 4000)}"[:3999]
            for label, name in (("To", b"to"), ("Cc", b"cc"))
            if addresses.get(name)
        ),
        message_id=_identifier(ids[0]) if ids else "",
        references=references,
        ancestors=ancestors,
        base=base_subject(subject),
        preview=_preview(data, root),
        from_addresses=tuple(
            address_text(local, host).lower() for _, _, local, host in senders if local is not None and host
        ),
    )


@dataclass(frozen=True, slots=True)
class _Head:
    """What the header of a part says by itself, wherever the part stands. Shared by parts with the same header: nobody
    changes it."""

    type: str
    subtype: str
    charset: str
    encoding: str
    filename: str
    disposition: str
    boundary: bytes
    before: bytes  # of BODYSTRUCTURE: type to encoding; of a multipart: subtype and parameters
    md5: bytes
    after: bytes  # disposition, language, location


# Programs write the same few headers over every text and picture: those read lately are known. Short ones only, and
# none with a boundary, which never comes again.
_KNOWN_HEADERS = 2048
_KNOWN_LENGTH = 512


def _head(block: bytes, digest: bool, limit: int) -> _Head:
    if len(block) <= _KNOWN_LENGTH and b"oundary" not in block:
        return _known_head(block, digest, limit)
    return _read_head(wanted_fields(block, _OF_PART), digest, limit)


@lru_cache(maxsize=_KNOWN_HEADERS)
def _known_head(block: bytes, digest: bool, limit: int) -> _Head:
    return _read_head(wanted_fields(block, _OF_PART), digest, limit)


def _read_head(fields: Fields, digest: bool, limit: int, closed: bool = False) -> _Head:
    """`limit`: parameters of a field. `closed`: nothing inside is looked at, so it is shown as a part without parts."""
    kind, subtype, parameters = _content_type(fields, digest, limit)
    if closed:
        kind, subtype = _CLOSED
    value = _first(fields, b"content-disposition")
    disposition, d_parameters = parse_parameters(value, limit) if value else (b"", [])
    disposition = disposition.strip(b'"')
    encoding = _token(_first(fields, b"content-transfer-encoding") or b"7bit").lower()
    filename = ""
    if d_parameters:
        filename = parameter_text(d_parameters, b"filename")
    if not filename and parameters:
        filename = parameter_text(parameters, b"name")
    named = dict(parameters)
    charset = named.get(b"charset", b"").decode("ascii", "replace").lower()[:64]
    if kind == "text" and b"charset" not in named and b"charset*" not in named:
        parameters = [(b"charset", b"US-ASCII"), *parameters]  # rfc2046 4.1.2
    placed = b"NIL"
    if disposition:
        placed = b"(%b %b)" % (render_string(disposition.upper()), render_parameters(d_parameters))
    spoken = b"NIL"
    language = _first(fields, b"content-language") or b""
    if languages := language and _NO_LANGUAGE.sub(b" ", language).split()[:32]:
        spoken = b"(%b)" % b" ".join(map(render_string, languages))
    spelt = encoding.decode("ascii", "replace")[:64]
    if kind == "multipart":
        before = b"%b %b" % (render_word(subtype), render_parameters(parameters))
    else:
        before = b"%b %b %b %b %b %b" % (
            render_word(kind),
            render_word(subtype),
            render_parameters(parameters),
            render_string(_first(fields, b"content-id")),
            render_string(_first(fields, b"content-description")),
            render_word(spelt),
        )
    return _Head(
        kind,
        subtype,
        charset,
        spelt,
        _clean(filename)[:255],
        disposition.decode("ascii", "replace").lower()[:64],
        named.get(b"boundary", b"").rstrip(b" \t"),
        before,
        render_string(_first(fields, b"content-md5")),
        b"%b %b %b" % (placed, spoken, render_string(_first(fields, b"content-location"))),
    )


def _content_type(fields: Fields, digest: bool, limit: int) -> tuple[str, str, list[Parameter]]:
    value = _first(fields, b"content-type")
    if value is None:
        return ("message", "rfc822", []) if digest else _TEXT_PLAIN
    main, parameters = parse_parameters(value, limit)
    kind, _, subtype = main.decode("ascii", "replace").lower().partition("/")
    kind, subtype = kind.strip()[:64], _NO_TOKEN.split(subtype.strip(), 1)[0][:127]
    if not kind or not subtype:  # rfc2045 5.2
        return ("text", "plain", parameters) if kind in ("", "text") else (*_CLOSED, parameters)
    return kind, subtype, parameters


class _Scanner:
    """One scan's data and what is left of its bounds."""

    __slots__ = ("data", "effort", "max_addresses", "max_header", "max_parameters", "parts_left")

    def __init__(self, data: Buffer, max_parts: int, max_header: int, max_addresses: int, max_parameters: int) -> None:
        self.data = data
        self.parts_left = max_parts
        self.max_header = max_header
        self.max_addresses = max_addresses
        self.max_parameters = max_parameters
        # Each level of nesting reads its bytes again. Small letters may use all their depth; a bomb of 30 MB, nested so
        # that every level is nearly full, is closed after about twenty.
        self.effort = 16 * len(data) + (64 << 20)

    def letter(self, start: int, end: int, depth: int) -> tuple[Part, bytes, Fields]:
        """The letter at `start:end`, its BODYSTRUCTURE and the fields of its header."""
        body = _body_at(self.data, start, end)
        fields = wanted_fields(self.data[start : min(body, start + self.max_header)], _OF_ROOT)
        part, structure = self.part(start, body, end, depth, _read_head(fields, False, self.max_parameters))
        return part, structure, fields

    def part(self, start: int, body: int, end: int, depth: int, head: _Head) -> tuple[Part, bytes]:
        """The part whose header is `start:body` and its BODYSTRUCTURE (rfc9051 7.5.2). Words in capitals, values as
        they came. Language and location at the end, as other servers send them."""
        data = self.data
        self.parts_left -= 1
        self.effort -= end - start
        children: tuple[Part, ...] = ()
        if head.type == "multipart" or (head.type == "message" and head.subtype in ("rfc822", "global")):
            if self.parts_left <= 0 or depth <= 0 or self.effort < 0:
                header = data[start : min(body, start + self.max_header)]
                head = _read_head(wanted_fields(header, _OF_PART), False, self.max_parameters, closed=True)
            elif head.type == "multipart":
                children, inner = self.children(body, end, depth, head.boundary, head.subtype == "digest")
                return self._made(head, start, body, end, children), b"(%b %b %b)" % (inner, head.before, head.after)
            else:
                root, structure, fields = self.letter(body, end, depth - 1)
                children = (root,)
                addresses = {name: self.addresses(fields, name) for name in _ADDRESS_FIELDS if name in fields}
                more = b" %b %b %d" % (_envelope(fields, addresses), structure, _lines(data, body, end))
                return self._made(head, start, body, end, children), _structure(head, end - body, more)
        more = b" %d" % _lines(data, body, end) if head.type == "text" else b""
        return self._made(head, start, body, end, children), _structure(head, end - body, more)

    @staticmethod
    def _made(head: _Head, start: int, body: int, end: int, children: tuple[Part, ...]) -> Part:
        return Part(
            head.type,
            head.subtype,
            head.charset,
            head.encoding,
            head.filename,
            head.disposition,
            start,
            body,
            end,
            children,
        )

    def addresses(self, fields: Fields, name: bytes) -> list[Address]:
        """Of all fields of this name: some programs write To: once for each recipient."""
        found: list[Address] = []
        for value in fields[name]:
            if len(found) < self.max_addresses:
                found += parse_addresses(value, self.max_addresses - len(found))
        return found

    def children(
        self, body: int, end: int, depth: int, boundary: bytes, digest: bool
    ) -> tuple[tuple[Part, ...], bytes]:
        """The parts of a multipart (rfc2046 5.1.1) and their structures."""
        data = self.data
        found: list[Part] = []
        structures: list[bytes] = []
        if boundary and len(boundary) <= 1000:
            mark = b"\n--" + boundary
            # The line end before the first delimiter may be that of the header's empty line.
            start, at = -1, data.find(mark, max(body - 1, 0), end)
            exact: re.Pattern[bytes] | None = None
            others = 0
            while at >= 0:
                after = at + len(mark)
                line_end = data.find(b"\n", after, end)
                next_start = end if line_end < 0 else line_end + 1
                rest = data[after:next_start].rstrip(b" \t\r\n")
                if rest in (b"", b"--"):
                    if start >= 0:
                        part_end = max(start, at - 1 if data[at - 1 : at] == b"\r" else at)
                        self._child(start, part_end, depth, digest, found, structures)
                    start = next_start
                    if rest:
                        start = -1
                        break
                    if self.parts_left <= 1:  # no room for more: the rest is the last, closed part
                        break
                elif exact is None and (others := others + 1) > _OTHERS:
                    # A longer boundary begins alike. A pattern passes over millions; it is dear to make.
                    exact = re.compile(re.escape(mark) + rb"(?:--)?[ \t\r]*+(?:\n|\Z)")
                if exact is None:
                    at = data.find(mark, max(next_start - 1, after), end)
                else:
                    match = exact.search(data, max(next_start - 1, after), end)
                    at = match.start() if match else -1
            if start >= 0 and (start < end or not found):  # no closing delimiter
                self._child(start, end, depth, digest, found, structures)
        if not found:
            # A multipart must have a part (rfc9051 7.5.2): without one delimiter its whole body is shown as text.
            found.append(self._made(_NO_HEAD, body, body, end, ()))
            structures.append(_structure(_NO_HEAD, end - body, b" %d" % _lines(data, body, end)))
        return tuple(found), b"".join(structures)

    def _child(
        self, start: int, end: int, depth: int, digest: bool, found: list[Part], structures: list[bytes]
    ) -> None:
        body = _body_at(self.data, start, end)
        head = _head(self.data[start : min(body, start + self.max_header)], digest, self.max_parameters)
        part, structure = self.part(start, body, end, depth - 1, head)
        found.append(part)
        structures.append(structure)


def _structure(head: _Head, size: int, more: bytes) -> bytes:
    return b"(%b %d%b %b %b)" % (head.before, size, more, head.md5, head.after)


# --- bytes ----------------------------------------------------------------------------------------------------------


def _lines(data: Buffer, start: int, end: int) -> int:
    if isinstance(data, bytes):
        return data.count(b"\n", start, end)
    return sum(data[at : min(at + _CHUNK, end)].count(b"\n") for at in range(start, end, _CHUNK))


def _body_at(data: Buffer, start: int, end: int) -> int:
    """Where the body begins: after the first empty line, or at the end."""
    if data[start : min(start + 2, end)] == b"\r\n":
        return start + 2
    if data[start : min(start + 1, end)] == b"\n":
        return start + 1
    crlf = data.find(b"\n\r\n", start, end)
    lf = data.find(b"\n\n", start, end if crlf < 0 else crlf + 1)
    if lf >= 0:
        return lf + 2
    if crlf >= 0:
        return crlf + 3
    doubled = data.find(b"\n\r\r\n", start, end)  # line ends mended twice on somebody's way here
    return doubled + 4 if doubled >= 0 else end


def _first(fields: Fields, name: bytes) -> bytes | None:
    values = fields.get(name)
    return values[0] if values else None


def _token(value: bytes) -> bytes:
    return (value.split(None, 1) or [b"7bit"])[0].rstrip(b";")


def _clean(text: str) -> str:
    return "".join(c for c in text if c.isprintable()).strip() if not text.isprintable() else text.strip()


# --- what is kept of the letter -------------------------------------------------------------------------------------


def _envelope(fields: Fields, addresses: dict[bytes, list[Address]]) -> bytes:
    """ENVELOPE (rfc9051 7.5.2): RFC 2047 words stay as they came; Sender and Reply-To are From where they lack."""
    sender = addresses.get(b"from") or []
    return b"(%b %b %b %b %b %b %b %b %b %b)" % (
        render_string(_first(fields, b"date")),
        render_string(_first(fields, b"subject")),
        rendered := render_addresses(sender),
        render_addresses(addresses[b"sender"]) if addresses.get(b"sender") else rendered,
        render_addresses(addresses[b"reply-to"]) if addresses.get(b"reply-to") else rendered,
        render_addresses(addresses.get(b"to") or []),
        render_addresses(addresses.get(b"cc") or []),
        render_addresses(addresses.get(b"bcc") or []),
        render_string(_first(fields, b"in-reply-to")),
        render_string(_first(fields, b"message-id")),
    )


def _people(addresses: list[Address], limit: int) -> str:
    """ "Name <local@host>, …" decoded, at most `limit` characters."""
    out: list[str] = []
    size = 0
    for name, _, local, host in addresses:
        if size > limit:
            break
        if host is None:  # a group's beginning or end
            text = decode_header(local) + ":" if local else ""
        else:
            address = address_text(local, host)
            text = f"{decode_header(name)} <{address}>" if name else address
        if text:
            out.append(text)
            size += len(text) + 2
    return ", ".join(out)[:limit]


def _identifier(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _references(fields: Fields) -> tuple[tuple[str, ...], int]:
    """The identifiers, and how many of them are the letter's ancestors: those of References, else the first of
    In-Reply-To (rfc5256 3)."""
    found: dict[bytes, None] = {}
    chain = 0
    for name in (b"references", b"in-reply-to"):
        for value in fields.get(name, ())[:10]:
            found.update(dict.fromkeys(message_ids(value)))
        chain = chain or (len(found) if name == b"references" else min(len(found), 1))
    ids = list(found)
    if len(ids) > 100:
        chain = max(chain - (len(ids) - 100), 1)
        ids = [ids[0], *ids[-99:]]  # the thread's first letter and the nearest ones
    return tuple(map(_identifier, ids)), chain


def _preview(data: Buffer, root: Part) -> str:
    """The first words of the first text that is not an attachment (rfc8970)."""
    texts = [p for p in walk(root) if p.type == "text" and p.disposition != "attachment" and p.end > p.body]
    texts.sort(key=lambda p: p.subtype != "plain")
    for part in texts[:3]:
        for room in (300, 8_000):  # the second look is for letters that begin with a page of styles
            preview = " ".join(part_text(data, part, room).split())[:200].rstrip()
            if preview:
                return preview
    return ""


_NO_HEAD = _read_head({}, False, 0)
