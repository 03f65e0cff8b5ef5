"""Ugly letters of our own making: what broken senders, old programs and bad gateways produce. Always the same ones."""

import random
from collections.abc import Iterator

HEAD = (
    b"From: An <an@xa.test>\r\nTo: binh@xa.test\r\nDate: Mon, 2 Mar 2026 08:00:00 +0700\r\nMessage-ID: <1@xa.test>\r\n"
)

ADDRESSES: list[bytes] = [
    b"a@b",
    b"<a@b>",
    b"An <a@b>",
    b'"Nguyen, An" <a@b>',
    b'"An \\"Ba\\" C" <a@b>',
    b"a@b (An Ba)",
    b"(truoc) a@b",
    b"An Ba C <a@b>, D <e@f>",
    b"a@b,c@d , e@f",
    b"a@b,,c@d,",
    b"a@b;c@d",
    b"nhom: a@b, c@d;",
    b"nhom:;",
    b"undisclosed-recipients:;",
    b"nhom: a@b",
    b"n1: a@b;, n2: c@d;",
    b"x@y, nhom: a@b;, z@w",
    b"<@r1,@r2:a@b>",
    b'"a b"@c',
    b"a.b.c@d.e.f",
    b"a . b @ c . d",
    b"a@[192.0.2.1]",
    b"a@[IPv6:2001:db8::1]",
    b"root",
    b"<root>",
    b"An <root>",
    b"<>",
    b"An <>",
    b"An",
    b'""',
    b'"" <a@b>',
    b"=?utf-8?B?xJDhuqF0?= <a@b>",
    b"=?utf-8?Q?Nguy=E1=BB=85n?= =?utf-8?Q?_An?= <a@b>",
    b'"=?utf-8?B?xJDhuqF0?=" <a@b>',
    "Đạt <a@b>".encode(),
    '"Đạt, ông" <a@b>'.encode(),
    "đạt@xã.test".encode(),
    b"Nguy\xd4n V\xa8n <a@b>",
    b"a@b\r\n , c@d",
    b"An\r\n\tBa <a@b>",
    b"An (c (d) e) <a@b>",
    b"An <a@b> (sau)",
    b"a@b c@d",
    b"<a@b> <c@d>",
    b"An <a@b",
    b"An a@b>",
    b'"An <a@b>',
    b"An <a@b>>",
    b"a@@b",
    b"@b",
    b"a@",
    b"a b@c",
    b"An. Ba. <a@b>",
    b"An @ Ba <a@b>",
    b"mailto:a@b",
    b"'An' <a@b>",
    b"[An] <a@b>",
    b"<a@b>, An",
    b", a@b",
    b"",
    b" ",
    b"a@b\0",
    b'\\"a@b',
    b"An <a@b>; C <d@e>;",
    b"x" * 300 + b"@b",
]
TYPES: list[bytes] = [
    b"text/plain",
    b"text/plain; charset=utf-8",
    b"TEXT/PLAIN; CHARSET=UTF-8",
    b'text/plain; charset="utf-8"; format=flowed',
    b"text/plain; charset = utf-8",
    b"text/plain;charset=utf-8;",
    b"text/plain;; charset=utf-8",
    b"text/plain; charset",
    b"text/plain; charset=",
    b'text/plain; charset=""',
    b'text/plain; charset="utf-8',
    b"text/plain; =utf-8",
    b"text/plain charset=utf-8",
    b"text/plain, charset=utf-8",
    b"text/plain; charset=utf-8; charset=latin1",
    b"text/plain (c); charset=utf-8 (d)",
    b"text",
    b"text/",
    b"/plain",
    b"text / plain",
    b"",
    b";",
    b"x",
    b"application/pdf; name=bao cao.pdf",
    b'application/pdf; name="bao cao.pdf"',
    b'application/pdf; name="b\\"c.pdf"',
    b'application/pdf; name="=?utf-8?B?YsOhby5wZGY=?="',
    b"application/pdf; name==?utf-8?B?YsOhby5wZGY=?=",
    b"application/pdf; name*=utf-8''b%C3%A1o.pdf",
    b"application/pdf; name*=utf-8'vi'b%C3%A1o.pdf",
    b"application/pdf; name*=x''b%zz%4",
    b"application/pdf; name*=b%C3%A1o.pdf",
    b"application/pdf; name*0=bao; name*1=cao; name*2=.pdf",
    b"application/pdf; name*1=cao; name*0=bao",
    b"application/pdf; name*0*=utf-8''b%C3; name*1*=%A1o; name*2=\" x\"",
    b"application/pdf; name*0=a; name*2=c",
    b"application/pdf; name=a; name*=utf-8''b",
    "application/pdf; name=báo.pdf".encode(),
    'application/pdf; name="báo.pdf"'.encode(),
    b'application/pdf; name="b\xe1o.pdf"',
    b"application/pdf;\r\n name=a;\r\n\tx=y",
    b"application/octet-stream; a=1; b=2; c=3; d=4; e=5; f=6; g=7; h=8",
    b"image/png; x=" + b"y" * 2000,
    b"message/rfc822",
    b"message/partial; id=a@b; number=1",
    b"message/external-body; access-type=x",
    b"message/delivery-status",
    b"multipart/mixed",
    b"multipart/mixed; boundary=",
    b"multipart/digest; boundary=q",
    b"text/html; charset=us-ascii\r\nContent-Type: text/plain",
]
DISPOSITIONS: list[bytes] = [
    b"inline",
    b"attachment",
    b"ATTACHMENT; FILENAME=A.PDF",
    b"attachment; filename=bao cao.pdf",
    b'attachment; filename="bao cao.pdf"; size=10',
    b"attachment; filename*=utf-8''b%C3%A1o.pdf",
    b"attachment; filename*0=a; filename*1=b",
    "attachment; filename=báo.pdf".encode(),
    b'attachment; filename="=?utf-8?Q?b=C3=A1o?="',
    b"",
    b";filename=a",
    b"attachment;",
    b'"attachment"; filename=x',
    b"attachment (x)",
]
ENCODINGS: list[bytes] = [
    b"base64",
    b"BASE64",
    b"quoted-printable",
    b"7bit",
    b"8bit (x)",
    b"",
    b'"base64"',
    b"x-uuencode",
    b"base 64",
]
DATES: list[bytes] = [
    b"Mon, 2 Mar 2026 08:00:00 +0700",
    b"2 Mar 26 8:0 GMT",
    b"yesterday",
    b"",
    b"Mon, 2 Mar 2026 08:00:00 +0700 (ICT)",
    b"Mon,  2 Mar\r\n 2026 08:00:00 +0700",
    "Thứ hai".encode(),
]
SUBJECTS: list[bytes] = [
    b"=?utf-8?B?VsSDbiBi4bqjbg==?=",
    b"=?utf-8?Q?a?=\r\n =?utf-8?Q?b?=",
    "Văn bản".encode(),
    b"V\xa8n b\xb6n",
    b"",
    b'"a" \\ b',
    b"a\tb",
    b"  a  ",
    b"a\r\n b\r\n\tc",
    b"a\r\n \r\n b",
    b"a\0b",
    b"x" * 1500,
    b"{5}\r\n ab",
    b"=?x?y?z?=",
]


def _multipart(parts: list[bytes], boundary: bytes = b"b", sub: bytes = b"mixed", *, end: bool = True) -> bytes:
    body = b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts)
    return b"Content-Type: multipart/%b; boundary=%b\r\n\r\n%b%b" % (
        sub,
        boundary,
        body,
        b"--%b--\r\n" % boundary if end else b"",
    )


PLAIN = b"Content-Type: text/plain\r\n\r\nxin chao\r\n"
QP = b"Content-Transfer-Encoding: quoted-printable\r\n"
HTML = b"Content-Type: text/html; charset=utf-8\r\n" + QP + b"\r\n<p>a=E1=BB=87</p>\r\n"
EMPTY = b"Content-ID:\r\nContent-Description:\r\nContent-Language:\r\nContent-Location:\r\n"
FULL = b"Content-ID: <1@x>\r\nContent-Description: =?utf-8?Q?m=C3=B4?= ta\r\nContent-MD5: abc==\r\n"
FULL += b"Content-Language: vi, en\r\nContent-Location: http://x/ y\r\n"
INNER = b"Content-Type: message/rfc822\r\n\r\nFrom: c@d\r\nSubject: trong\r\n\r\nben trong\r\nhai\r\n"


def _bodies() -> Iterator[bytes]:
    """Everything from the MIME fields on."""
    both = [PLAIN, HTML]
    yield _multipart(both)
    yield _multipart(both, end=False)
    yield _multipart(both)[:-4]
    yield _multipart([])
    yield _multipart([], end=False)
    yield _multipart([b"\r\n"])
    yield _multipart([b"\r\nno header\r\n"])
    yield _multipart([b"no empty line"])
    yield _multipart([b""])
    yield _multipart([b"Content-Type: text/plain\r\n"])
    yield _multipart([_multipart(both, b"c", b"alternative"), PLAIN])
    yield _multipart([_multipart(both, b"c", b"alternative", end=False), PLAIN])
    yield _multipart([_multipart(both, b"b", b"alternative"), PLAIN])
    yield _multipart([_multipart(both, b"bb", b"alternative"), PLAIN])
    yield _multipart([_multipart(both, b"b", b"alternative"), PLAIN], b"bb")
    yield _multipart([INNER, PLAIN])
    yield _multipart([INNER, INNER], sub=b"digest")
    yield _multipart([b"\r\nFrom: x@y\r\nSubject: z\r\n\r\nt\r\n"], sub=b"digest")
    yield _multipart([b"Content-Type: message/rfc822\r\n\r\n" + _multipart(both, b"c"), PLAIN])
    yield _multipart([b"Content-Type: message/rfc822\r\n\r\n" + _multipart(both, b"c", end=False), PLAIN])
    yield _multipart([b"Content-Type: message/rfc822\r\n\r\n"])
    yield _multipart([b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nRnJvbTogYUBi\r\n"])
    yield _multipart([b"Content-Type: message/rfc822\r\n\r\n" + INNER])
    yield INNER
    yield b"Content-Type: message/rfc822\r\n\r\n"
    yield b"Content-Type: message/rfc822\r\n\r\nno header here"
    yield b"Content-Type: message/rfc822\r\n\r\n" + _multipart(both, b"c")
    deep = PLAIN
    for n in range(12):
        deep = _multipart([deep], b"n%d" % n)
    yield deep
    yield _multipart([PLAIN] * 60)
    yield (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\nloi mo\r\n--b\r\n"
        + PLAIN
        + b"--b--\r\nloi ket\r\n--b\r\n\r\nthua\r\n"
    )
    yield b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b \t\r\n" + PLAIN + b"--b-- \t\r\n"
    yield b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--bx\r\n" + PLAIN + b"--b\r\n" + HTML + b"--b--\r\n"
    yield b"Content-Type: multipart/mixed; boundary=b\r\n\r\n --b\r\n" + PLAIN + b"--b--\r\n"
    yield b'Content-Type: multipart/mixed; boundary="b b"\r\n\r\n--b b\r\n' + PLAIN + b"--b b--\r\n"
    yield b"Content-Type: multipart/mixed; boundary=b b\r\n\r\n--b b\r\n" + PLAIN + b"--b b--\r\n"
    yield b'Content-Type: multipart/mixed; boundary="b "\r\n\r\n--b\r\n' + PLAIN + b"--b--\r\n"
    yield b"Content-Type: multipart/mixed; boundary=\"=_(b)'+,-./:=?\"\r\n\r\n--=_(b)'+,-./:=?\r\n" + PLAIN
    yield b"Content-Type: multipart/mixed; boundary*0=a; boundary*1=b\r\n\r\n--ab\r\n" + PLAIN + b"--ab--\r\n"
    yield b"Content-Type: multipart/mixed; boundary*=us-ascii''a%62\r\n\r\n--ab\r\n" + PLAIN + b"--ab--\r\n"
    yield b"Content-Type: multipart/mixed; boundary=" + b"b" * 100 + b"\r\n\r\n--" + b"b" * 100 + b"\r\n" + PLAIN
    yield b"Content-Type: multipart/mixed; boundary=B\r\n\r\n--b\r\n" + PLAIN + b"--B\r\n" + HTML
    yield b"Content-Type: multipart/mixed\r\n\r\n--b\r\n" + PLAIN + b"--b--\r\n"
    yield b"Content-Type: multipart; boundary=b\r\n\r\n--b\r\n" + PLAIN + b"--b--\r\n"
    yield (
        b"Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: base64\r\n\r\n--b\r\n"
        + PLAIN
        + b"--b--\r\n"
    )
    yield b"Content-Type: multipart/mixed; boundary=b\r\n"
    yield b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    yield b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b--\r\n"
    yield b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b"
    yield b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n--b\r\n--b--"
    yield b"Content-Type: text/plain\r\n\r\n"
    yield b"Content-Type: text/plain\r\n\r\nno line end"
    yield b"Content-Type: text/plain\r\n\r\n\r\n\r\n"
    yield b"Content-Type: text/plain\r\n" + FULL + b"\r\nx\r\n"
    yield b"Content-Type: text/plain\r\n" + EMPTY + b"\r\nx\r\n"
    yield b"Content-Language: vi (tieng Viet),en-US , fr;q=0.1\r\n\r\nx\r\n"
    yield "Content-Description: mô tả\r\n\r\nx\r\n".encode()
    for kind in TYPES:
        yield b"Content-Type: " + kind + b"\r\n\r\nmot\r\nhai\r\n"
        yield _multipart([b"Content-Type: " + kind + b"\r\n\r\nmot\r\nhai\r\n", PLAIN])
    for disposition in DISPOSITIONS:
        yield b"Content-Type: application/pdf\r\nContent-Disposition: " + disposition + b"\r\n\r\nx\r\n"
    for encoding in ENCODINGS:
        yield b"Content-Type: application/pdf\r\nContent-Transfer-Encoding: " + encoding + b"\r\n\r\neHg=\r\n"


def _heads() -> Iterator[bytes]:
    """Headers of a letter of plain text."""
    tail = b"\r\nxin chao\r\n"
    for at, address in enumerate(ADDRESSES):
        name = (b"From", b"To", b"Cc", b"Bcc", b"Reply-To", b"Sender")[at % 6]
        yield b"Subject: x\r\n" + name + b": " + address + b"\r\n" + tail
        yield b"From: a@b\r\nTo: " + address + b"\r\n" + tail
    for date in DATES:
        yield b"From: a@b\r\nDate: " + date + b"\r\n" + tail
    for subject in SUBJECTS:
        yield b"From: a@b\r\nSubject: " + subject + b"\r\n" + tail
    yield tail
    yield b""
    yield b"\r\n"
    yield b"xin chao\r\n"
    yield b"From a@b Mon Mar  2 08:00:00 2026\r\n" + HEAD + tail
    yield b">From x\r\n" + HEAD + tail
    yield HEAD + b"not a header\r\nSubject: x\r\n" + tail
    yield HEAD + b"Subject : x\r\n" + tail
    yield HEAD + b"subject:x\r\n" + tail
    yield HEAD + b" Subject: x\r\n" + tail
    yield HEAD + b": x\r\nSubject: y\r\n" + tail
    yield HEAD + b"Subject: a\r\nSubject: b\r\n" + tail
    yield HEAD + b"To: c@d\r\nTo: e@f\r\n" + tail
    yield b"From: a@b\r\nFrom: c@d\r\nSender: e@f\r\nSender: g@h\r\n" + tail
    yield b"From: a@b\r\nSender:\r\nReply-To:\r\n" + tail
    yield b"Sender: e@f\r\n" + tail
    yield b"From: a@b\r\nMessage-ID: <1@x> (c)\r\nIn-Reply-To: <2@x>\r\n <3@x>\r\n" + tail
    yield b"From: a@b\r\nMessage-ID: 1\r\nMessage-ID: <2@x>\r\nIn-Reply-To: your letter\r\n" + tail
    yield b"From: a@b\r\nMessage-ID:\r\nIn-Reply-To:  \r\n" + tail
    yield HEAD + b"Subject: x"
    yield HEAD
    yield HEAD[:-2]
    yield HEAD + b"\r\n"


def letters() -> list[bytes]:
    """Some five hundred."""
    whole = [*_heads(), *(HEAD + b"Subject: x\r\nMIME-Version: 1.0\r\n" + body for body in _bodies())]
    whole += [HEAD + body for body in list(_bodies())[:8]]  # no MIME-Version
    chance = random.Random(2026)
    bent = []
    for letter in chance.sample(whole, 60):
        match chance.randrange(4):
            case 0:
                bent.append(letter.replace(b"\r\n", b"\n"))
            case 1:
                bent.append(letter[: chance.randrange(len(letter) + 1)])
            case 2:
                at = chance.randrange(len(letter) + 1)
                bent.append(letter[:at] + chance.choice([b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" \r\n"]) + letter[at:])
            case _:
                bent.append(letter.replace(b"\r\n", b"\r\r\n"))
    return [letter for letter in whole + bent if letter]  # an empty one cannot be appended
