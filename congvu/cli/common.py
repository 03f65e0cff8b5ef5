"""What the commands share: options, the database of a folder, units and people by what is typed, who acts, failures as
one line."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer

from congvu.base import config as configuration
from congvu.base.clock import SystemClock
from congvu.base.config import Config
from congvu.base.failure import Refused
from congvu.base.observe import Secret

if TYPE_CHECKING:
    from congvu.db.engine import Database, Tx
    from congvu.directory.people import Account
    from congvu.directory.roles import Actor
    from congvu.directory.units import Unit

R = TypeVar("R")

Data = Annotated[Path, typer.Option("--data", metavar="DIR", help="Thư mục dữ liệu / the data folder.")]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Đọc mật khẩu từ dòng đầu của stdin / read it from standard input.")
]
UnitRef = Annotated[str, typer.Argument(metavar="UNIT", help="Số hoặc tên của đơn vị / number or name of the unit.")]
Json = Annotated[bool, typer.Option("--json", help="In JSON / print JSON.")]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Người thực hiện, ghi vào nhật ký / who acts.")]
WHO = "congvu cli"  # in the audit: whoever may run commands on this machine


def fail(line: str) -> NoReturn:
    """One line on standard error and exit code 2."""
    typer.echo(line, err=True)
    sys.exit(2)


@contextmanager
def opened(config: Config, data: Path) -> "Iterator[Database]":
    """The database of a data folder, for as long as the block runs."""
    from congvu.db import open_database

    try:
        database = open_database(config.database.url, data=data)
    except ValueError as error:
        raise Refused("bad-url", reason=error) from None
    try:
        yield database
    finally:
        database.close()


@contextmanager
def at(data: Path) -> "Iterator[Database]":
    """The same, by the configuration that lies in the folder."""
    with opened(configuration.load(data), data) as database:
        yield database


def write(data: Path, act: "Callable[[Tx, float], R]") -> R:
    """One transaction, now."""
    now = SystemClock().now()
    with at(data) as database:
        return database.write_now(act, now)


def actor(by: str = "") -> "Actor":
    """Whoever may run commands on this machine; `by` names the person."""
    from congvu.directory.roles import Actor

    return Actor(f"{WHO}: {by}" if by else WHO)


def unit_of(tx: "Tx", text: str) -> "Unit":
    """By number, or by the words of its name when these are one unit's. Raises `Refused`: no-such-unit, many-units."""
    from congvu.base.vietnamese import findable
    from congvu.directory import units

    if text.isdecimal():
        return units.must_get(tx, int(text))
    found = [each for each in units.find(tx, text) if not each.until]
    exact = [each for each in found if findable(each.name) == findable(text)]
    if not found:
        raise Refused("no-such-unit")
    if len(exact or found) > 1:
        raise Refused("many-units", known=", ".join(f"{each.id} {each.name}" for each in (exact or found)[:10]))
    return (exact or found)[0]


def holder(tx: "Tx", address: str) -> "Account":
    """Whose address it is. Raises `Refused("no-such-account")`."""
    from congvu.actions import accounts
    from congvu.directory import people

    held = people.get(tx, accounts.must_hold(tx, address).account_id)
    if held is None:
        raise Refused("no-such-account", address=address)
    return held


def read_password() -> Secret:
    from congvu.directory import credentials

    line = sys.stdin.buffer.readline(8192).decode("utf-8", "replace")
    return credentials.checked_password(Secret(line.rstrip("\r\n")))


def show_password(address: str, password: Secret) -> None:
    typer.echo(f"{address}\nMật khẩu, chỉ hiện một lần / password, shown this once: {password.reveal()}")
