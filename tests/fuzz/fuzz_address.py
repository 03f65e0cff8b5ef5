"""Addresses and stored hashes: any text has one form; a hash is understood within bounds or refused."""

import contextlib

from congvu.base.failure import Refused
from congvu.directory import addresses, credentials

SEEDS = [
    b"nthue+hop@angiang.gov.vn",
    "huệ@tỉnh.vn".encode(),
    b'"a b"@xn--tnh-hnz.vn',
    b"{SSHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
]
SEEDS += [b"$6$rounds=5000$salt$" + b"a" * 86, b"{PBKDF2}$1$salt$4096$4b007901b765489abead49d926f721d065a429c1"]
SEEDS += [b"$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$Y11AchqV4b0sUisdZd0Xr97KWoymNE0LNNrnEgY4H9M"]
WORDS = [b"xn--", b"\xcc\x80", b"\xcc\xa3", b"{SSHA512}", b"{CRYPT}", b"$2b$31$", b"m=4294967295", b"\xe3\x80\x80"]


def one(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    addresses.base(addresses.normalise(text))
    with contextlib.suppress(Refused):
        given = addresses.checked(text)
        assert addresses.checked(given) == given == addresses.normalise(given)
    with contextlib.suppress(Refused):
        credentials.checked_hash(text)
