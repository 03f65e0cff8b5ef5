"""`congvu address propose`: which address somebody gets by a regulation profile, and why."""

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from congvu.base import config as configuration
from congvu.base.clock import SystemClock, day_of
from congvu.base.failure import Refused
from congvu.cli.common import Json, opened

if TYPE_CHECKING:
    from congvu.directory.naming import Candidate

app = typer.Typer(help="Địa chỉ: đặt theo quy chế / addresses by the regulation.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keeps `propose` a word of its own while it is the only one."""


@app.command("propose")
def address_propose(
    kind: Annotated[str, typer.Option("--kind", help="so ban hoi nganh huyen … phong … person")],
    name: Annotated[str, typer.Option("--name", help="Tên như người ta viết / the name as people write it.")],
    profile: Annotated[
        str, typer.Option("--profile", metavar="P", help="Tên hồ sơ quy chế hoặc tệp TOML / a profile's name or file.")
    ] = "",
    parent: Annotated[
        str, typer.Option("--parent", metavar="LOCALPART", help="Địa chỉ cấp trên / address of the unit above.")
    ] = "",
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Hỏi cơ sở dữ liệu địa chỉ nào còn trống / ask which are free."),
    ] = None,
    as_json: Json = False,
    parent_kind: Annotated[str, typer.Option("--parent-kind", help="Loại của cấp trên / kind of the parent.")] = "",
    district: Annotated[str, typer.Option("--district", help="Địa chỉ huyện cũ / the old district's address.")] = "",
    birth: Annotated[str, typer.Option("--birth", metavar="YYYY-MM-DD", help="Ngày sinh / day of birth.")] = "",
    identity: Annotated[str, typer.Option("--identity", help="Số CCCD, ít nhất 4 số cuối / last digits.")] = "",
    domain: Annotated[str, typer.Option("--domain", help="Tên miền thư / mail domain.")] = "",
    on: Annotated[str, typer.Option("--on", metavar="YYYY-MM-DD", help="Theo mẫu của ngày này / as of a day.")] = "",
) -> None:
    """Đề xuất địa chỉ, kèm điều khoản và lý do / propose addresses with clause and reason, the rule's own first."""
    from congvu.actions import naming as proposals
    from congvu.directory import naming
    from congvu.directory import profile as profiles

    config = configuration.load(data) if data is not None else None
    word = profile or (config.profile if config else "")
    if not word:
        raise Refused("option-missing", option="--profile")
    rules = profiles.load(word)
    asked = _day(on)
    if asked and not rules.since <= asked <= rules.until:
        raise Refused("profile-not-in-force", title=rules.title, since=rules.since, until=rules.until, on=asked)
    subject = naming.Subject(
        kind=kind,
        name=name,
        parent=parent,
        parent_kind=parent_kind,
        district=district,
        birth=_day(birth),
        identity=identity,
        domain=domain,
        on=asked or day_of(SystemClock().now()),
    )
    if config is None or data is None:
        found = naming.propose(rules, subject)
    else:
        with opened(config, data) as database:
            found = database.read_now(proposals.propose, rules, subject, config.domains)
    if as_json:
        rows = [{"address": each.address, "clause": each.clause, "why": each.why} for each in found]
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=2))
    else:
        _show(found)


def _day(text: str) -> date | None:
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Refused("bad-day", text=text[:40]) from None


def _show(found: "Sequence[Candidate]") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    table.add_column("Địa chỉ / address", no_wrap=True)
    table.add_column("Điều / clause", no_wrap=True)
    table.add_column("Lý do / why", overflow="fold")
    for each in found:
        table.add_row(each.address, each.clause, each.why)
    Console().print(table)
