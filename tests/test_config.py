"""Configuration: mistakes are named with their place and the nearest right word; the page of keys is current."""

from dataclasses import fields
from pathlib import Path

import pytest

from congvu.base.config import (
    Config,
    Limits,
    Listener,
    Protocol,
    Tls,
    describe,
    load,
    parse,
    render,
    usual_listeners,
    write_initial,
)
from congvu.base.failure import Refused
from congvu.base.texts import say

HEAD = 'domains = ["angiang.gov.vn"]\nhostname = "mail.angiang.gov.vn"\n'


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ('domain = ["x"]', "config-unknown-key", 'congvu.toml:1: there is no key "domain". Was "domains" meant?'),
        (HEAD + "[limits]\nrecipient = 5", "config-unknown-key", 'congvu.toml:4 [limits]: there is no key "recipient"'),
        (HEAD + "[limit]\n", "config-unknown-key", 'congvu.toml:3: there is no key "limit". Was "limits" meant?'),
        (HEAD + "qqqqqqqq = 1", "config-unknown-key-no-match", "Keys known here: domains, hostname"),
        (HEAD + "workers = true", "config-wrong-type", '"workers" must be 123, not True'),
        (HEAD + 'workers = "2"', "config-wrong-type", "workers"),
        (HEAD + "insecure_loopback = 1", "config-wrong-type", "true | false"),
        ('domains = "x"\nhostname = "y"', "config-wrong-type", "domains"),
        (HEAD + "limits = 3", "config-wrong-type", "limits"),
        (HEAD + "profile = 2016-01-01", "config-wrong-type", "profile"),
        (HEAD + "[limits]\nrecipients = 1", "config-out-of-range", "between 100 and"),
        ('domains = []\nhostname = "y"', "config-missing", "domains"),
        ('domains = ["x"]', "config-missing", "hostname"),
        ('domains = ["a b"]\nhostname = "y"', "config-bad-domain", "a b"),
        (HEAD + "[[listener]]\nprotocol = 'imap'\nhost = '::1'", "config-missing", "port"),
        (HEAD + "[[listener]]\nprotocol = 'pop'\nhost = '::1'\nport = 1", "config-wrong-word", "smtp, submission"),
        (HEAD + "[[listener]]\nprotocol = 'imap'\nhost = '::1'\nport = 70000", "config-out-of-range", "70000"),
        (
            HEAD + "insecure_loopback = true\n[[listener]]\nprotocol = 'imap'\nhost = '::'\nport = 1",
            "config-not-loopback",
            "::",
        ),
        ("a = = 1", "config-not-toml", "congvu.toml"),
    ],
)
def test_mistakes_are_named(text: str, code: str, said: str) -> None:
    with pytest.raises(Refused) as caught:
        parse(text)
    assert caught.value.code == code
    assert said in say(code, False, **caught.value.facts)


def test_what_is_rendered_reads_back() -> None:
    config = Config(
        domains=("angiang.gov.vn", "tỉnh.vn"),
        hostname='a"b\\c',
        listeners=usual_listeners(None),
        limits=Limits(recipients=200),
    )
    assert parse(render(config)) == config
    assert "# message_bytes = " in render(config) and "\nrecipients = 200" in render(config)


def test_usual_listeners() -> None:
    high = usual_listeners(20000)
    assert Listener(Protocol.IMAP, "::1", 20993, Tls.IMPLICIT) in high
    assert {each.port - 20000 for each in high} == {24, 25, 110, 143, 443, 465, 587, 993, 995}
    assert {each.host for each in high} == {"127.0.0.1", "::1"}
    usual = usual_listeners(None)
    assert Listener(Protocol.SMTP, "0.0.0.0", 25, Tls.STARTTLS) in usual
    assert {each.host for each in usual if each.protocol is Protocol.LMTP} == {"127.0.0.1", "::1"}


def test_insecure_loopback_lifts_the_rates_only() -> None:
    limits = parse(HEAD + "insecure_loopback = true").limits
    assert limits.sign_in_failures == limits.connections_per_ip == limits.errors_per_session == 1_000_000
    assert limits.message_bytes == Limits().message_bytes


def test_first_file(tmp_path: Path) -> None:
    config = parse(HEAD)
    path = write_initial(tmp_path, config)
    assert path.stat().st_mode & 0o077 == 0
    assert load(tmp_path).tls.certificate == tmp_path / "tls/certificate.pem"
    with pytest.raises(Refused) as caught:
        write_initial(tmp_path, config)
    assert caught.value.code == "config-exists"
    with pytest.raises(Refused) as caught:
        load(tmp_path / "elsewhere")
    assert caught.value.code == "config-no-file"


def test_every_limit_has_its_reason() -> None:
    for each in fields(Limits):
        assert len(each.metadata["doc"]) > 30, each.name


def test_the_page_of_keys_is_current() -> None:
    page = Path(__file__).parents[1] / "docs" / "configuration.md"
    assert page.read_text("utf-8") == describe(), "run: congvu config --doc > docs/configuration.md"
