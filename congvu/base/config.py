"""The configuration: `congvu.toml` of a data folder, read into frozen dataclasses.

Promises that what is not understood is refused, with the place and the nearest right word, and that every key carries
its own line of explanation, from which `docs/configuration.md` is made. Must never hold a value of a regulation (those
stand in `profiles/`) and never read anything but the one file.
"""

# ruff: noqa: RUF009  (`_key` is dataclasses.field with an explanation)

import difflib
import ipaddress
import re
import tomllib
import types
import unicodedata
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from congvu.base.disk import write_safely
from congvu.base.failure import Refused

FILE = "congvu.toml"
T = TypeVar("T")


def _key(doc: str, default: Any = MISSING, *, low: int = 0, high: int = 2**53, name: str = "") -> Any:
    """A field with its explanation; `name` when the key in TOML is called otherwise (`[[listener]]` → listeners)."""
    metadata = {"doc": doc, "low": low, "high": high, "name": name}
    if default is MISSING:
        return field(metadata=metadata)
    if is_dataclass(default):
        return field(default_factory=lambda: default, metadata=metadata)
    return field(default=default, metadata=metadata)


class Protocol(StrEnum):
    """What a listener speaks."""

    SMTP = "smtp"  # letters from other servers (MX)
    SUBMISSION = "submission"  # letters from people who sign in
    LMTP = "lmtp"  # letters from a server in front of this one
    IMAP = "imap"
    POP3 = "pop3"
    HTTP = "http"  # the JSON API


class Tls(StrEnum):
    """How a listener is encrypted."""

    NONE = "none"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


@dataclass(frozen=True, slots=True)
class Listener:
    """One open door."""

    protocol: Protocol = _key("What is spoken: `smtp` (MX), `submission`, `lmtp`, `imap`, `pop3`.")
    host: str = _key("Address to listen on, IPv4 or IPv6; `0.0.0.0` and `::` mean all. `::` does not take IPv4 along.")
    port: int = _key("TCP port.", low=1, high=65535)
    tls: Tls = _key(
        "`implicit`: TLS from the first byte; `starttls`: on request, and passwords only after it; `none`.",
        Tls.STARTTLS,
    )


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """Where the rows are."""

    url: str = _key(
        "`sqlite:///congvu.db` (relative to the data folder) or `postgresql://user@host/name`.", "sqlite:///congvu.db"
    )


@dataclass(frozen=True, slots=True)
class BlobSettings:
    """Where the letters' bytes are."""

    url: str = _key("`file:blobs` (a folder, relative to the data folder) or `s3://bucket/prefix`.", "file:blobs")


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """The certificate that every listener shows."""

    certificate: Path = _key("Certificate chain, PEM; relative to the data folder.", Path("tls/certificate.pem"))
    key: Path = _key("Its private key, PEM; relative to the data folder.", Path("tls/key.pem"))


@dataclass(frozen=True, slots=True)
class Limits:
    """What one peer may take, each number with its reason. `insecure_loopback` lifts those marked *(rate)*."""

    message_bytes: int = _key(
        "Largest letter, as announced by SIZE: 35 MiB of files grow to about 48 MiB in base64.",
        50 * 2**20,
        low=64 * 2**10,
        high=2**31,
    )
    recipients: int = _key(
        "Recipients of one letter: rfc5321 asks for 100 at least; a letter to every unit of a province fits.",
        1000,
        low=100,
        high=100_000,
    )
    connections: int = _key(
        "Open connections of one listener in one worker: each costs some 20 KB of memory.",
        10_000,
        low=1,
        high=1_000_000,
    )
    connections_per_ip: int = _key(
        "*(rate)* Open connections from one IPv4 address or IPv6 /64 to one listener in one worker: half of all, as a "
        "whole province may sit behind one address.",
        5000,
        low=1,
        high=1_000_000,
    )
    connections_per_account: int = _key(
        "*(rate)* Open connections of one account in one worker, all protocols together: one person's programs hold "
        "under thirty, a mailbox that a whole office reads some more.",
        200,
        low=1,
        high=1_000_000,
    )
    errors_per_session: int = _key(
        "*(rate)* Wrong commands before a connection is closed: a person's program makes a few, a scanner many.",
        20,
        low=1,
        high=1_000_000,
    )
    smtp_command_seconds: int = _key(
        "Wait for the next SMTP command: rfc5321 4.5.3.2.7 asks for five minutes.", 300, low=1, high=86_400
    )
    smtp_data_seconds: int = _key(
        "Wait for the next bytes of a letter: rfc5321 4.5.3.2.5 lets a sender stall for three minutes.",
        180,
        low=1,
        high=86_400,
    )
    smtp_session_seconds: int = _key(
        "Longest SMTP connection in all: the largest letter over a weak commune line takes half an hour.",
        7200,
        low=1,
        high=604_800,
    )
    imap_preauth_seconds: int = _key(
        "Time to sign in to IMAP: a stranger may not keep a place warm.", 60, low=1, high=86_400
    )
    imap_idle_seconds: int = _key(
        "Silence before an IMAP connection is closed: rfc9051 5.4 asks for 30 minutes, clients renew IDLE every 29.",
        1860,
        low=1,
        high=86_400,
    )
    imap_command_bytes: int = _key(
        "Longest IMAP command without the letters of APPEND: a set of some ten thousand scattered numbers fits.",
        256 * 2**10,
        low=8192,
        high=2**24,
    )
    imap_preauth_bytes: int = _key(
        "Longest IMAP command before sign-in: a long password and a SASL message fit.", 8192, low=1024, high=2**20
    )
    pop3_preauth_seconds: int = _key(
        "Time to sign in to POP3: a stranger may not keep a place warm.", 60, low=1, high=86_400
    )
    pop3_idle_seconds: int = _key(
        "Silence before a POP3 connection is closed, nothing deleted: rfc1939 3 asks for ten minutes at least.",
        600,
        low=1,
        high=86_400,
    )
    sign_in_failures: int = _key(
        "*(rate)* Wrong passwords for one account from one IP before answers are put off; each more doubles the wait.",
        5,
        low=1,
        high=1_000_000,
    )
    sign_in_failures_per_ip: int = _key(
        "*(rate)* Wrong passwords from one IP, whatever the account: offices share an address.",
        50,
        low=1,
        high=1_000_000,
    )
    sign_in_window_seconds: int = _key(
        "Wrong passwords older than this are forgotten, and no wait is longer.", 900, low=1, high=86_400
    )
    remember_password_seconds: int = _key(
        "A verified password is remembered so long, as a keyed hash in memory: fifty logins cost one argon2.",
        600,
        low=0,
        high=86_400,
    )
    password_checks: int = _key(
        "Password checks at a time in one worker: each takes a core and 19 MiB.", 2, low=1, high=256
    )


@dataclass(frozen=True, slots=True)
class Config:
    """All of `congvu.toml`."""

    domains: tuple[str, ...] = _key("Mail domains served here; the first is the main one.")
    hostname: str = _key("This server's own name, as said in greetings and `Received:`.")
    profile: str = _key(
        "Regulation profile: a file name of `profiles/` without `.toml`, or the path of a file of your own.",
        "national_floor_2026",
    )
    insecure_loopback: bool = _key(
        "Passwords without TLS and no rate limits, for tests and benchmarks; every listener must then be on loopback.",
        False,
    )
    unauthenticate: bool = _key(
        "IMAP's UNAUTHENTICATE: a program that serves many people (webmail) keeps its connection for the next one.",
        True,
    )
    daily_hour: int = _key(
        "Hour of the day (Vietnam) from which the day's work by the clock is done: locks, deletions, notices.",
        2,
        high=23,
    )
    workers: int = _key(
        "Worker processes; 0 means one a core, each bound to its own; a number leaves them unbound.", 0, high=1024
    )
    database: DatabaseSettings = _key("", DatabaseSettings())
    blobs: BlobSettings = _key("", BlobSettings())
    tls: TlsSettings = _key("", TlsSettings())
    limits: Limits = _key("", Limits())
    listeners: tuple[Listener, ...] = _key("", (), name="listener")

    def serves(self, domain: str) -> bool:
        """Is this domain one of ours? `domain` in lower case."""
        return domain in self.domains


def load(data: Path) -> Config:
    """Reads `congvu.toml` of a data folder. Raises `Refused("config-…")` with the place of the mistake."""
    path = data / FILE
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise Refused("config-no-file", path=path, data=data) from None
    except UnicodeDecodeError as error:
        raise Refused("config-not-toml", place=path, reason=error.reason) from None
    config = parse(text, str(path))
    tls = TlsSettings(certificate=data / config.tls.certificate, key=data / config.tls.key)
    return replace(config, tls=tls)


def parse(text: str, name: str = FILE) -> Config:
    """The same from text, with paths as written. `name` is how the file is called in messages."""
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # tomllib's own errors, numbers of 5,000 digits, brackets without end
        raise Refused("config-not-toml", place=name, reason=error) from None
    config = _read(Config, table, _Place(name, text, ""))
    if not config.domains:
        raise Refused("config-missing", place=name, key="domains")
    config = replace(config, domains=tuple(unicodedata.normalize("NFC", domain).lower() for domain in config.domains))
    for domain in config.domains:
        if len(domain) > 253 or not re.fullmatch(
            r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)*[^\W_](?:[\w-]{0,61}[^\W_])?", domain
        ):
            raise Refused("config-bad-domain", place=name, domain=domain)
    for listener in config.listeners:
        if listener.protocol is Protocol.HTTP and listener.tls is Tls.STARTTLS:
            raise Refused("config-no-starttls", place=f"{name} [[listener]]", port=listener.port)
    if not config.insecure_loopback:
        return config
    for listener in config.listeners:
        if not is_loopback(listener.host):
            raise Refused("config-not-loopback", place=f"{name} [[listener]]", host=listener.host)
    lifted = {
        each.name: each.metadata["high"] for each in fields(Limits) if each.metadata["doc"].startswith("*(rate)*")
    }
    return replace(config, limits=replace(config.limits, **lifted))


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the file we are, for messages: `congvu.toml:12 [limits]`."""

    file: str
    text: str
    table: str

    def of(self, key: str) -> str:
        table = f" [{self.table}]" if self.table else ""
        header = re.compile(r"^\s*\[+\s*([^\]]+?)\s*\]+")
        word = re.compile(rf"^\s*[\"']?{re.escape(key)}[\"']?\s*[=.]")
        current = ""
        for number, line in enumerate(self.text.splitlines(), 1):
            if found := header.match(line):
                current = found[1]
                if not self.table and current.partition(".")[0] == key:
                    return f"{self.file}:{number}"
            elif current == self.table.partition("#")[0] and word.match(line):
                return f"{self.file}:{number}{table}"
        return f"{self.file}{table}"


def _read(kind: type[T], table: Mapping[str, object], place: _Place) -> T:
    """A TOML table as a dataclass of this kind, checked key by key."""
    known: dict[str, Field[Any]] = {each.metadata["name"] or each.name: each for each in fields(kind)}  # type: ignore[arg-type]  # kind is a dataclass
    hints = get_type_hints(kind)
    values: dict[str, object] = {}
    for key, value in table.items():
        if key not in known:
            if nearest := difflib.get_close_matches(key, known, 1):
                raise Refused("config-unknown-key", place=place.of(key), key=key, nearest=nearest[0])
            raise Refused("config-unknown-key-no-match", place=place.of(key), key=key, known=", ".join(known))
        values[known[key].name] = _value(hints[known[key].name], value, key, known[key], place)
    for key, each in known.items():
        if each.name not in values and each.default is MISSING and each.default_factory is MISSING:
            raise Refused("config-missing", place=place.of(key), key=key)
    return kind(**values)


def _value(hint: Any, value: object, key: str, each: Field[Any], place: _Place) -> object:
    """One value as its field wants it."""

    def wrong(wanted: str) -> Refused:
        return Refused("config-wrong-type", place=place.of(key), key=key, wanted=wanted, found=value)

    if get_origin(hint) is tuple:
        inner = get_args(hint)[0]
        if not isinstance(value, list):
            raise wrong('["…"]')
        return tuple(_value(inner, item, key, each, place) for item in value)
    if isinstance(hint, type) and is_dataclass(hint):
        if not isinstance(value, dict):
            raise wrong("[…]")
        return _read(hint, value, replace(place, table=key))
    if hint is bool:
        if not isinstance(value, bool):
            raise wrong("true | false")
        return value
    if hint is int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise wrong("123")
        low, high = each.metadata["low"], each.metadata["high"]
        if not low <= value <= high:
            raise Refused("config-out-of-range", place=place.of(key), key=key, low=low, high=high, found=value)
        return value
    if not isinstance(value, str):
        raise wrong('"…"')
    if issubclass(hint, StrEnum):
        if value not in set(hint):
            raise Refused("config-wrong-word", place=place.of(key), key=key, known=", ".join(hint), found=value)
        return hint(value)
    if not value or "\0" in value:
        raise wrong('"…"')
    return Path(value) if hint is Path else value


# The well-known ports, with `--base-port` added to each.
_DOORS = (
    (Protocol.SMTP, 25, Tls.STARTTLS),
    (Protocol.LMTP, 24, Tls.NONE),
    (Protocol.SUBMISSION, 587, Tls.STARTTLS),
    (Protocol.SUBMISSION, 465, Tls.IMPLICIT),
    (Protocol.IMAP, 143, Tls.STARTTLS),
    (Protocol.IMAP, 993, Tls.IMPLICIT),
    (Protocol.POP3, 110, Tls.STARTTLS),
    (Protocol.POP3, 995, Tls.IMPLICIT),
    (Protocol.HTTP, 443, Tls.IMPLICIT),
)


def usual_listeners(base_port: int | None, ipv6: bool = True) -> tuple[Listener, ...]:
    """Loopback at `base_port` + the well-known ports; without it those ports on every address, LMTP on loopback."""
    everywhere = ("0.0.0.0", "::") if ipv6 else ("0.0.0.0",)  # noqa: S104  # a mail server is for the network
    loopback = ("127.0.0.1", "::1") if ipv6 else ("127.0.0.1",)
    return tuple(
        Listener(protocol, host, port + (base_port or 0), tls)
        for protocol, port, tls in _DOORS
        for host in (loopback if base_port is not None or protocol is Protocol.LMTP else everywhere)
    )


def render(config: Config) -> str:
    """A `congvu.toml` that reads back as this configuration, each key explained, usual limits commented out."""
    lines = ["# Công Vụ. Mọi khóa: docs/configuration.md / every key: docs/configuration.md", ""]
    tables: list[Field[Any]] = []
    for each in fields(Config):
        value = getattr(config, each.name)
        if is_dataclass(value) or each.name == "listeners":
            tables.append(each)
        else:
            lines += [f"# {each.metadata['doc']}", f"{each.name} = {_toml(value)}", ""]
    for each in tables:
        if each.name == "listeners":
            continue
        value = getattr(config, each.name)
        lines.append(f"[{each.name}]")
        for inner in fields(value):
            mark = "# " if getattr(value, inner.name) == inner.default else ""
            lines += [f"# {inner.metadata['doc']}", f"{mark}{inner.name} = {_toml(getattr(value, inner.name))}"]
        lines.append("")
    for listener in config.listeners:
        lines.append("[[listener]]")
        lines += [f"{inner.name} = {_toml(getattr(listener, inner.name))}" for inner in fields(listener)]
        lines.append("")
    return "\n".join(lines)


def write_initial(data: Path, config: Config) -> Path:
    """Writes the first `congvu.toml` of a data folder. Raises `Refused("config-exists")` rather than overwrite one."""
    path = data / FILE
    try:
        write_safely(path, render(config).encode(), new=True)  # [database] url may hold a password
    except FileExistsError:
        raise Refused("config-exists", path=path) from None
    return path


def _toml(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case tuple():
            return "[" + ", ".join(_toml(item) for item in value) + "]"
        case _:
            text = str(value)
            escaped = "".join(f"\\u{ord(c):04x}" if c in '"\\' or not c.isprintable() else c for c in text)
            return f'"{escaped}"'


def describe() -> str:
    """`docs/configuration.md`: every key with its kind, its usual value and its reason."""
    lines = [
        "# Cấu hình / Configuration",
        "",
        "`congvu.toml` trong thư mục dữ liệu. Khóa lạ bị từ chối, kèm tên khóa gần đúng nhất.",
        "Trang này do chương trình sinh ra (`congvu config --doc`).",
        "",
        "`congvu.toml` of the data folder. An unknown key is refused with the nearest right one.",
        "This page is made by the program (`congvu config --doc`).",
        "",
    ]
    lines += _describe_table(Config, "")
    hints = get_type_hints(Config)
    for each in fields(Config):
        hint = hints[each.name]
        if get_origin(hint) is tuple and is_dataclass(get_args(hint)[0]):
            lines += _describe_table(get_args(hint)[0], f"[[{each.metadata['name']}]]")
        elif is_dataclass(hint):
            lines += _describe_table(hint, f"[{each.name}]")
    return "\n".join(lines)


def _describe_table(kind: Any, title: str) -> list[str]:
    lines = [f"## `{title}`", "", kind.__doc__, ""] if title else []
    lines += ["| key | kind | usual | what for |", "|---|---|---|---|"]
    hints = get_type_hints(kind)
    for each in fields(kind):
        if not each.metadata["doc"]:
            continue
        usual = "*needed*" if each.default is MISSING else f"`{_toml(each.default)}`"
        lines.append(f"| `{each.name}` | {_kind_word(hints[each.name])} | {usual} | {each.metadata['doc']} |")
    return [*lines, ""]


def _kind_word(hint: Any) -> str:
    if get_origin(hint) is tuple:
        return "list of texts"
    if isinstance(hint, types.GenericAlias) or not isinstance(hint, type):
        return str(hint)
    if issubclass(hint, StrEnum):
        return " ".join(f"`{word}`" for word in hint)
    return {bool: "true, false", int: "number", Path: "path"}.get(hint, "text")
