"""codec.sasl: the RFCs' own examples, wrong proofs, channel bindings, and messages that are no messages."""

import base64
import hashlib
import hmac
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from congvu.codec import sasl
from congvu.codec.sasl import Accepted, Challenge, Credentials, KeysWanted, Rejected, Scram, Token

SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
KEYS = sasl.derive_keys("pencil", SALT, 4096)


def client_final(password: str, bare: bytes, server_first: bytes, cbind: bytes) -> tuple[bytes, bytes]:
    """A client's last message, and the answer it expects."""
    parts = dict(p.split(b"=", 1) for p in server_first.split(b","))
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(parts[b"s"]), int(parts[b"i"]))
    key = hmac.digest(salted, b"Client Key", "sha256")
    without = b"c=" + base64.b64encode(cbind) + b",r=" + parts[b"r"]
    said = bare + b"," + server_first + b"," + without
    signature = hmac.digest(hashlib.sha256(key).digest(), said, "sha256")
    proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
    server = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), said, "sha256")
    return without + b",p=" + base64.b64encode(proof), b"v=" + base64.b64encode(server)


def test_the_example_of_rfc7677() -> None:
    scram = Scram(False, {}, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0")
    assert scram.step(None) == Challenge(b"")
    assert scram.step(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO") == KeysWanted("user")
    first = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    assert scram.keys(KEYS) == Challenge(first)
    final = (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    assert scram.step(final) == Challenge(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", final=True)
    assert scram.step(b"") == Accepted("user")
    assert scram.step(b"") == Rejected("bad-auth-message")


def talk(scram: Scram, gs2: bytes, password: str, cbind: bytes, name: bytes = b"user") -> sasl.Step:
    bare = b"n=" + name + b",r=abcdef"
    step = scram.step(gs2 + bare)
    if not isinstance(step, KeysWanted):
        return step
    server_first = scram.keys(KEYS).data
    final, expected = client_final(password, bare, server_first, gs2 + cbind)
    step = scram.step(final)
    if isinstance(step, Challenge):
        assert step == Challenge(expected, final=True)
        return scram.step(b"")
    return step


HERE = {"tls-server-end-point": b"hash of the certificate"}
POINT = b"p=tls-server-end-point,,"


@pytest.mark.parametrize(
    ("plus", "bindings", "gs2", "password", "cbind", "end"),
    [
        (False, {}, b"n,,", "pencil", b"", Accepted("user")),
        (False, {}, b"y,,", "pencil", b"", Accepted("user")),
        (False, {}, b"n,,", "pencils", b"", Rejected("bad-credentials")),
        (False, {}, b"n,a=user,", "pencil", b"", Accepted("user")),
        (False, {}, b"n,a=other,", "pencil", b"", Rejected("no-such-authorization")),
        (False, HERE, b"n,,", "pencil", b"", Accepted("user")),
        (False, HERE, b"y,,", "pencil", b"", Rejected("bad-channel-binding")),  # somebody hid our -PLUS
        (False, HERE, POINT, "pencil", b"hash of the certificate", Rejected("bad-channel-binding")),
        (True, HERE, POINT, "pencil", b"hash of the certificate", Accepted("user")),
        (True, HERE, POINT, "pencil", b"hash of another", Rejected("bad-channel-binding")),
        (True, HERE, POINT, "pencil", b"", Rejected("bad-channel-binding")),
        (True, HERE, b"n,,", "pencil", b"", Rejected("bad-channel-binding")),
        (True, HERE, b"p=tls-unique,,", "pencil", b"x", Rejected("bad-channel-binding")),
    ],
)
def test_scram(plus: bool, bindings: dict[str, bytes], gs2: bytes, password: str, cbind: bytes, end: sasl.Step) -> None:
    assert talk(Scram(plus, bindings, "server-nonce"), gs2, password, cbind) == end


def test_names_are_unescaped_and_composed() -> None:
    decomposed = unicodedata.normalize("NFD", "huệ,=").encode().replace(b"=", b"=3D").replace(b",", b"=2C")
    assert talk(Scram(False, {}, "n"), b"n,,", "pencil", b"", decomposed) == Accepted("huệ,=")


@pytest.mark.parametrize(
    "message",
    [b"", b"n,,", b"n,,n=user", b"n,,n=,r=x", b"n,,m=ext,n=user,r=x", b"n,,n=us=er,r=x", b"n,,n=a=2cb,r=x",
     b"x,,n=u,r=x",
     b"n,,n=user,r=a b", b"n,,n=\xff,r=x", b"n,,n=user,r=" + b"x" * 300, b"n,,n=u\0v,r=x",
     b"n,,n=" + b"u" * 400 + b",r=x",
     b"n,,n=u,r=" + b"x" * 5000],
)  # fmt: skip
def test_bad_first_messages(message: bytes) -> None:
    assert Scram(False, {}, "n").step(message) == Rejected("bad-auth-message")


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"c=biws",
        b"c=biws,r=abcN",
        b"c=biws,r=abcN,p=AAAA",
        b"c=!,r=abcN,p=x",
        b"c=biws,r=other,p=" + b"A" * 43 + b"=",
    ],
)
def test_bad_final_messages(message: bytes) -> None:
    scram = Scram(False, {}, "N")
    scram.step(b"n,,n=user,r=abc")
    scram.keys(KEYS)
    assert scram.step(message) == Rejected("bad-auth-message")
    assert scram.step(b"") == Rejected("bad-auth-message")


@pytest.mark.parametrize(
    ("response", "step"),
    [
        (None, Challenge(b"")),
        (b"\0an@x.vn\0b\xc3\xadm\xe1\xba\xadt", Credentials("an@x.vn", "bímật")),
        (b"an@x.vn\0an@x.vn\0pw", Credentials("an@x.vn", "pw")),
        (b"AN@x.vn\0an@x.vn\0pw", Credentials("an@x.vn", "pw")),
        (b"boss@x.vn\0an@x.vn\0pw", Rejected("no-such-authorization")),
        (b"\0an@x.vn\0", Rejected("bad-auth-message")),
        (b"\0\0pw", Rejected("bad-auth-message")),
        (b"an@x.vn\0pw", Rejected("bad-auth-message")),
        (b"\0a\0b\0c", Rejected("bad-auth-message")),
        (b"\0a\0\xff", Rejected("bad-auth-message")),
        (b"\0a\0" + b"p" * 2000, Rejected("bad-auth-message")),
        (b"", Rejected("bad-auth-message")),
    ],
)
def test_plain(response: bytes | None, step: sasl.Step) -> None:
    assert sasl.Plain().step(response) == step


def test_login() -> None:
    login = sasl.Login()
    assert login.step(None) == Challenge(b"Username:")
    assert login.step(b"an@x.vn") == Challenge(b"Password:")
    assert login.step(b"pw") == Credentials("an@x.vn", "pw")
    assert "pw" not in repr(Credentials("an@x.vn", "pw"))
    early = sasl.Login()
    assert early.step(b"an@x.vn") == Challenge(b"Password:")
    assert early.step(b"") == Rejected("bad-auth-message")


@pytest.mark.parametrize(
    ("response", "step"),
    [
        (None, Challenge(b"")),
        (
            b"n,a=an@xa.test,\x01host=mail.xa.test\x01port=143\x01auth=Bearer vF9dft4qmT.c2-_~+/==\x01\x01",
            Token("an@xa.test", "vF9dft4qmT.c2-_~+/=="),
        ),
        (b"y,a=a=2Cb@xa.test,\x01auth=bearer  x\x01\x01", Token("a,b@xa.test", "x")),
        (b"n,a=an@xa.test,\x01\x01", Rejected("bad-auth-message")),  # asks which tokens are taken; none is known
        (b"n,,\x01auth=Bearer x\x01\x01", Rejected("bad-auth-message")),
        (b"p=x,a=an,\x01auth=Bearer x\x01\x01", Rejected("bad-auth-message")),
        (b"n,a=an,\x01auth=Basic x\x01\x01", Rejected("bad-auth-message")),
        (b"n,a=an,\x01auth=Bearer x y\x01\x01", Rejected("bad-auth-message")),
        (b"n,a=an,\x01auth=Bearer x\x01", Rejected("bad-auth-message")),
        (b"n,a=an,\x01auth=Bearer x\x01\x01more", Rejected("bad-auth-message")),
        (b"n,a=a=n,\x01auth=Bearer x\x01\x01", Rejected("bad-auth-message")),
        (b"n,a=an,\x01host=a\x01xauth=Bearer x\x01\x01", Rejected("bad-auth-message")),
        (b"n,a=an,\x01auth=Bearer " + b"x" * sasl.LONGEST + b"\x01\x01", Rejected("bad-auth-message")),
    ],
)
def test_bearer(response: bytes | None, step: sasl.Step) -> None:
    assert sasl.Bearer().step(response) == step


def test_a_bad_token_is_told_before_the_exchange_fails() -> None:
    exchange = sasl.Bearer()
    exchange.step(b"n,a=an,\x01auth=Bearer x\x01\x01")
    assert isinstance(exchange.judged(False), Challenge)
    assert exchange.step(b"n,a=an,\x01auth=Bearer good\x01\x01") == Rejected("bad-credentials")
    assert exchange.step(b"n,a=an,\x01auth=Bearer good\x01\x01") == Rejected("bad-auth-message")
    exchange = sasl.Bearer()
    assert "geheim" not in repr(exchange.step(b"n,a=an,\x01auth=Bearer geheim\x01\x01"))
    assert exchange.judged(True) == Accepted("an")
    assert sasl.begin("OAUTHBEARER", {}, lambda: "x") is None
    with pytest.raises(RuntimeError):
        sasl.Bearer().judged(True)


def test_keys_have_a_text_form() -> None:
    text = sasl.format_keys(KEYS)
    assert text.startswith("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$")
    assert sasl.parse_keys(text) == KEYS
    assert KEYS.stored.hex() not in repr(KEYS)
    for bad in ["", "x", text[:-1], text.replace("4096", "0"), text.replace("256", "1"), text + "A"]:
        with pytest.raises(ValueError):
            sasl.parse_keys(bad)


def test_prepare() -> None:
    assert sasl.prepare("e\u0302\u0301 a\u00a0b\u3000c") == "\u1ebf a b c"
    for bad in ["", "a\0", "a\nb", "\u0085"]:
        with pytest.raises(ValueError):
            sasl.prepare(bad)


def test_what_is_offered() -> None:
    assert sasl.mechanisms({}, plain=False) == ["SCRAM-SHA-256"]
    assert sasl.mechanisms(HERE, plain=True) == ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"]
    assert sasl.begin("scram-sha-256-plus", {}, lambda: "n") is None
    assert sasl.begin("CRAM-MD5", {}, lambda: "n") is None
    for name in sasl.mechanisms(HERE, plain=True):
        assert sasl.begin(name, HERE, lambda: "n") is not None


@given(
    st.lists(st.one_of(st.none(), st.binary(max_size=80)), max_size=4),
    st.sampled_from(["PLAIN", "LOGIN", "SCRAM-SHA-256"]),
)
def test_any_bytes_give_a_step(responses: list[bytes | None], name: str) -> None:
    exchange = sasl.begin(name, {}, lambda: "n")
    assert exchange is not None
    for response in responses:
        if isinstance(exchange.step(response), Credentials | Rejected | KeysWanted):
            break
