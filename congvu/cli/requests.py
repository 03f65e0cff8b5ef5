"""`congvu request …`: requests (phiếu yêu cầu) from the letter of an agency to the reply and the sealed sheets.

Whoever runs commands on the machine acts as the system; `--by` names the person for the audit.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from congvu.base import config as configuration
from congvu.base.clock import Identifiers, SystemClock, day_of
from congvu.base.config import Config
from congvu.base.failure import Refused
from congvu.base.observe import printable
from congvu.base.texts import say_in
from congvu.cli.common import By, Data, Json, actor, holder, opened, unit_of

if TYPE_CHECKING:
    from congvu.actions.letters import Letterhead
    from congvu.actions.requests import Decided, Office
    from congvu.actions.sheets import List
    from congvu.db.engine import Database, Tx
    from congvu.directory.deciding import Choice, Verdict
    from congvu.directory.requests import Item, Kind, Progress, Request
    from congvu.directory.roles import Actor

app = typer.Typer(help="Phiếu yêu cầu: lập, nhập, giải quyết, trả lời / requests.", no_args_is_help=True)

KindName = Annotated[
    str,
    typer.Argument(metavar="KIND", help="issue, change, revoke, lock, restore, reset, transfer, hand_over"),
]
Number = Annotated[int, typer.Argument(metavar="ID", help="Số phiếu / the request's number.")]
UnitName = Annotated[str, typer.Option("--unit", help="Cơ quan đề nghị: số hoặc tên / the agency that asks.")]
Sign = Annotated[str, typer.Option("--number", help="Số/ký hiệu văn bản / number of the agency's letter.")]
Day = Annotated[str, typer.Option("--date", metavar="YYYY-MM-DD", help="Ngày văn bản / day of the letter.")]
Summary = Annotated[str, typer.Option("--summary", help="Trích yếu / what the letter is about.")]
Basis = Annotated[str, typer.Option("--basis", help="Số quyết định làm căn cứ / the decision behind it.")]
Signed = Annotated[
    Path | None, typer.Option("--file", metavar="FILE", help="Văn bản đã ký (PDF, DOCX, ảnh) / the signed letter.")
]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="Tệp ghi ra / the file to write.")]
Sheets = Annotated[
    Path | None,
    typer.Option("--sheets", metavar="FILE.docx", help="Phiếu giao mật khẩu, chỉ có một lần / the password sheets."),
]
Issuer = Annotated[str, typer.Option("--issuer", help="Tên cơ quan trả lời / the office that answers.")]

Place = Annotated[str, typer.Option("--place", help="Địa danh / place.")]


@dataclass(frozen=True, slots=True)
class _Desk:
    """What every command works with."""

    data: Path
    config: Config
    database: "Database"
    office: "Office"
    clock: SystemClock
    who: "Actor"


@contextmanager
def _desk(data: Path, by: str = "") -> Iterator[_Desk]:
    from congvu.actions.requests import Office
    from congvu.directory.calendar import Calendar

    config = configuration.load(data)
    clock = SystemClock()
    office = Office(config, Identifiers(clock), Calendar().due)
    with opened(config, data) as database:
        yield _Desk(data, config, database, office, clock, actor(by))


def _kind(word: str) -> "Kind":
    from congvu.directory.requests import Kind

    if word not in set(Kind):
        raise Refused("no-such-kind", kind=word[:40], known=", ".join(Kind))
    return Kind(word)


def _save(path: Path, content: bytes) -> None:
    """Readable by nobody else: sheets hold passwords, lists hold people."""
    path.touch(mode=0o600)
    path.write_bytes(content)


@contextmanager
def _reserved(path: Path | None) -> Iterator[None]:
    """A place for sheets, made sure of before passwords are drawn. Never one that holds something: what is overwritten
    may be the only copy of other passwords."""
    if path is None:
        yield
        return
    try:
        path.touch(mode=0o600, exist_ok=False)
    except FileExistsError:
        raise Refused("file-exists", file=path) from None
    try:
        yield
    finally:
        if path.exists() and not path.stat().st_size:
            path.unlink()


def _website(config: Config) -> str:
    return f"https://{config.hostname}"


# ---- making one


@app.command("new")
def request_new(
    kind: KindName,
    data: Data,
    unit: UnitName,
    number: Sign,
    date: Day,
    summary: Summary,
    about: Annotated[str, typer.Option("--about", metavar="ADDRESS", help="Tài khoản được nói đến / whom.")] = "",
    facts: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Nội dung đề nghị, xem docs/requests.md / what is asked."),
    ] = None,
    basis: Basis = "",
    file: Signed = None,
    by: By = "",
) -> None:
    """Lập phiếu có một dòng và nộp / make a request of one line and hand it in."""
    from congvu.directory.requests import Item, facts_from

    asked = _kind(kind)
    with _desk(data, by) as desk:

        def item(tx: "Tx") -> Item:
            return Item(
                0, facts_from(asked, _facts(tx, asked, facts or [], unit)), holder(tx, about).id if about else None
            )

        wanted = [desk.database.read_now(item)]
        made = _hand_in(desk, asked, unit, (number, date, summary, basis), file, wanted)
        typer.echo(f"{made.id}\thạn trả lời / due: {made.due or '–'}")


_UNITS, _PEOPLE = {"unit": "unit_id"}, {"clerk": "clerk_id", "head": "head_id"}


def _facts(tx: "Tx", kind: "Kind", pairs: Sequence[str], agency: str) -> dict[str, object]:
    """What was said by KEY=VALUE; units by name, people by address."""
    from congvu.directory.requests import Kind

    found: dict[str, object] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign:
            raise Refused("request-facts", key=pair[:40])
        if key in _UNITS:
            found[_UNITS[key]] = unit_of(tx, value).id
        elif key in _PEOPLE:
            found[_PEOPLE[key]] = holder(tx, value).id
        else:
            found[key] = value
    if kind is Kind.ISSUE:  # who names no unit means the agency itself
        found.setdefault("unit_id", unit_of(tx, agency).id)
    return found


def _hand_in(
    desk: _Desk,
    kind: "Kind",
    unit: str,
    letter: tuple[str, str, str, str],
    file: Path | None,
    wanted: "Sequence[Item]",
) -> "Request":
    from congvu.actions import requests as acts
    from congvu.db import open_blobs
    from congvu.directory.requests import Request

    number, day, summary, basis = letter
    now = desk.clock.now()

    def make(tx: "Tx") -> tuple[int, int]:
        draft = Request(0, kind, unit_of(tx, unit).id, number, day, summary, basis)
        return acts.create(tx, desk.who, desk.office, draft, wanted, now)

    signed = file.read_bytes() if file is not None else None
    if signed is not None:
        acts.sniffed(signed)  # before anything is written
    made, version = desk.database.write_now(make)
    if file is not None and signed is not None:
        keeper = open_blobs(desk.config.blobs.url, data=desk.data, worker="request")
        try:
            version = asyncio.run(
                acts.attach(desk.database, keeper, desk.who, desk.office, made, version, file.name, signed, now)
            )
        finally:
            keeper.close()
    return desk.database.write_now(acts.submit, desk.who, desk.office, made, version, now)


@app.command("template")
def request_template(kind: KindName, out: Out) -> None:
    """Ghi biểu mẫu .xlsx trống / write an empty form."""
    from congvu.actions import sheets_out

    _save(out, sheets_out.template(_kind(kind)))


@app.command("import")
def request_import(
    file: Annotated[Path, typer.Argument(metavar="FILE.xlsx")],
    data: Data,
    unit: UnitName,
    kind: Annotated[str, typer.Option("--kind", help="issue, change, revoke, …")] = "issue",
    number: Sign = "",
    date: Day = "",
    summary: Summary = "",
    basis: Basis = "",
    signed: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="Văn bản đã ký / signed letter.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Chỉ kiểm tra từng dòng / only judge each row.")] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Lập phiếu với các dòng được / go on with the good rows.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.xlsx", help="Ghi danh sách kèm kết quả / with the results.")
    ] = None,
    by: By = "",
) -> None:
    """Lập phiếu từ danh sách .xlsx; từng dòng sai có lý do / make a request of a list, each bad row with its reason."""
    from congvu.actions import sheets_out
    from congvu.actions.sheets import Standing
    from congvu.codec.xlsx import MAX_FILE

    with file.open("rb") as source:
        content = source.read(MAX_FILE + 1)
    with _desk(data, by) as desk:
        found, verdicts = desk.database.read_now(_judged, desk, content, _kind(kind), unit)
        if out is not None:
            _save(out, sheets_out.annotated(found, verdicts))
        counts = dict.fromkeys(Standing, 0)
        for row in found.rows:
            standing, reasons, _ = sheets_out.result(row, verdicts.get(row.line))
            counts[standing] += 1
            if reasons and standing is not Standing.OTHER:
                name = row.values.get("name") or row.values.get("address", "")
                typer.echo(f"{file.name}:{row.line}: {printable(name, 80)}: {sheets_out.said(reasons)}", err=True)
        typer.echo(
            f"Được / good: {counts[Standing.GOOD]}; cần kiểm tra / to be looked at: {counts[Standing.CHECK]};"
            f" không được / bad: {counts[Standing.BAD]}; bỏ qua / left out: {counts[Standing.OTHER]}"
        )
        if dry_run:
            return
        if counts[Standing.BAD] and not skip_bad:
            raise Refused("import-bad-rows", count=counts[Standing.BAD])
        made = _hand_in(desk, found.kind, unit, (number, date, summary, basis), signed, found.items())
        typer.echo(f"{made.id}\thạn trả lời / due: {made.due or '–'}")


def _judged(tx: "Tx", desk: _Desk, content: bytes, kind: "Kind", unit: str) -> "tuple[List, Mapping[int, Verdict]]":
    """The list as it would fare today, decided by the operator."""
    from congvu.actions import requests as acts
    from congvu.actions import sheets
    from congvu.directory.requests import Request

    now = desk.clock.now()
    agency = unit_of(tx, unit)
    profile = desk.office.profile(tx, agency.id)
    found = sheets.meet(tx, sheets.read(content, kind, desk.config, profile, day_of(now)), agency.id)
    draft = Request(0, kind, agency.id, "", "", "")
    verdicts = acts.judged(tx, desk.who, desk.office, draft, found.items(), {}, now)
    return found, {verdict.item.line: verdict for verdict in verdicts}


# ---- reading


@app.command("list")
def request_list(
    data: Data,
    state: Annotated[str, typer.Option("--state", help="draft, submitted, running, granted, partly, refused …")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000)] = 100,
) -> None:
    """Liệt kê phiếu, mới nhất trước / list requests, newest first."""
    from congvu.actions import requests as acts
    from congvu.directory.requests import State

    if state and state not in set(State):
        raise Refused("request-state", state=state[:40])
    with _desk(data) as desk:
        states = [State(state)] if state else []
        for request, progress in desk.database.read_now(acts.listed, desk.who, states=states, limit=limit):
            typer.echo(_row(request, progress))


def _row(request: "Request", progress: "Progress | None" = None) -> str:
    parts = [str(request.id), request.kind.value, request.state.value, request.due or "–", request.number]
    if progress is not None:
        parts.append(f"{progress.granted}+{progress.refused}/{progress.open + progress.granted + progress.refused}")
    return "\t".join([*parts, request.summary])


@app.command("overdue")
def request_overdue(data: Data) -> None:
    """Phiếu quá hạn trả lời, lâu nhất trước / requests that should have been answered."""
    from congvu.actions import requests as acts

    with _desk(data) as desk:
        for request in desk.database.read_now(acts.overdue, desk.who, day_of(desk.clock.now())):
            typer.echo(_row(request))


@app.command("show")
def request_show(number: Number, data: Data, as_json: Json = False) -> None:
    """Xem phiếu, từng dòng với địa chỉ dự kiến và điều cần kiểm tra / a request with what would come of each line."""
    from congvu.actions import answers
    from congvu.actions import requests as acts
    from congvu.actions.sheets_out import Line

    with _desk(data) as desk:

        def look(tx: "Tx") -> "tuple[acts.Shown, list[Line], dict[int, Verdict]]":
            shown = acts.show(tx, desk.who, number)
            verdicts = acts.preview(tx, desk.who, desk.office, number, {}, desk.clock.now())
            return shown, answers.lines(tx, desk.who, number)[1], {v.item.line: v for v in verdicts}

        shown, lines, verdicts = desk.database.read_now(look)
    rows = []
    for item, line in zip(shown.items, lines, strict=True):
        verdict = verdicts.get(item.line)
        reasons = [say_in("vi", each.code, True, **each.facts) for each in verdict.reasons] if verdict else []
        rows.append(
            {
                "line": item.line,
                "outcome": item.outcome.value,
                "ruling": verdict.ruling.value if verdict else "",
                "address": verdict.address if verdict else line.address,
                "remark": "; ".join(reasons) or (verdict.why if verdict else "") or item.remark,
                **{key: value for key, value in line.cells.items() if value and key != "address"},
            }
        )
    r = shown.request
    if as_json:
        told = {
            "id": r.id, "kind": r.kind.value, "state": r.state.value, "unit": r.unit_id, "number": r.number,
            "date": r.dated, "summary": r.summary, "basis": r.basis, "due": r.due, "created_by": r.created_by,
            "decided_by": r.decided_by, "answer": r.answer, "reply_number": r.reply_number, "version": r.version,
            "file": r.file_name, "items": rows,
        }  # fmt: skip
        typer.echo(json.dumps(told, ensure_ascii=False, indent=2))
        return
    typer.echo(f"{_row(r, shown.progress)}\nbản / version {r.version}; {r.file_name or 'chưa có văn bản ký / no file'}")
    for row in rows:
        typer.echo("\t".join(str(row.get(k, "")) for k in ("line", "outcome", "ruling", "address", "name", "remark")))


# ---- deciding


@app.command("decide")
def request_decide(
    number: Number,
    data: Data,
    grant: Annotated[bool, typer.Option("--grant", help="Duyệt / grant.")] = False,
    refuse: Annotated[str, typer.Option("--refuse", metavar="WHY", help="Từ chối cả phiếu, lý do / refuse.")] = "",
    partly: Annotated[
        bool, typer.Option("--partly", help="Duyệt các dòng được, từ chối dòng còn lại / grant what can be.")
    ] = False,
    lines: Annotated[
        list[str] | None,
        typer.Option("--line", metavar="N=ADDRESS|ok|no:WHY", help="Riêng một dòng / for one line."),
    ] = None,
    version: Annotated[int, typer.Option("--version", help="Bản đã xem / the version you saw.")] = 0,
    answer: Annotated[str, typer.Option("--answer", help="Nội dung trả lời / what is answered.")] = "",
    reply_number: Annotated[str, typer.Option("--reply-number", help="Số văn bản trả lời / its number.")] = "",
    sheets: Sheets = None,
    issuer: Issuer = "",
    by: By = "",
) -> None:
    """Giải quyết phiếu; mật khẩu khởi tạo chỉ ra một lần, trong tệp --sheets / decide a request."""
    from congvu.actions import requests as acts
    from congvu.actions.granting import SECRETS
    from congvu.directory import requests

    if grant == bool(refuse):
        raise Refused("option-missing", option="--grant | --refuse WHY")
    decision = acts.Decision(grant, _choices(lines or []), partly, answer or refuse, reply_number)
    with _desk(data, by) as desk:
        request = desk.database.read_now(requests.must_get, number)
        if grant and request.kind in SECRETS and sheets is None:
            raise Refused("option-missing", option="--sheets FILE.docx")
        seen = version or request.version
        with _reserved(sheets):
            decided = asyncio.run(
                acts.decide(desk.database, desk.who, desk.office, desk.clock, number, seen, decision, _progress)
            )
            _finish(desk, number, decided, sheets, issuer)


@app.command("carry-on")
def request_carry_on(number: Number, data: Data, sheets: Sheets = None, issuer: Issuer = "", by: By = "") -> None:
    """Làm tiếp danh sách dài bị dừng giữa chừng / go on with a long list that was cut short."""
    from congvu.actions import requests as acts

    with _desk(data, by) as desk, _reserved(sheets):
        decided = asyncio.run(acts.carry_on(desk.database, desk.who, desk.office, desk.clock, number, _progress))
        _finish(desk, number, decided, sheets, issuer)


@app.command("sheets")
def request_sheets(number: Number, out: Out, data: Data, issuer: Issuer = "", by: By = "") -> None:
    """Sinh lại mật khẩu khởi tạo cho người chưa đổi, khi phiếu giao bị mất / new sheets for who has not signed in."""
    from congvu.actions import requests as acts
    from congvu.actions.requests import Decided
    from congvu.directory import requests

    with _desk(data, by) as desk, _reserved(out):
        handed = asyncio.run(acts.sheets_anew(desk.database, desk.who, desk.office, desk.clock, number))
        request = desk.database.read_now(requests.must_get, number)
        progress = desk.database.read_now(requests.progress, [number])[number]
        _finish(desk, number, Decided(request.state, progress, handed), out, issuer)


def _choices(lines: Sequence[str]) -> "dict[int, Choice]":
    from congvu.directory.deciding import Choice

    found = {}
    for text in lines:
        number, sign, value = text.partition("=")
        if not sign or not number.isdigit() or not value:
            raise Refused("option-missing", option="--line N=ADDRESS|ok|no:WHY")
        if value == "ok":
            found[int(number)] = Choice(confirm=True)
        elif value.startswith("no:"):
            found[int(number)] = Choice(refuse=value[3:])
        else:
            found[int(number)] = Choice(address=value, confirm=True)
    return found


def _progress(done: int, total: int) -> None:
    if total > 300:
        typer.echo(f"{done}/{total}", err=True)


def _finish(desk: _Desk, number: int, decided: "Decided", sheets: Path | None, issuer: str) -> None:
    from congvu.actions import answers, letters

    p = decided.progress
    if decided.handed and sheets is not None:
        sealed = desk.database.read_now(answers.sealed, number, decided.handed)
        head = _head(issuer)
        _save(sheets, letters.password_sheets(head, sealed, _website(desk.config), str(number)))
    typer.echo(f"{decided.state}\t{p.granted} được / granted, {p.refused} không / refused, {p.open} còn / open")


def _head(issuer: str, **more: Any) -> "Letterhead":
    from congvu.actions.letters import Letterhead

    return Letterhead(issuer or "………………………", **more)


@app.command("withdraw")
def request_withdraw(
    number: Number, data: Data, why: Annotated[str, typer.Option("--why", help="Lý do / why.")] = "", by: By = ""
) -> None:
    """Rút phiếu chưa giải quyết / take back a request that is not decided."""
    from congvu.actions import requests as acts
    from congvu.directory import requests

    with _desk(data, by) as desk:
        version = desk.database.read_now(requests.must_get, number).version
        desk.database.write_now(acts.withdraw, desk.who, number, version, why, desk.clock.now())


# ---- papers


@app.command("export")
def request_export(number: Number, out: Out, data: Data) -> None:
    """Ghi phiếu thành danh sách .xlsx / write a request as a list."""
    from congvu.actions import answers, sheets_out

    with _desk(data) as desk:
        request, lines = desk.database.read_now(answers.lines, desk.who, number)
        title = f"{sheets_out.TITLES[request.kind]} (Văn bản số {request.number})"
        _save(out, sheets_out.listed(request.kind, title, lines))


@app.command("reply")
def request_reply(
    number: Number,
    out: Out,
    data: Data,
    issuer: Issuer = "",
    above: Annotated[str, typer.Option("--above", help="Cơ quan chủ quản / the office above.")] = "",
    place: Place = "",
    signer_title: Annotated[str, typer.Option("--signer-title", help="Chức vụ người ký / title of who signs.")] = "",
    signer: Annotated[str, typer.Option("--signer", help="Họ tên người ký / name of who signs.")] = "",
    drafted_by: Annotated[str, typer.Option("--drafted-by", help="Đơn vị soạn, viết tắt / drafting unit.")] = "",
) -> None:
    """Ghi văn bản trả lời .docx theo Nghị định 30/2020; chỗ chưa biết để trống / write the reply letter."""
    from congvu.actions import answers, letters

    with _desk(data) as desk:
        request, agency, lines = desk.database.read_now(answers.answered, desk.who, number)
        head = _head(
            issuer, above=above, number=request.reply_number, place=place, signer_title=signer_title,
            signer=signer, unit=drafted_by, day=day_of(desk.clock.now()),
        )  # fmt: skip
        _save(out, letters.reply(head, request, agency, lines, _website(desk.config)))


@app.command("minutes")
def request_minutes(number: Number, out: Out, data: Data, issuer: Issuer = "", place: Place = "") -> None:
    """Ghi biên bản bàn giao .docx, mỗi hộp thư một trang / write the minutes of a hand-over."""
    from congvu.actions import answers, letters

    with _desk(data) as desk:
        agency, handed = desk.database.read_now(answers.handed_over, desk.who, number)
        if not handed:
            raise Refused("request-no-hand-over")
        _save(out, letters.minutes(_head(issuer or agency, place=place, day=day_of(desk.clock.now())), agency, handed))
