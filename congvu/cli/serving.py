"""Commands that make a data folder and run it: `congvu init | serve | sample | demo`."""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from congvu.base import config as configuration
from congvu.base.clock import Identifiers, SystemClock
from congvu.base.config import Config, Protocol, Tls
from congvu.base.disk import sync_folder, write_safely
from congvu.base.failure import Refused
from congvu.base.observe import start_logging
from congvu.cli.common import Data, opened

if TYPE_CHECKING:
    from congvu.actions.sample import Login

app = typer.Typer()


@app.command()
def init(
    data: Data,
    domain: Annotated[
        list[str],
        typer.Option("--domain", metavar="D", help="Tên miền thư; lặp lại được / mail domain; may be repeated."),
    ],
    profile: Annotated[
        str, typer.Option("--profile", metavar="P", help="Hồ sơ quy chế / regulation profile.")
    ] = "national_floor_2026",
    db: Annotated[
        str, typer.Option("--db", metavar="URL", help="sqlite:///congvu.db, postgresql://user@host/name")
    ] = "sqlite:///congvu.db",
    blobs: Annotated[str, typer.Option("--blobs", metavar="URL", help="file:blobs, s3://bucket/prefix")] = "file:blobs",
    base_port: Annotated[
        int | None,
        typer.Option(
            "--base-port",
            metavar="N",
            min=0,
            max=64_000,
            help="Chỉ mở trên loopback, cổng N + cổng quen dùng / on loopback only, N + the well-known port.",
        ),
    ] = None,
    hostname: Annotated[
        str, typer.Option("--hostname", help="Tên máy chủ; thường là mail.D / the server's name; usually mail.D.")
    ] = "",
    insecure_loopback: Annotated[
        bool,
        typer.Option(
            "--insecure-loopback",
            help="Mật khẩu không cần TLS, không hạn chế; chỉ để thử trên loopback / for tests: no TLS, no limits.",
        ),
    ] = False,
) -> None:
    """Tạo thư mục dữ liệu: cấu hình, chứng thư tự ký, cơ sở dữ liệu / make a data folder."""
    _init(data, domain, profile, db, blobs, base_port, hostname, insecure_loopback)
    typer.echo(f"Đã tạo / made: {data / configuration.FILE}")


def _init(
    data: Path,
    domains: Sequence[str],
    profile: str,
    db: str = "sqlite:///congvu.db",
    blobs: str = "file:blobs",
    base_port: int | None = None,
    hostname: str = "",
    insecure_loopback: bool = False,
) -> Config:
    from congvu.directory import profile as profiles

    if (data / configuration.FILE).exists():
        raise Refused("config-exists", path=data / configuration.FILE)
    profiles.load(profile)  # before anything is written
    wished = Config(
        domains=tuple(domains),
        hostname=hostname or f"mail.{domains[0].lower()}",
        profile=profile,
        insecure_loopback=insecure_loopback,
        database=configuration.DatabaseSettings(db),
        blobs=configuration.BlobSettings(blobs),
        listeners=configuration.usual_listeners(base_port, _has_ipv6()),
    )
    config = configuration.parse(configuration.render(wished))  # as it will be read; refuses what cannot be
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    data.chmod(0o700)
    _make_certificate(data, config)
    _furnish(config, data)
    configuration.write_initial(data, wished)  # last: a folder with this file is whole
    sync_folder(data.parent)
    return configuration.load(data)


def _furnish(config: Config, data: Path) -> None:
    """The newest schema, and what every mail domain must have. May run again."""
    from congvu.actions import accounts
    from congvu.directory import profile as profiles

    rules = profiles.load(config.profile)
    clock = SystemClock()
    with opened(config, data) as database:
        database.migrate()
        database.write_now(accounts.furnish, config, rules, Identifiers(clock), clock.now())


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as trial:
            trial.bind(("::1", 0))
    except OSError:
        return False
    return True


def _make_certificate(data: Path, config: Config) -> None:
    """A self-signed certificate to start with. One that is there already is kept."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    certificate_path, key_path = data / config.tls.certificate, data / config.tls.key
    if certificate_path.exists() and key_path.exists():
        return
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, config.hostname[:64])])
    names: list[x509.GeneralName] = [
        x509.DNSName(each.encode("idna").decode()) for each in dict.fromkeys((config.hostname, "localhost"))
    ]
    names += [x509.IPAddress(ipaddress.ip_address(each)) for each in ("127.0.0.1", "::1")]
    now = datetime.now(UTC)
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)  # digital signature only
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=825))  # the longest that all mail programs accept
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_safely(key_path, pem)
    write_safely(certificate_path, certificate.public_bytes(serialization.Encoding.PEM))


# --- serve, demo, sample ----------------------------------------------------------------------------------------------


@app.command()
def serve(data: Data) -> None:
    """Chạy hệ thống; SIGTERM hoặc Ctrl-C để dừng / run; SIGTERM or Ctrl-C stops."""
    config = configuration.load(data)
    _serve(config, data, f"congvu: sẵn sàng / ready ({config.hostname}, {', '.join(config.domains)})")


def _serve(config: Config, data: Path, ready: str) -> None:
    from congvu.main import serve as run

    start_logging()
    code = run(
        config,
        data,
        prepare=lambda: _furnish(config, data),  # a domain may have been added to the configuration
        ready=lambda: typer.echo(ready),
    )
    if code:
        raise typer.Exit(code)


@app.command()
def sample(data: Data) -> None:
    """Điền dữ liệu mẫu An Giang; in mật khẩu một lần / fill in the sample An Giang; passwords are shown once."""
    config = configuration.load(data)
    logins = _sample(config, data)
    if logins:
        _show_logins(logins)
    else:
        typer.echo("Dữ liệu mẫu đã có / the sample is there already")


def _sample(config: Config, data: Path) -> "list[Login]":
    """The logins of a sample just made; none when it is there already."""
    from congvu.actions import sample as an_giang
    from congvu.db import known_in, open_blobs
    from congvu.directory import profile as profiles

    clock = SystemClock()
    ids = Identifiers(clock)
    rules = profiles.load(config.profile)
    with opened(config, data) as database:
        if database.read_now(an_giang.is_there, config.domains[0]):
            return []
        logins = an_giang.fill(database, config.domains[0], rules, ids, clock.now())
        keeper = open_blobs(config.blobs.url, data=data, worker="sample", known=known_in(database))
        try:
            asyncio.run(an_giang.write_letters(logins, database, keeper, clock, ids))
        finally:
            keeper.close()
    return logins


def _show_logins(logins: "Sequence[Login]") -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title="Mật khẩu chỉ hiện một lần này / these passwords are shown this once", title_justify="left")
    table.add_column("Địa chỉ / address", no_wrap=True)
    table.add_column("Mật khẩu / password", no_wrap=True)
    table.add_column("Tên / name")
    for login in logins:
        table.add_row(login.address, login.password.reveal(), login.name)
    console.print(table)


@app.command()
def demo(
    data: Data,
    base_port: Annotated[int, typer.Option("--base-port", metavar="N", min=0, max=64_000)] = 20_000,
) -> None:
    """Dựng An Giang mẫu trên loopback rồi chạy / bring up the sample An Giang on loopback and run it."""
    if (data / configuration.FILE).exists():
        config = configuration.load(data)
    else:
        config = _init(data, ["angiang.gov.vn"], "angiang_2016", base_port=base_port, hostname="localhost")
    logins = _sample(config, data)
    if logins:
        _show_logins(logins)
    _show_settings(config, data, logins)
    _serve(config, data, "Sẵn sàng; Ctrl-C để dừng / ready; Ctrl-C stops")


def _show_settings(config: Config, data: Path, logins: "Sequence[Login]") -> None:
    """Doors, one login to try, what a mail program wants to know."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    doors = Table(title="Cổng / ports", title_justify="left")
    for column in ("Giao thức / protocol", "Địa chỉ / address", "Cổng / port", "TLS"):
        doors.add_column(column, no_wrap=True)
    rows: dict[tuple[str, int, str], list[str]] = {}
    for each in config.listeners:
        rows.setdefault((each.protocol.value.upper(), each.port, each.tls.value), []).append(each.host)
    for (protocol, port, tls), hosts in rows.items():
        doors.add_row(protocol, " ".join(hosts), str(port), tls)
    console.print(doors)

    def port_of(protocol: Protocol, tls: Tls) -> str:
        return next((str(e.port) for e in config.listeners if e.protocol is protocol and e.tls is tls), "-")

    person = next((login for login in logins if login.address.startswith("nthue@")), None)
    address = person.address if person else f"nthue@{config.domains[0]}"
    password = person.password.reveal() if person else f"congvu account password {address} --data {data}"
    settings = Table(title="Thử với Thunderbird / try it with Thunderbird", title_justify="left", show_header=False)
    settings.add_column(no_wrap=True)
    settings.add_column(overflow="fold")
    for name, value in (
        ("Địa chỉ, tên đăng nhập / address, user name", address),
        ("Mật khẩu / password" if person else "Đặt mật khẩu mới / set a new password", password),
        ("Thư đến / incoming", f"IMAP · localhost · {port_of(Protocol.IMAP, Tls.IMPLICIT)} · SSL/TLS"),
        ("hoặc / or", f"POP3 · localhost · {port_of(Protocol.POP3, Tls.IMPLICIT)} · SSL/TLS"),
        ("Thư đi / outgoing", f"SMTP · localhost · {port_of(Protocol.SUBMISSION, Tls.IMPLICIT)} · SSL/TLS"),
        ("Xác thực / authentication", "mật khẩu thường / normal password"),
        ("Chứng thư tự ký / self-signed certificate", "chấp nhận ngoại lệ / confirm the exception"),
        ("Thử tìm / try to search for", "duong · nguyen hue"),
    ):
        settings.add_row(name, value)
    console.print(settings)
