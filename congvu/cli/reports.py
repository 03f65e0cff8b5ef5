"""`congvu report …`: statistics, the public list of official addresses, lists that units confirm, what is due when.

What is made goes to a file (`--out`) or to standard output; whoever runs commands on the machine sees everything.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from congvu.base import config as configuration
from congvu.base.clock import SystemClock, day_of
from congvu.base.disk import write_safely
from congvu.base.failure import Refused
from congvu.base.observe import printable
from congvu.cli.common import By, Data, UnitRef, actor, opened, unit_of

if TYPE_CHECKING:
    from congvu.actions.reports import Review
    from congvu.db.engine import Database, Tx
    from congvu.directory.profile import Profile
    from congvu.directory.roles import Actor

app = typer.Typer(help="Báo cáo, thống kê, danh sách công khai / reports, the public list.", no_args_is_help=True)

UnitName = Annotated[str, typer.Option("--unit", metavar="UNIT", help="Đơn vị này và bên dưới / this unit and below.")]
Out = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Tệp ghi ra / the file to write.")]


class Page(StrEnum):
    CSV = "csv"
    JSON = "json"
    HTML = "html"


class Sheet(StrEnum):
    XLSX = "xlsx"
    JSON = "json"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class _Desk:
    database: "Database"
    profile: "Profile"
    who: "Actor"
    now: float

    def unit(self, text: str) -> int | None:
        return self.database.read_now(unit_of, text).id if text else None

    def rules(self, unit_id: int | None) -> "Profile":
        """The profile that holds for a unit, or the server's."""
        from congvu.directory.regulation import Regulation

        return self.database.read_now(Regulation(self.profile).of_unit, unit_id)


@contextmanager
def _desk(data: Path, by: str = "") -> Iterator[_Desk]:
    from congvu.directory import profile as profiles

    config = configuration.load(data)
    with opened(config, data) as database:
        yield _Desk(database, profiles.load(config.profile), actor(by), SystemClock().now())


def _give(content: bytes, out: Path | None, mode: int = 0o600) -> None:
    if out is not None:
        write_safely(out, content)
        out.chmod(mode)
    else:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()


def _binary_needs_a_file(form: str, out: Path | None) -> None:
    if form == Sheet.XLSX and out is None:
        raise Refused("needs-out", form=form)


@app.command("public")
def public(
    data: Data,
    form: Annotated[Page, typer.Option("--format")] = Page.HTML,
    out: Out = None,
    unit: UnitName = "",
) -> None:
    """Danh sách địa chỉ chính thức để công bố (dòng 7.4) / the list of official addresses, to be published."""
    from congvu.actions import public_list

    with _desk(data) as desk:
        unit_id, day = desk.unit(unit), day_of(desk.now)
        found = desk.database.read_now(lambda tx: public_list.public_list(tx, desk.who, day, unit_id=unit_id))
    make = {Page.CSV: public_list.csv, Page.JSON: public_list.as_json, Page.HTML: public_list.html}[form]
    _give(make(found), out, 0o644)  # a portal's server reads it


@app.command("usage")
def usage(
    data: Data,
    first: Annotated[str, typer.Option("--from", metavar="YYYY-MM-DD", help="Từ ngày / first day.")],
    last: Annotated[str, typer.Option("--to", metavar="YYYY-MM-DD", help="Ngày chốt số liệu / last day, the cut-off.")],
    form: Annotated[Sheet, typer.Option("--format")] = Sheet.XLSX,
    out: Out = None,
    unit: UnitName = "",
    staff: Annotated[
        list[str] | None,
        typer.Option(
            "--staff", metavar="UNIT=NUMBER", help="Số cán bộ theo cơ quan nhân sự / staff as counted by hand."
        ),
    ] = None,
    problems: Annotated[str, typer.Option("--problems", help="Khó khăn, vướng mắc / for the form.")] = "",
    proposals: Annotated[str, typer.Option("--proposals", help="Đề xuất, kiến nghị / for the form.")] = "",
    by: By = "",
) -> None:
    """Số liệu sử dụng theo đơn vị, mẫu báo cáo, chỉ tiêu (mục 15) / figures of use, the form, the two ratios."""
    from congvu.actions import report_files, reports
    from congvu.directory import statistics

    _binary_needs_a_file(form, out)
    within = statistics.span(first, last)
    with _desk(data, by) as desk:
        unit_id = desk.unit(unit)
        counted = desk.database.read_now(_headcount, staff or ())
        rules = desk.rules(unit_id)
        found = desk.database.read_now(
            lambda tx: reports.usage(tx, desk.who, rules, within, desk.now, unit_id=unit_id, headcount=counted)
        )
        match form:
            case Sheet.XLSX:
                content = report_files.usage_xlsx(found, problems, proposals)
            case Sheet.JSON:
                content = report_files.usage_json(found, problems, proposals)
            case Sheet.CSV:
                content = report_files.usage_csv(found)
        facts = {"from": first, "to": last, "format": form.value}
        seal = desk.database.write_now(reports.keep, desk.who, "usage", unit_id, content, facts, desk.now)
    _give(content, out)
    typer.echo(f"BLAKE3 {seal}", err=True)


def _headcount(tx: "Tx", texts: Sequence[str]) -> dict[int, int]:
    found: dict[int, int] = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        if not name or not (number.isascii() and number.isdigit()) or len(number) > 7:
            raise Refused("bad-headcount", text=text[:80])
        found[unit_of(tx, name).id] = int(number)
    return found


@app.command("calendar")
def calendar(
    data: Data,
    within: Annotated[
        int,
        typer.Option(
            "--within", metavar="DAYS", min=1, max=3650, help="Trong bao nhiêu ngày tới / so many days ahead."
        ),
    ] = 365,
    unit: UnitName = "",
) -> None:
    """Báo cáo nào đến hạn khi nào (dòng 15.1, 15.2, 15.4) / which report is due when."""
    from congvu.actions import report_files, reports

    with _desk(data) as desk:
        rules, on = desk.rules(desk.unit(unit)), day_of(desk.now)
    for each in reports.calendar(rules, on, on + timedelta(days=within)):
        typer.echo("\t".join(report_files.due_line(each, on)))


@app.command("attest")
def attest(
    unit: UnitRef,
    data: Data,
    remark: Annotated[str, typer.Option("--remark", help="Ghi chú / a remark.")] = "",
    seen: Annotated[
        str, typer.Option("--seen", metavar="DIGEST", help="Chỉ xác nhận đúng danh sách đã xem / this list only.")
    ] = "",
    by: By = "",
) -> None:
    """Xác nhận danh sách của đơn vị và bên dưới (dòng 7.5) / confirm the list of a unit and all below it."""
    from congvu.actions import reports

    try:
        digest = bytes.fromhex(seen)
    except ValueError:
        raise Refused("bad-digest", text=seen[:80]) from None
    with _desk(data, by) as desk:
        number = desk.unit(unit) or 0
        made = desk.database.write_now(
            lambda tx: reports.attest(tx, desk.who, number, remark, desk.now, seen=digest),
        )
    typer.echo(f"{made.entries}\t{made.digest.hex()}")


@app.command("attested")
def attested(
    data: Data,
    unit: UnitName = "",
    due: Annotated[bool, typer.Option("--due", help="Chỉ những cơ quan đến hạn / only those that are due.")] = False,
) -> None:
    """Cơ quan nào đã xác nhận, đến hạn khi nào; với --unit: thay đổi từ lần cuối / who has confirmed its list."""
    from congvu.actions import report_files, reports

    with _desk(data) as desk:
        unit_id = desk.unit(unit)
        rules = desk.rules(unit_id)
        found = desk.database.read_now(
            lambda tx: reports.reviews(tx, desk.who, rules, desk.now, unit_id=unit_id),
        )
        since = desk.database.read_now(reports.changes, desk.who, unit_id, desk.now) if unit_id is not None else None
    for each in found:
        if each.overdue or not due:
            typer.echo(_review(each))
    if since is not None:
        changed = {True: "đã thay đổi / changed", False: "không thay đổi / unchanged", None: "chưa xác nhận / never"}
        typer.echo(f"{changed[since.changed]}\t{since.entries}\t{since.digest.hex()}")
        for row in since.acts:
            typer.echo(f"{report_files.day(day_of(row.at))}\t{row.who}\t{row.act}\t{printable(row.facts, 200)}")
        if since.more:
            typer.echo("…")


def _review(each: "Review") -> str:
    from congvu.actions.report_files import day

    word = "đến hạn / due" if each.overdue else "còn hạn / in time"
    made = each.last
    last = f"{day(day_of(made.at))}\t{made.entries}\t{made.who}\t{made.remark}" if made else "–"
    return f"{each.unit.name}\t{word}\t{day(each.due)}\t{last}".rstrip()


@app.command("locked")
def locked(
    data: Data,
    form: Annotated[Sheet, typer.Option("--format")] = Sheet.CSV,
    out: Out = None,
    unit: UnitName = "",
) -> None:
    """Hộp thư đang bị khóa theo cơ quan (dòng 4.10) / locked mailboxes by agency."""
    from congvu.actions import report_files, reports

    _binary_needs_a_file(form, out)
    with _desk(data) as desk:
        unit_id, on = desk.unit(unit), day_of(desk.now)
        found = desk.database.read_now(lambda tx: reports.locked(tx, desk.who, on, unit_id=unit_id))
    match form:
        case Sheet.XLSX:
            _give(report_files.locked_xlsx(found, int(desk.now)), out)
        case Sheet.JSON:
            _give(report_files.locked_json(found, on), out)
        case Sheet.CSV:
            _give(report_files.locked_csv(found), out)


@app.command("waiting")
def waiting(data: Data) -> None:
    """Việc quá hạn: phiếu yêu cầu, danh sách chưa xác nhận, hộp thư bị khóa / what waits too long."""
    from congvu.actions import reports

    with _desk(data) as desk:
        found = desk.database.read_now(reports.waiting, desk.who, desk.profile, desk.now)
    typer.echo(f"Phiếu quá hạn / requests overdue: {found.requests} {found.oldest}".rstrip())
    typer.echo(f"Danh sách đến hạn xác nhận / lists due: {found.reviews}")
    typer.echo(f"Hộp thư bị khóa / locked: {found.locked}")
