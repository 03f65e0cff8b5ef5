"""Old Vietnamese codes: any bytes in any charset are text that a database keeps."""

from congvu.codec import legacy

CODES = ["", "utf-8", "utf-7", "iso-2022-jp", "hz-gb-2312", "gb2312", "x-viet-tcvn", "x-unknown", *legacy.OLD_CODES]
SEEDS: list[bytes] = [
    "Cộng hòa xã hội chủ nghĩa Việt Nam".encode(),
    b"C\xf6ng h\xdfa x\xb7 h\xe9i ch\xf1 ngh\xdca Vi\xd6t Nam",
    "Cộng hòa xã hội".encode("cp1258", "replace"),
    b"Co\xe4ng ho\xf8a xa\xf5 ho\xe4i chu\xfb ngh\xf3a Vie\xe4t Nam",
    b"+AOA- \x1b$B%\x1b(B ~{VP~}",
]
WORDS: list[bytes] = [b"\xcc\xe1", b"\x1b$B", b"~{", b"+2AA-", b"\xe1\xbb", b"Vi\xd6t "]


def one(data: bytes) -> None:
    """No failure is documented, so none is let pass."""
    data = data[:1000]  # some sixty readings of it
    for code in CODES:
        for cut in (False, True):
            legacy.decode(data, code, cut=cut).encode()
    legacy.guess(data).encode()
    assert legacy.recognise(data) in {"", *legacy.OLD_CODES}
    legacy.decode(data, data[:30].decode("latin-1")).encode()
