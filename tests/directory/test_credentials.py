"""Password hashes: those made elsewhere are understood, absurd ones refused, weak ones known as such."""

import base64
import hashlib

import argon2
import bcrypt
import pytest
from argon2.exceptions import VerificationError
from passlib.hash import md5_crypt, sha256_crypt, sha512_crypt

from congvu.base.failure import NotNow, Refused
from congvu.base.observe import Secret
from congvu.codec import sasl
from congvu.directory import credentials

PASSWORD = "Mật khẩu của Huệ 2026!"
RAW = PASSWORD.encode()


def _ab64(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=").replace("+", ".")


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _salted(name: str, salt: bytes = b"12345678") -> str:
    return _b64(hashlib.new(name, RAW + salt).digest() + salt)


def _pbkdf2(name: str, salt: bytes = b"saltsaltsalt", rounds: int = 1000, size: int | None = None) -> bytes:
    return hashlib.pbkdf2_hmac(name, RAW, salt, rounds, size)


FORMS = {
    "argon2id": argon2.PasswordHasher(1, 64, 1).hash(RAW),
    "dovecot argon2": "{ARGON2ID}" + argon2.PasswordHasher(1, 64, 1).hash(RAW),
    "argon2i": "{ARGON2I}" + argon2.PasswordHasher(1, 64, 1, type=argon2.Type.I).hash(RAW),
    "zimbra ssha512": "{SSHA512}" + _salted("sha512"),
    "lower case": "{ssha512}" + _salted("sha512"),
    "ssha256": "{SSHA256}" + _salted("sha256"),
    "openldap ssha": "{SSHA}" + _salted("sha1", b"1234"),
    "sha512-crypt": "{CRYPT}" + sha512_crypt.using(rounds=5000).hash(PASSWORD),
    "sha512-crypt bare": sha512_crypt.using(rounds=1000).hash(PASSWORD),
    "dovecot sha512": "{SHA512-CRYPT}" + sha512_crypt.using(rounds=1000).hash(PASSWORD),
    "sha256-crypt": "{CRYPT}" + sha256_crypt.using(rounds=1000).hash(PASSWORD),
    "md5-crypt": "{CRYPT}" + md5_crypt.hash(PASSWORD),
    "bcrypt": "{CRYPT}" + bcrypt.hashpw(RAW, bcrypt.gensalt(4)).decode(),
    "bcrypt 2y": "{BLF-CRYPT}" + bcrypt.hashpw(RAW, bcrypt.gensalt(4)).decode().replace("$2b$", "$2y$"),
    "dovecot pbkdf2": f"{{PBKDF2}}$1$saltsaltsalt$1000${_pbkdf2('sha1').hex()}",
    "openldap pbkdf2": f"{{PBKDF2}}1000${_ab64(b'saltsaltsalt')}${_ab64(_pbkdf2('sha1'))}",
    "openldap pbkdf2-sha512": f"{{PBKDF2-SHA512}}1000${_ab64(b'saltsaltsalt')}${_ab64(_pbkdf2('sha512'))}",
    "passlib pbkdf2": f"$pbkdf2-sha256$1000${_ab64(b'saltsaltsalt')}${_ab64(_pbkdf2('sha256'))}",
    "passlib pbkdf2 sha1": f"$pbkdf2$1000${_ab64(b'saltsaltsalt')}${_ab64(_pbkdf2('sha1'))}",
    "django": f"{{PBKDF2}}pbkdf2_sha256$1000$saltsaltsalt${_b64(_pbkdf2('sha256'))}",
    "django bare": f"pbkdf2_sha256$1000$saltsaltsalt${_b64(_pbkdf2('sha256'))}",
}


@pytest.mark.parametrize("stored", FORMS.values(), ids=FORMS)
def test_hashes_brought_along(stored: str) -> None:
    assert credentials.checked_hash(stored) == stored
    assert credentials.verify(stored, Secret(PASSWORD))
    assert not credentials.verify(stored, Secret(PASSWORD + " "))
    assert not credentials.verify(stored, Secret(""))
    assert credentials.is_weak(stored)


# From the papers of other houses, so that we do not only agree with ourselves.
@pytest.mark.parametrize(
    ("stored", "password"),
    [
        (  # crypt(3)
            "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
            "Hello world!",
        ),
        ("{CRYPT}$5$rounds=10000$saltstringsaltst$3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA", "Hello world!"),
        ("$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"),  # crypt_blowfish
        ("{PBKDF2}$1$salt$4096$4b007901b765489abead49d926f721d065a429c1", "password"),  # rfc6070 2
        ("{PBKDF2}1200$DLGbmd7GGrqYfKLXoUFTyg$5JgB0CtqYk3dmIsTrsBzNhI1Q.A", None),  # well formed, password not known
    ],
)
def test_known_answers(stored: str, password: str | None) -> None:
    credentials.checked_hash(stored)
    if password is not None:
        assert credentials.verify(stored, Secret(password))


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        ("", "scheme"),
        ("secret", "scheme"),
        ("{PLAIN}secret", "scheme"),
        ("{MD5}x", "scheme"),
        ("{CRYPT}", "scheme"),
        ("{CRYPT}$y$j9T$abc$def", "scheme"),
        ("{SSHA512}!!!", "form"),
        ("{SSHA512}" + _b64(b"x" * 64), "length"),
        ("{SSHA}" + _b64(b"x" * 90), "length"),
        ("$argon2id$v=19$m=9999999,t=3,p=4$c2FsdHNhbHQ$" + _b64(b"x" * 32).rstrip("="), "cost"),
        ("$argon2id$v=19$m=65536,t=99999,p=1$c2FsdHNhbHQ$" + _b64(b"x" * 32).rstrip("="), "cost"),
        ("$argon2id$v=19$m=65536", "form"),
        ("$2b$31$" + "a" * 53, "cost"),
        ("$2b$12$short", "form"),
        ("$6$rounds=999999999$salt$" + "a" * 86, "cost"),
        ("$6$salt$short", "form"),
        ("{PBKDF2}$1$salt$999999999$" + "ab" * 20, "cost"),
        ("{PBKDF2}$1$salt$-5$" + "ab" * 20, "form"),
        ("{PBKDF2}$1$salt$1000$zz", "form"),
        ("{PBKDF2}$1$salt$1000$" + "ab" * 8, "length"),
        ("{PBKDF2}$2$salt$1000$" + "ab" * 20, "form"),
        ("{SSHA512}" + "A" * 2000, "length"),
        ("{SSHA512}đ", "length"),
    ],
)
def test_absurd_hashes_are_refused(stored: str, reason: str) -> None:
    with pytest.raises(Refused) as caught:
        credentials.checked_hash(stored)
    assert caught.value.code == "bad-hash" and caught.value.facts == {"reason": reason}
    assert not credentials.verify(stored, Secret("secret"))


def test_our_own() -> None:
    stored = credentials.make(Secret(PASSWORD))
    assert credentials.verify(stored.hash, Secret(PASSWORD))
    assert not credentials.is_weak(stored.hash) and credentials.is_ours(stored.hash)
    assert stored.scram is not None
    keys = sasl.parse_keys(stored.scram)
    assert sasl.derive_keys(PASSWORD, keys.salt, keys.iterations) == keys
    assert PASSWORD not in repr(stored) + repr(Secret(PASSWORD))


def test_who_finds_no_memory_is_not_told_a_wrong_password(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = credentials.hash_password(Secret("đúng"))

    def no_memory(*_: object) -> bool:
        raise VerificationError("Memory allocation error")

    monkeypatch.setattr("argon2.PasswordHasher.verify", no_memory)
    with pytest.raises(NotNow):
        credentials.verify(stored, Secret("đúng"))


def test_marks_typed_either_way_are_one_password() -> None:
    import unicodedata

    stored = credentials.hash_password(Secret(unicodedata.normalize("NFD", PASSWORD)))
    assert credentials.verify(stored, Secret(PASSWORD))
    decomposed = unicodedata.normalize("NFD", PASSWORD)
    brought = "{SSHA}" + _b64(hashlib.sha1(decomposed.encode() + b"salt").digest() + b"salt")
    assert credentials.verify(brought, Secret(decomposed))


@pytest.mark.parametrize("text", ["", "a\nb", "a\0b", "x" * 2000])
def test_passwords_that_cannot_be(text: str) -> None:
    with pytest.raises(Refused):
        credentials.checked_password(Secret(text))


def test_invented_passwords_have_four_classes() -> None:
    for _ in range(100):
        text = credentials.invent_password().reveal()
        assert len(text) == 16
        assert any(c.isupper() for c in text) and any(c.islower() for c in text) and any(c.isdigit() for c in text)
        assert any(not c.isalnum() for c in text)
