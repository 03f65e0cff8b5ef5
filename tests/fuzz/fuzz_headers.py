"""Header fields, addresses, parameters, dates: any bytes give a result, rendered words stay one value on the wire."""

from congvu.codec import headers, surrogate, wire

SEEDS: list[bytes] = [
    b'"Nguyen, An" <an@angiang.gov.vn>, Nhom: b@x.vn, =?utf-8?B?xJDhuqF0?= <c@x.vn>;, <@r1,@r2:d@x.vn>, (c) e@x (E)',
    b'text/plain; charset*0=ut; charset*1=f-8; name*0*=utf-8\'\'b%C3%A1o; name*1*=%20c; name*2=.pdf (x); =; a="b\\""',
    b"Mon, 02 Mar 2026 08:00:00 +0700 (ICT)",
    b"<1@a> <2@b><3@c> broken <4@",
    b"Subject: =?utf-8?Q?a_=E1=BB=87?=\r\n =?x-viet-tcvn?b?Vrft?=\r\nFrom: x\r\nto:\ty\r\n\r\n",
    'Từ: Đạt <đạt@xã.vn>, "a\\"b" <"x y"@z>, undisclosed-recipients:;'.encode(),
]
WORDS: list[bytes] = [
    b"=?utf-8?B?",
    b"?=",
    b"=?",
    b"*0*=",
    b"*=utf-8''",
    b"<@",
    b";,",
    b":;",
    b"(",
    b'"',
    b"\\",
    b"\r\n ",
]


def one(data: bytes) -> None:
    """No failure is documented, so none is let pass."""
    value = headers.unfold(data)
    found = headers.parse_addresses(value, 100)
    assert len(found) <= 104  # what opens and closes a group counts too
    kind, parameters = headers.parse_parameters(value, 50)
    assert len(parameters) <= 50
    rendered = b"(%b %b %b)" % (
        wire.render_addresses(found),
        wire.render_parameters(parameters),
        wire.render_string(kind),
    )
    _balanced(rendered)
    headers.parameter_text(parameters, b"name")
    for text in (headers.decode_header(data), *(headers.address_text(a[2], a[3] or b"") for a in found)):
        text.encode()  # no half surrogates
    when = headers.parse_date(value)
    assert when is None or abs(when) < 1 << 60
    assert all(b"\0" not in each for each in headers.message_ids(value))
    headers.authors(data)
    headers.header_fields(data)
    names = ["from", b"subject"]
    kept, dropped = headers.select_fields(data, names), headers.select_fields(data, names, True)
    assert len(kept) + len(dropped) <= 2 * len(data) + 8
    shown = surrogate.header(data)
    assert shown.isascii()
    assert shown == data or not data.isascii()


def _balanced(rendered: bytes) -> None:
    """What a client reads: strings, literals and brackets come out even."""
    depth, at = 0, 0
    while at < len(rendered):
        match rendered[at : at + 1]:
            case b"(":
                depth += 1
            case b")":
                depth -= 1
                assert depth >= 0
            case b'"':
                at += 1
                while rendered[at : at + 1] != b'"':
                    assert rendered[at : at + 1] not in (b"", b"\r", b"\n", b"\0"), rendered[max(at - 50, 0) : at + 10]
                    at += 2 if rendered[at : at + 1] == b"\\" else 1
            case b"{":
                end = rendered.index(b"}\r\n", at)
                at = end + 2 + int(rendered[at + 1 : end])
        at += 1
    assert depth == 0
