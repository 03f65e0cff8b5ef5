"""MIME (RFC 5322, 2045–2049, 2231, 6532): one scan of a letter gives everything that is kept of it.

Pure and forgiving: any bytes give a result, with bounded depth, parts and memory; offsets always lie inside the data.
"""

from dataclasses import dataclass
from mmap import mmap

Buffer = bytes | mmap


@dataclass(frozen=True, slots=True)
class Part:
    """One MIME part: the tree that `unpack_parts(pack_parts(part))` gives back. Offsets count from the start of the scanned
    bytes. The header of a part is `header:body` (with its closing empty line), its body `body:end`. The root is the letter."""

    type: str  # "text", lower case
    subtype: str  # "plain"
    charset: str  # lower case, "" when not given
    encoding: str  # "7bit", "8bit", "binary", "base64", "quoted-printable", lower case
    filename: str  # decoded, "" when none
    disposition: str  # "attachment", "inline", ""
    header: int
    body: int
    end: int
    children: tuple["Part", ...]  # of a multipart; of a message/rfc822 the one root inside (same offsets)


@dataclass(frozen=True, slots=True)
class Scan:
    """What one scan keeps."""

    root: Part
    envelope: bytes  # IMAP ENVELOPE, a parenthesised list as sent on the wire (rfc9051 7.5.2; non-ASCII as it came if valid UTF-8 in a quoted string or literal)
    structure: bytes  # IMAP BODYSTRUCTURE with extension data, as sent on the wire
    parts: bytes  # pack_parts(root)
    sent: int | None  # Date:, seconds since 1970
    subject: str  # decoded, NFC, one line, at most 1,000 characters
    sender: str  # From: decoded: "Nguyễn Văn An <an@x>, …", at most 2,000 characters
    recipients: str  # "To: …" and "Cc: …", decoded, one line each, at most 8,000 characters
    message_id: str  # without angle brackets, "" when none
    references: tuple[str, ...]  # References: and In-Reply-To:, without brackets, oldest first, at most 100
    preview: str  # RFC 8970: at most 200 characters of the first text, one line, NFC
    from_addresses: tuple[str, ...]  # bare lower-case addresses of From:, for the rule "only an own address"
    has_bare: bool  # bare CR or LF somewhere
