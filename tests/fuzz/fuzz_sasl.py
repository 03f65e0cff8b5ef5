"""Fuzzing codec.sasl: any bytes as a client's messages (separated by LF) and as stored keys."""

import contextlib

from congvu.codec import sasl

KEYS = sasl.derive_keys("pencil", b"salt", 4096)
SEEDS: list[bytes] = [
    b"\0an@xa.test\0matkhau",
    b"an@xa.test\nmatkhau",
    b"n,,n=user,r=fyko\nc=biws,r=fykonoise,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=\n",
    b"p=tls-server-end-point,a=user,n=us=2Cer,r=fyko\nc=biws,r=fykonoise,x=y,p=AAAA",
    b"n,a=an@xa.test,\x01host=x\x01auth=Bearer abc.def==\x01\x01\n\x01",
    sasl.format_keys(KEYS).encode(),
]


def one(data: bytes) -> None:
    """Accepts a `ValueError` of `parse_keys`, `prepare` and `from_base64` only."""
    messages = data.split(b"\n")
    bindings = {"tls-server-end-point": b"hash"}
    for name in ("PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "OAUTHBEARER"):
        exchange = sasl.begin(name, bindings, lambda: "noise", tokens=True)
        assert exchange is not None
        for message in messages[:6]:
            step = exchange.step(message)
            if isinstance(step, sasl.KeysWanted) and isinstance(exchange, sasl.Scram):
                step = exchange.keys(KEYS)
            elif isinstance(step, sasl.Token) and isinstance(exchange, sasl.Bearer):
                step = exchange.judged(False)
            assert not isinstance(step, sasl.Accepted)
            if not isinstance(step, sasl.Challenge):
                break
    text = data.decode("utf-8", "replace")
    for read in (sasl.parse_keys, sasl.prepare):
        with contextlib.suppress(ValueError):
            read(text)
    with contextlib.suppress(ValueError):
        sasl.from_base64(data)
