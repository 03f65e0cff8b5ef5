"""Broken letters for the MIME reader: nothing may be raised, and offsets stay inside."""

from contextlib import suppress

from congvu.codec import mime

SEEDS: list[bytes] = [
    b'From: =?utf-8?B?4buH?= <a@b.vn>\r\nTo: g: x@y, "z" <z@y>;\r\nSubject: =?x-viet-tcvn?Q?Vi=D6t?= =?utf-8?q?a?=\r\n'
    b"Date: Mon, 02 Mar 2026 08:00:00 +0700\r\nMessage-ID: <1@b>\r\nReferences: <2@b> <3@b>\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="=_1"\r\n\r\npreamble\r\n--=_1\r\n'
    b"Content-Type: multipart/alternative; boundary=in\r\n\r\n--in\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\n4buH4buH\r\n--in\r\nContent-Type: text/html\r\n"
    b"Content-Transfer-Encoding: quoted-printable\r\n\r\n<style>p {}</style><p>=E1=BB=87&nbsp;</p><!-- -->\r\n"
    b"--in--\r\n"
    b"--=_1\r\nContent-Type: application/pdf; name*0*=utf-8''b%C3%A1o; name*1=.pdf\r\n"
    b'Content-Disposition: attachment; filename="bao cao.pdf"\r\nContent-Language: vi, en\r\n\r\n%PDF\r\n--=_1--\r\n',
    b"Content-Type: multipart/digest; boundary=d\r\n\r\n--d\r\n\r\nFrom: (c) a@b (Name)\r\nSubject: in\r\n\r\ntext\r\n"
    b"--d\r\n"
    b"Content-Type: message/rfc822\r\nContent-Description: x\r\n\r\nContent-Type: message/rfc822\r\n"
    b"\r\nTo: <@r:q@w>\r\n\r\n"
    b"deep\r\n--d--\r\n",
    b"Subject: Nguy\xd4n V\xa8n\nFrom: Vie\xe4t <a@b>\nContent-Transfer-Encoding: x-uuencode\n\n"
    b"begin 644 x\n#8V%T\n`\nend\n",
    b"\r\n",
]
WORDS: list[bytes] = [
    b"Content-Type: ", b"multipart/mixed; boundary=d\r\n\r\n", b"--d\r\n", b"--d--",
    b"message/rfc822\r\n\r\n", b"charset=",
    b"=?utf-8?B?", b"To: ", b"From: ", b"\r\n ", b"\r\n\r\n", b"*0*=utf-8''", b"<style>", b"<!--", b"&#x", b"%C3",
    b"Content-Transfer-Encoding: base64\r\n\r\n",
]  # fmt: skip


def run(data: bytes) -> None:
    """Everything a letter goes through. No failure is documented, so none is let pass."""
    found = mime.scan(data)
    assert mime.unpack_parts(found.parts) == found.root
    mime.plain_structure(found.structure)
    for part in mime.walk(found.root):
        assert 0 <= part.header <= part.body <= part.end <= len(data)
    mime.letter_text(data, found.root, 10_000)
    mime.header_fields(mime.header_block(data, found.root))
    mime.select_fields(mime.header_block(data, found.root), ["from", "x"], True)
    mime.decode_header(data[:1000])
    with suppress(ValueError):
        mime.unpack_parts(data)


one = run
