"""POP3: any bytes as commands, and as a letter that is sent; the cut must not change what is sent."""

from congvu.codec import pop3
from congvu.codec.lines import LineBuffer, LineTooLong

SEEDS: list[bytes] = [
    b"CAPA\r\nUSER an@xa.test\r\nPASS mat khau\r\nSTAT\r\nLIST 1\r\nUIDL\r\nRETR 1\r\nTOP 1 10\r\nDELE 1\r\nQUIT\r\n",
    b"AUTH SCRAM-SHA-256 biwsbj1hLHI9Yg==\r\nSTLS\r\nUTF8\r\nLANG vi-VN\r\nLANG *\r\nRSET\r\nNOOP\r\n",
    b"Subject: x\r\n\r\n.a\r\n..\n.b\r.c\r\n.\r\n",
    "USER đạt@xã.test\r\n".encode(),
]
WORDS = [b"USER ", b"PASS ", b"AUTH ", b"TOP ", b"LANG ", b"RETR ", b"\r\n.", b"\n.", b"\r\n\r\n", b"GET "]


def one(data: bytes) -> None:
    """Accepts `BadCommand` and `LineTooLong` only."""
    buffer = LineBuffer()
    for start in range(0, len(data), 7):
        buffer.feed(data[start : start + 7])
        while True:
            try:
                line = buffer.line(512, strict=False)
            except LineTooLong:
                continue
            if line is None:
                break
            try:
                command = pop3.parse(line)
            except pop3.BadCommand as bad:
                assert pop3.answer(False, bad.code).endswith(b"\r\n")
            else:
                assert len(pop3.answer(True, repr(command), "AUTH")) <= pop3.ANSWER_LIMIT
    lines = data[0] if data else 0
    whole, pieces = pop3.DotWriter(), pop3.DotWriter()
    top, tops = pop3.TopCutter(lines), pop3.TopCutter(lines)
    once = whole.feed(data)
    first, second = [once, whole.end()], []
    cut_once, cut_many = top.feed(once), b""
    for at in range(0, len(data), 3):
        piece = pieces.feed(data[at : at + 3])
        second.append(piece)
        cut_many += tops.feed(piece)
    second.append(pieces.end())
    sent = b"".join(first)
    assert sent == b"".join(second)
    assert (cut_once, top.done) == (cut_many, tops.done)
    assert sent.endswith(b"\r\n.\r\n") or sent == b".\r\n"
    assert b"\r\n.\r\n" not in sent[:-3] and not sent[:-1].startswith(b".\r\n")
    assert sent.count(b"\n") == sent.count(b"\r\n")
