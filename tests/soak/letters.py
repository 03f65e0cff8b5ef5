"""The letters of the soak: each carries a mark, a word that stands in no other, and the name of its conversation.

`trace` reads them back, so that what SEARCH and THREAD answer can be compared with what was sent.
"""

import random
import re
from dataclasses import dataclass
from hashlib import blake2b

from tests.house.running import DOMAIN

TRACE = re.compile(rb"^X-Chain: ([\w-]+)\r$.*?^Tu khoa: (v[0-9a-f]{12})\r$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Trace:
    """`word` stands in the text of this content only; letters of one `chain` are one conversation."""

    word: str
    chain: str


def word(mark: str) -> str:
    """Of one length, as an index may find longer words that begin so."""
    return f"v{blake2b(mark.encode(), digest_size=6).hexdigest()}"


def trace(content: bytes) -> Trace | None:
    """Of a letter as it came back; None for one that carries none."""
    match = TRACE.search(content)
    return Trace(match[2].decode(), match[1].decode()) if match else None


def letter(chance: random.Random, mark: str, size: int, author: str, chain: str = "") -> bytes:
    """Lines that begin with dots, 8-bit text, long lines, and noise that does not compress."""
    chain = chain or mark
    head = f"From: <{author}>\r\nTo: <u00@{DOMAIN}>\r\nX-Mark: {mark}\r\nX-Chain: {chain}\r\n"
    answer = "" if chain == mark else f"References: <{chain}@xa.test>\r\n"
    head += f"Subject: {'Re: ' * bool(answer)}Công văn {chain}\r\nMessage-ID: <{mark}@xa.test>\r\n{answer}"
    head += f"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nTu khoa: {word(mark)}\r\n"
    if size > 100_000:
        block = chance.randbytes(3000).hex()
        lines = "".join(f"{block[at : at + 70]}\r\n" for at in range(0, 6000, 70))
        return head.encode() + (lines * (size // len(lines) + 1)).encode()
    body = f".{mark} Ủy ban nhân dân tỉnh đề nghị các đơn vị.\r\n..\r\n" + "x" * 900 + "\r\n"
    body += "".join(f"{chance.randbytes(30).hex()}\r\n" for _ in range(chance.randrange(1, 12)))
    return head.encode() + (body * max(1, size // 2000)).encode()


def raw(chance: random.Random, mark: str, author: str) -> bytes:
    """A letter that no text literal may carry: NULs, bare line ends, a part of any bytes."""
    head = f"From: <{author}>\r\nSubject: Công văn {mark}\r\nX-Mark: {mark}\r\nMessage-ID: <{mark}@xa.test>\r\n"
    head += "MIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n"
    return head.encode() + b"\0\n\r.\r\n" + chance.randbytes(chance.randrange(1, 5000))


def some_size(chance: random.Random, large: bool) -> int:
    if large and chance.random() < 0.03:
        return chance.randrange(1_000_000, 3_000_000)
    return int(min(chance.lognormvariate(8.2, 1.0), 90_000))
