"""The command line: `congvu init | serve | demo | sample | account | check | queue | config`.

Promises that its words stay (other tools call them), that a mistake is one clear line and exit code 2, and that a
command imports no more than it needs. Must never print a password that it did not draw itself, nor write one anywhere.
"""

import asyncio
import ipaddress
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from congvu import __version__
from congvu.base import config as configuration
from congvu.base.clock import Identifiers, SystemClock
from congvu.base.config import Config, Protocol, Tls
from congvu.base.disk import sync_folder, write_safely
from congvu.base.failure import NotNow, Refused
from congvu.base.observe import Secret, printable, start_logging
from congvu.base.texts import say

if TYPE_CHECKING:
    from congvu.actions.sample import Login
    from congvu.db.engine import Database

# ruff: noqa: PLC0415  (rooms above base are imported inside the commands: `congvu --help` answers at once)

app = typer.Typer(
    help="Công Vụ: thư điện tử công vụ của tỉnh / a province's official mail.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
account = typer.Typer(help="Tài khoản: cấp mới, nhập danh sách, xem / accounts.", no_args_is_help=True)
app.add_typer(account, name="account")

Data = Annotated[Path, typer.Option("--data", metavar="DIR", help="Thư mục dữ liệu / the data folder.")]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Đọc mật khẩu từ dòng đầu của stdin / read it from standard input.")
]
WHO = "congvu cli"  # in the audit: whoever may run commands on this machine


def main() -> None:
    """The entry point. A refusal is one line on standard error and exit code 2."""
    try:
        app()
    except (Refused, NotNow) as failure:
        _fail(say(failure.code, True, **failure.facts))
    except OSError as error:
        _fail(f"{error.strerror or error}: {error.filename}" if error.filename else str(error))


def _fail(line: str) -> None:
    typer.echo(line, err=True)
    sys.exit(2)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"congvu {__version__}")
        raise typer.Exit


@app.callback()
def _all(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Phiên bản / the version.")
    ] = False,
) -> None:
    pass


@contextmanager
def _database(config: Config, data: Path) -> "Iterator[Database]":
    from congvu.db import open_database

    try:
        database = open_database(config.database.url, data=data)
    except ValueError as error:
        raise Refused("bad-url", reason=error) from None
    try:
        yield database
    finally:
        database.close()


# --- init -------------------------------------------------------------------------------------------------------------


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
    with _database(config, data) as database:
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
    with _database(config, data) as database:
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


# --- accounts ---------------------------------------------------------------------------------------------------------


def _read_password() -> Secret:
    from congvu.directory import credentials

    line = sys.stdin.buffer.readline(8192).decode("utf-8", "replace")
    return credentials.checked_password(Secret(line.rstrip("\r\n")))


def _show_password(address: str, password: Secret) -> None:
    typer.echo(f"{address}\nMật khẩu, chỉ hiện một lần / password, shown this once: {password.reveal()}")


@account.command("add")
def account_add(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Địa chỉ đầy đủ / the full address.")],
    data: Data,
    name: Annotated[str, typer.Option("--name", help="Họ và tên, hoặc tên đơn vị / name of the person or unit.")],
    kind: Annotated[str, typer.Option("--kind", help="person, organisation, unit, functional")] = "person",
    password_stdin: PasswordStdin = False,
) -> None:
    """Cấp mới một tài khoản; không có --password-stdin thì sinh mật khẩu và in một lần / add an account."""
    from congvu.actions import accounts
    from congvu.directory import credentials
    from congvu.directory import profile as profiles
    from congvu.directory.people import Kind

    config = configuration.load(data)
    if kind not in set(Kind):
        raise Refused("no-such-kind", kind=kind, known=", ".join(Kind))
    full, clean = accounts.checked(config, address, name)
    password = _read_password() if password_stdin else credentials.invent_password()
    new = accounts.NewAccount(full, clean, credentials.make(password), Kind(kind))
    clock = SystemClock()
    with _database(config, data) as database:
        database.write_now(
            accounts.add_account, WHO, new, profiles.load(config.profile), Identifiers(clock), clock.now()
        )
    if password_stdin:
        typer.echo(full)
    else:
        _show_password(full, password)


@account.command("password")
def account_password(
    address: Annotated[str, typer.Argument(metavar="ADDRESS")], data: Data, password_stdin: PasswordStdin = False
) -> None:
    """Đặt lại mật khẩu / set a new password."""
    from congvu.actions import accounts
    from congvu.directory import credentials

    config = configuration.load(data)
    password = _read_password() if password_stdin else credentials.invent_password()
    with _database(config, data) as database:
        database.write_now(accounts.set_password, WHO, address, credentials.make(password), SystemClock().now())
    if not password_stdin:
        _show_password(address, password)


@account.command("import")
def account_import(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE.csv", help="Cột / columns: address,name,password,password_hash"),
    ],
    data: Data,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Bỏ qua dòng sai, nhập các dòng đúng / import the good rows.")
    ] = False,
) -> None:
    """Nhập danh sách tài khoản: tất cả hoặc không gì cả / import accounts: all of them or none."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from congvu.actions import roster
    from congvu.directory import profile as profiles

    config = configuration.load(data)
    clock = SystemClock()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with _database(config, data) as database, Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Nhập / import", total=None)
        outcome = roster.import_accounts(
            database,
            file,
            config,
            profiles.load(config.profile),
            Identifiers(clock),
            clock.now(),
            WHO,
            skip_bad,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    for row in outcome.bad:
        reason = say(row.reason.code, True, **row.reason.facts)
        typer.echo(f"{file.name}:{row.line}: {printable(row.address, 100)}: {reason}", err=True)
    if outcome.bad and not skip_bad:
        raise Refused("import-bad-rows", count=len(outcome.bad))
    typer.echo(f"Đã nhập / imported: {outcome.added}; bỏ qua / left out: {len(outcome.bad)}")


@account.command("list")
def account_list(data: Data) -> None:
    """Liệt kê: địa chỉ, loại, trạng thái, tên, cách nhau bằng tab / list, separated by tabs."""
    from congvu.db.engine import Tx
    from congvu.directory import people

    def show(tx: Tx) -> None:
        for each in people.everyone(tx):
            typer.echo(f"{each.address}\t{each.kind}\t{each.state}\t{each.name}")

    config = configuration.load(data)
    with _database(config, data) as database:
        database.read_now(show)


# --- check, queue, config ---------------------------------------------------------------------------------------------

_MOST_FINDINGS = 1000  # lines; who has more than that needs no longer list


@app.command()
def check(
    data: Data,
    repair: Annotated[
        bool, typer.Option("--repair", help="Sửa những gì suy ra được, báo cáo phần mất / mend what can be derived.")
    ] = False,
    salvage: Annotated[
        str,
        typer.Option(
            "--salvage",
            metavar="ADDRESS",
            help="Cùng --repair: đưa thư không còn ai biết vào hộp “Thư cứu được” của địa chỉ này"
            " / with --repair: put contents that no letter speaks of into a mailbox of this address.",
        ),
    ] = "",
) -> None:
    """Kiểm tra mọi bất biến của kho thư; sai thì mã thoát 1 và danh sách / test every invariant of the store."""
    config = configuration.load(data)
    if salvage and not repair:
        raise Refused("option-missing", option="--repair")
    if repair:
        _repair(config, data, salvage)
    findings = _findings(config, data)
    for finding in findings:
        typer.echo(finding)
    if findings:
        raise typer.Exit(1)
    typer.echo("Kho thư toàn vẹn / the store is whole")


def _findings(config: Config, data: Path) -> list[str]:
    from itertools import chain, islice

    from congvu.actions import accounts
    from congvu.db import audit, migrations, open_blobs
    from congvu.db.engine import Tx
    from congvu.mailstore import check as mailstore

    keeper = open_blobs(config.blobs.url, data=data, worker="check")

    def find(tx: Tx) -> list[str]:
        found = chain(accounts.check(tx), mailstore.check(tx, keeper.verify), audit.verify_chain(tx))
        return list(islice(found, _MOST_FINDINGS))

    try:
        with _database(config, data) as database:
            if database.read_now(migrations.behind):
                raise Refused("schema-behind")
            return database.read_now(find)
    finally:
        keeper.close()


def _repair(config: Config, data: Path, salvage: str) -> None:
    """The server must stand still, so its lock is taken."""
    from congvu.db import open_blobs
    from congvu.directory import addresses
    from congvu.mailstore.salvage import Repair
    from congvu.main import alone, begin

    clock = SystemClock()
    count = 0
    with alone(data), _database(config, data) as database:
        for line in begin(database, clock.now()):
            typer.echo(line)
            count += 1
        keeper = open_blobs(config.blobs.url, data=data, worker="repair")
        try:
            holder = None
            if salvage:
                full = addresses.checked(salvage)
                holder = database.read_now(addresses.holders, [full], config.domains[0]).get(full)
                if holder is None:
                    raise Refused("no-such-address", address=printable(salvage))
            work = Repair(database, keeper, clock, Identifiers(clock), WHO)
            for line in work.run():
                typer.echo(line)
                count += 1
            if holder is not None:
                for line in work.salvage(holder.account_id):
                    typer.echo(line)
                    count += 1
            orphans = work.orphans()
        finally:
            keeper.close()
    typer.echo(f"Đã sửa / repaired: {count}")
    if orphans.count:
        typer.echo(
            f"Nội dung không thư nào nhắc đến / contents that no letter speaks of: {orphans.count}"
            f" ({orphans.bytes} bytes); --salvage ADDRESS đưa vào hộp thư / puts them into a mailbox"
        )


@app.command()
def queue(data: Data) -> None:
    """Hàng đợi gửi ra ngoài, cách nhau bằng tab / what waits to be sent, separated by tabs."""
    from congvu.delivery import queue as outgoing

    config = configuration.load(data)
    with _database(config, data) as database:
        rows = database.read_now(outgoing.waiting)
        count = database.read_now(outgoing.count)
    for row in rows:
        created, due = (
            datetime.fromtimestamp(t).astimezone().isoformat(timespec="seconds") for t in (row.created, row.due)
        )
        words = (row.sender, row.recipient, row.subject, row.last_reply)
        sender, recipient, subject, reply = (printable(word) for word in words)
        typer.echo(f"{row.id}\t{created}\t{due}\t{row.attempts}\t{row.size}\t{sender}\t{recipient}\t{subject}\t{reply}")
    typer.echo(f"Đang chờ / waiting: {count}")


@app.command("config")
def show_config(
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Thư mục dữ liệu / the data folder.")
    ] = None,
    doc: Annotated[bool, typer.Option("--doc", help="In trang giải thích mọi khóa / every key, as Markdown.")] = False,
) -> None:
    """Cấu hình đang có hiệu lực; --doc giải thích mọi khóa / the configuration in force; --doc explains every key."""
    if doc:
        typer.echo(configuration.describe(), nl=False)
        return
    if data is None:
        raise Refused("option-missing", option="--data")
    config = configuration.load(data)
    hidden = replace(config, database=configuration.DatabaseSettings(_without_password(config.database.url)))
    typer.echo(configuration.render(hidden), nl=False)


def _without_password(url: str) -> str:
    from urllib.parse import urlsplit, urlunsplit

    parts = urlsplit(url)
    if parts.password is None:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":…@", 1)))
