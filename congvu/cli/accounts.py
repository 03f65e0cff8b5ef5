"""`congvu account add | password | import | list`: mailboxes by the operator's hand. What happens to them later:
`lives`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from congvu.base import config as configuration
from congvu.base.clock import Identifiers, SystemClock
from congvu.base.failure import Refused
from congvu.base.observe import printable
from congvu.base.texts import say
from congvu.cli.common import WHO, Data, PasswordStdin, actor, at, holder, opened, read_password, show_password, write

if TYPE_CHECKING:
    from congvu.db.engine import Tx

MustChange = Annotated[
    bool,
    typer.Option("--must-change", help="Không dùng được trước khi chủ tài khoản đổi / opens nothing until changed."),
]

app = typer.Typer(help="Tài khoản: cấp mới, nhập danh sách, xem / accounts.", no_args_is_help=True)


@app.command("add")
def account_add(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Địa chỉ đầy đủ / the full address.")],
    data: Data,
    name: Annotated[str, typer.Option("--name", help="Họ và tên, hoặc tên đơn vị / name of the person or unit.")],
    kind: Annotated[str, typer.Option("--kind", help="person, organisation, unit, functional")] = "person",
    password_stdin: PasswordStdin = False,
    must_change: MustChange = False,
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
    password = read_password() if password_stdin else credentials.invent_password()
    secret = replace(credentials.make(password), must_change=int(must_change))
    new = accounts.NewAccount(full, clean, secret, Kind(kind))
    clock = SystemClock()
    with opened(config, data) as database:
        database.write_now(
            accounts.add_account, WHO, new, profiles.load(config.profile), Identifiers(clock), clock.now()
        )
    if password_stdin:
        typer.echo(full)
    else:
        show_password(full, password)


@app.command("password")
def account_password(
    address: Annotated[str, typer.Argument(metavar="ADDRESS")],
    data: Data,
    password_stdin: PasswordStdin = False,
    must_change: MustChange = False,
) -> None:
    """Đặt lại mật khẩu / set a new password."""
    from congvu.actions import lifecycle
    from congvu.directory import credentials

    password = read_password() if password_stdin else credentials.invent_password()
    secret = credentials.make(password)
    change = lifecycle.reset_password if must_change else lifecycle.set_password

    def act(tx: "Tx", now: float) -> None:
        change(tx, actor(), holder(tx, address).id, secret, now)

    write(data, act)
    if not password_stdin:
        show_password(address, password)


@app.command("import")
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
    with opened(config, data) as database, Progress(*columns, console=Console(stderr=True), transient=True) as bar:
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


@app.command("list")
def account_list(data: Data) -> None:
    """Liệt kê: địa chỉ, loại, trạng thái, tên, cách nhau bằng tab / list, separated by tabs."""
    from congvu.directory import people

    def show(tx: "Tx") -> None:
        for each in people.everyone(tx):
            typer.echo(f"{each.address}\t{each.kind}\t{each.state}\t{each.name}")

    with at(data) as database:
        database.read_now(show)
