"""What the commands share: the data folder as an option, the database of a folder, failures as one line."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from congvu.base.config import Config
from congvu.base.failure import Refused
from congvu.base.observe import Secret

if TYPE_CHECKING:
    from congvu.db.engine import Database

Data = Annotated[Path, typer.Option("--data", metavar="DIR", help="Thư mục dữ liệu / the data folder.")]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Đọc mật khẩu từ dòng đầu của stdin / read it from standard input.")
]
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


def read_password() -> Secret:
    from congvu.directory import credentials

    line = sys.stdin.buffer.readline(8192).decode("utf-8", "replace")
    return credentials.checked_password(Secret(line.rstrip("\r\n")))


def show_password(address: str, password: Secret) -> None:
    typer.echo(f"{address}\nMật khẩu, chỉ hiện một lần / password, shown this once: {password.reveal()}")
