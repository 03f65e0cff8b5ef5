"""Commands that look after what is kept: `congvu check | queue | config`."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from congvu.base import config as configuration
from congvu.base.clock import Identifiers, SystemClock
from congvu.base.config import Config
from congvu.base.failure import Refused
from congvu.base.observe import printable
from congvu.cli.common import WHO, Data, opened

app = typer.Typer()

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
        with opened(config, data) as database:
            if database.read_now(migrations.behind):
                raise Refused("schema-behind")
            return database.read_now(find)
    finally:
        keeper.close()


def _repair(config: Config, data: Path, salvage: str) -> None:
    """The server must stand still, so its lock is taken."""
    from congvu.db import open_blobs
    from congvu.directory import addresses, requests
    from congvu.mailstore.salvage import Repair
    from congvu.main import alone, begin

    clock = SystemClock()
    count = 0
    with alone(data), opened(config, data) as database:
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
            work = Repair(database, keeper, clock, Identifiers(clock), WHO, requests.contents)
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
    with opened(config, data) as database:
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
