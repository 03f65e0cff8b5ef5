"""congvu.toml: what is not understood is refused, what is understood reads back the same."""

from congvu.base.config import Config, parse, render, usual_listeners
from congvu.base.failure import Refused
from congvu.base.texts import say

SEEDS = [
    render(Config(("angiang.gov.vn",), "mail.angiang.gov.vn", listeners=usual_listeners(None))).encode(),
    b'domains = ["x.vn"]\nhostname = "x"\n[limits]\nrecipients = 200\n'
    b'[[listener]]\nprotocol = "imap"\nhost = "::1"\nport = 143\n',
]
WORDS = [
    b"[limits]",
    b"[[listener]]",
    b"recipients = ",
    b"true",
    b"inf",
    b"2026-01-01",
    b'"""',
    b"\\u0000",
    b"= {",
    b"]]",
]


def one(data: bytes) -> None:
    try:
        config = parse(data.decode("utf-8", "replace"))
    except Refused as refused:
        assert "\n" not in say(refused.code, True, **refused.facts)
        return
    assert parse(render(config)) == config
