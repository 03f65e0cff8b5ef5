"""Fuzzing codec.smtp: any bytes as commands, replies and letters."""

from congvu.codec import smtp
from congvu.codec.lines import BareLineFeed, LineBuffer, LineTooLong

SEEDS: list[bytes] = [
    b"EHLO may.nguon.test\r\nMAIL FROM:<a@nguon.test> SIZE=10 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=a+2B\r\n",
    b'RCPT TO:<@a,@b:"c\\ d"@[IPv6:::1]> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x\r\nDATA\r\n',
    b"BDAT 10 LAST\r\nAUTH PLAIN AGEAYg==\r\nVRFY x SMTPUTF8\r\nSTARTTLS\r\nQUIT\r\n",
    b"Subject: x\r\n\r\n..a\r\n.b\n.\r.\r\n.\r\nRSET\r\n",
    "MAIL FROM:<đạt@xã.test> SMTPUTF8\r\n".encode(),
]


def one(data: bytes) -> None:
    """Accepts `BadCommand`, `LineTooLong` and `BareLineFeed` only; the cut must not change a letter."""
    buffer = LineBuffer()
    for start in range(0, len(data), 7):
        buffer.feed(data[start : start + 7])
        while True:
            try:
                line = buffer.line(512, strict=True)
            except (LineTooLong, BareLineFeed):
                continue
            if line is None:
                break
            for utf8 in (False, True):
                try:
                    command = smtp.parse(line, utf8)
                except smtp.BadCommand as bad:
                    assert smtp.reply(500, "5.5.2", bad.word).endswith(b"\r\n")
                else:
                    if isinstance(command, smtp.Mail):
                        assert "\n" not in command.sender
                        assert len(command.sender) < 400
    whole, cut = smtp.DotReader(100), smtp.DotReader(100)
    first = whole.feed(data)
    second = b""
    for at in range(len(data)):
        second += cut.feed(data[at : at + 1])
        if cut.done:
            assert whole.rest == data[at + 1 :]
            break
    assert (first, whole.done, whole.watch.bare, whole.watch.too_long) == (
        second,
        cut.done,
        cut.watch.bare,
        cut.watch.too_long,
    )
