"""`congvu unit | person | role | audit`: the tree, the people in it, who may act, and the proof of what was done."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from congvu.base import config as configuration
from congvu.base.clock import Identifiers, SystemClock
from congvu.base.failure import Refused
from congvu.base.observe import printable
from congvu.cli.common import Data, Json, UnitRef, actor, at, holder, unit_of, write

if TYPE_CHECKING:
    from congvu.db.engine import Tx
    from congvu.directory.units import Unit

unit = typer.Typer(help="Cây cơ quan, đơn vị / the tree of units.", no_args_is_help=True)
person = typer.Typer(help="Người, chức vụ, liên hệ / people, posts, contacts.", no_args_is_help=True)
role = typer.Typer(help="Vai trò trên từng nhánh / roles on parts of the tree.", no_args_is_help=True)
audit = typer.Typer(help="Nhật ký kiểm toán / the audit chain.", no_args_is_help=True)

Why = Annotated[str, typer.Option("--why", help="Lý do, ghi vào nhật ký / the reason, for the audit.")]
Day = Annotated[str, typer.Option(metavar="YYYY-MM-DD")]


# --- units ------------------------------------------------------------------------------------------------------------


@unit.command("add")
def unit_add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Tên đầy đủ / the full name.")],
    data: Data,
    category: Annotated[str, typer.Option("--category", help="tinh so ban hoi nganh xa phuong dackhu phong …")],
    parent: Annotated[str, typer.Option("--parent", metavar="UNIT", help="Đơn vị cấp trên / the unit above.")] = "",
    since: Day = "",
    domain: Annotated[str, typer.Option("--domain", help="Tên miền thư riêng / a mail domain of its own.")] = "",
    why: Why = "",
) -> None:
    """Thêm một đơn vị; in ra số của nó / add a unit; prints its number."""
    from congvu.actions import directory
    from congvu.directory.units import Unit

    config = configuration.load(data)
    if domain and not config.serves(domain.lower()):
        raise Refused("foreign-domain", domain=domain, known=", ".join(config.domains))
    number = Identifiers(SystemClock()).draw()

    def act(tx: "Tx", now: float) -> None:
        above = unit_of(tx, parent).id if parent else None
        new = Unit(number, above, name, category, since=since, domain=domain.lower())
        directory.add_unit(tx, actor(), new, why, now)

    write(data, act)
    typer.echo(number)


@unit.command("communes")
def unit_communes(
    province: Annotated[str, typer.Argument(metavar="PROVINCE", help="Tên tỉnh, ví dụ An Giang / its name.")],
    data: Data,
    parent: Annotated[str, typer.Option("--parent", metavar="UNIT", help="Dưới đơn vị này / below this unit.")] = "",
) -> None:
    """Thêm các xã, phường, đặc khu hiện nay của một tỉnh / add today's communes of a province."""
    from congvu.actions import directory
    from congvu.directory import units
    from congvu.directory.units import Unit

    ids = Identifiers(SystemClock())
    communes = directory.communes_of(province, ids)
    name = "Tỉnh " + province.removeprefix("Tỉnh ")

    def act(tx: "Tx", now: float) -> int:
        who = actor()
        if parent:
            root = unit_of(tx, parent).id
        else:
            root = next((each.id for each in units.children(tx, None) if each.name == name), 0)
            if not root:
                root = ids.draw()
                directory.add_unit(tx, who, Unit(root, None, name, "tinh"), "", now)
        return directory.add_communes(tx, who, root, communes, "", now)

    typer.echo(f"Đã thêm / added: {write(data, act)}")


@unit.command("list")
def unit_list(
    data: Data,
    text: Annotated[str, typer.Argument(metavar="[WORDS]", help="Từ trong tên / words of the name.")] = "",
    json_: Json = False,
) -> None:
    """Cây đơn vị, hoặc những đơn vị có các từ này / the tree, or the units with these words."""
    from congvu.directory import units

    def read(tx: "Tx") -> "list[tuple[int, Unit]]":
        if text:
            return [(0, each) for each in units.find(tx, text)]
        below: dict[int | None, list[Unit]] = {}
        for each in units.everything(tx):
            below.setdefault(each.parent_id, []).append(each)
        rows: list[tuple[int, Unit]] = []
        waiting = [(0, each) for each in reversed(below.get(None, []))]
        while waiting:
            depth, each = waiting.pop()
            rows.append((depth, each))
            waiting += [(depth + 1, child) for child in reversed(below.get(each.id, []))]
        return rows

    with at(data) as database:
        rows = database.read_now(read)
    if json_:
        fields = ("id", "parent_id", "name", "category", "since", "until", "domain", "profile", "code")
        typer.echo(json.dumps([{f: getattr(each, f) for f in fields} for _, each in rows], ensure_ascii=False))
        return
    for depth, each in rows:
        end = f"\t… {each.until}" if each.until else ""
        typer.echo(f"{'  ' * depth}{each.name}\t{each.category}\t{each.id}{end}")


@unit.command("show")
def unit_show(ref: UnitRef, data: Data) -> None:
    """Một đơn vị: cấp trên, kế thừa, hộp thư, người / one unit: its way up, successions, box and people."""
    from congvu.actions import directory
    from congvu.actions.directory import View
    from congvu.directory import people, units

    def show(tx: "Tx") -> None:
        found = unit_of(tx, ref)
        typer.echo(" › ".join(each.name for each in units.path(tx, found.id)))
        days = f"{found.since or '…'} – {found.until or '…'}"
        domain, profile = units.inherited(tx, found.id)
        typer.echo(f"{found.id}\t{found.category}\t{days}\t{domain}\t{profile}".rstrip())
        for each in units.successions(tx, found.id):
            a, b = units.must_get(tx, each.unit_id), units.must_get(tx, each.successor_id)
            typer.echo(f"{each.day}\t{each.how.value}\t{a.name} → {b.name}")
        box = people.box_of(tx, found.id)
        if box is not None:
            duty = people.duty(tx, box.id)
            names = [
                held.address if held else "-"
                for held in (people.get(tx, n) if n else None for n in (duty and duty.head_id, duty and duty.clerk_id))
            ]
            typer.echo(f"{box.address}\t{box.state}\t{' '.join(names)}")
        for card in directory.find(tx, actor(), "", View.MANAGED, unit_id=found.id, limit=1000):
            typer.echo(f"{card.address}\t{card.name}\t{card.title}\t{' › '.join(card.path[-1:])}")

    with at(data) as database:
        database.read_now(show)


@unit.command("change")
def unit_change(
    ref: UnitRef,
    data: Data,
    name: Annotated[str | None, typer.Option("--name")] = None,
    category: Annotated[str | None, typer.Option("--category")] = None,
    parent: Annotated[str | None, typer.Option("--parent", metavar="UNIT")] = None,
    since: Annotated[str | None, typer.Option("--since", metavar="YYYY-MM-DD")] = None,
    why: Why = "",
) -> None:
    """Đổi tên, loại hoặc cấp trên; địa chỉ giữ nguyên / change name, category or place; addresses stay."""
    from congvu.actions import directory

    def act(tx: "Tx", now: float) -> None:
        new = unit_of(tx, ref)
        if parent is not None:
            new = replace(new, parent_id=unit_of(tx, parent).id)
        new = replace(
            new,
            name=new.name if name is None else name,
            category=new.category if category is None else category,
            since=new.since if since is None else since,
        )
        directory.change_unit(tx, actor(), new, why, now)

    write(data, act)


@unit.command("end")
def unit_end(
    ref: UnitRef,
    data: Data,
    on: Annotated[str, typer.Option("--on", metavar="YYYY-MM-DD", help="Ngày đầu không còn / first day without it.")],
    to: Annotated[list[str] | None, typer.Option("--to", metavar="UNIT", help="Đơn vị kế thừa / successors.")] = None,
    how: Annotated[str, typer.Option("--how", help="merged, split, renamed")] = "merged",
    why: Why = "",
) -> None:
    """Đơn vị kết thúc hoạt động, có đơn vị kế thừa / a unit ends; who takes over."""
    from congvu.actions import directory
    from congvu.directory.units import How

    if how not in set(How):
        raise Refused("no-such-word", word=how, known=", ".join(How))

    def act(tx: "Tx", now: float) -> None:
        successors = [unit_of(tx, each).id for each in to or []]
        directory.end_unit(tx, actor(), unit_of(tx, ref).id, on, successors, How(how), why, now)

    write(data, act)


# --- people -----------------------------------------------------------------------------------------------------------

Address = Annotated[str, typer.Argument(metavar="ADDRESS")]


@person.command("find")
def person_find(
    text: Annotated[str, typer.Argument(metavar="WORDS", help="Phần đầu của các từ / beginnings of words.")],
    data: Data,
    unit_: Annotated[str, typer.Option("--unit", metavar="UNIT", help="Trong đơn vị này / in this unit.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000)] = 50,
    json_: Json = False,
) -> None:
    """Tìm trong danh bạ, có dấu hay không / search the directory, with marks or without."""
    from dataclasses import asdict

    from congvu.actions import directory
    from congvu.actions.directory import Card, View

    def read(tx: "Tx") -> list[Card]:
        below = unit_of(tx, unit_).id if unit_ else None
        return directory.find(tx, actor(), text, View.MANAGED, unit_id=below, limit=limit)

    with at(data) as database:
        found = database.read_now(read)
    if json_:
        typer.echo(json.dumps([asdict(card) for card in found], ensure_ascii=False))
        return
    for card in found:
        typer.echo(f"{card.address}\t{card.name}\t{card.title}\t{' › '.join(card.path)}\t{card.phone}\t{card.mobile}")


@person.command("post")
def person_post(
    address: Address,
    data: Data,
    unit_: Annotated[str, typer.Option("--unit", metavar="UNIT", help="Đơn vị / the unit.")],
    title: Annotated[str, typer.Option("--title", help="Chức vụ / the title.")] = "",
    add: Annotated[
        bool, typer.Option("--add", help="Thêm một chức vụ kiêm nhiệm; không thì thay chức vụ chính / a second post.")
    ] = False,
    since: Day = "",
    why: Why = "",
) -> None:
    """Chức vụ của một người ở một đơn vị / what a person is in a unit."""
    from congvu.actions import directory
    from congvu.directory import people
    from congvu.directory.people import Post

    def act(tx: "Tx", now: float) -> None:
        held = holder(tx, address)
        new = Post(held.id, unit_of(tx, unit_).id, title, main=not add, since=since)
        kept = [
            p for p in people.posts(tx, held.id) if (add or not p.main) and (p.unit_id, p.title) != (new.unit_id, title)
        ]
        directory.set_posts(tx, actor(), held.id, [*kept, new], why, now)

    write(data, act)


@person.command("contact")
def person_contact(
    address: Address,
    data: Data,
    phone: Annotated[str | None, typer.Option("--phone")] = None,
    mobile: Annotated[str | None, typer.Option("--mobile")] = None,
    place: Annotated[str | None, typer.Option("--place", help="Địa chỉ liên hệ / postal address.")] = None,
    listed: Annotated[
        bool | None, typer.Option("--listed/--hidden", help="Có trong danh bạ / in the directory.")
    ] = None,
    show_mobile: Annotated[bool | None, typer.Option("--show-mobile/--hide-mobile")] = None,
    public: Annotated[
        bool | None, typer.Option("--public/--not-public", help="Trong danh sách công khai / on the public list.")
    ] = None,
) -> None:
    """Điện thoại, địa chỉ, ai được xem / telephones, place, and who sees them."""
    from congvu.actions import directory
    from congvu.directory import entries
    from congvu.directory.entries import Contact, Shown

    def act(tx: "Tx", now: float) -> None:
        held = holder(tx, address)
        new = entries.contact(tx, held.id) or Contact(held.id)
        new = replace(
            new,
            phone=new.phone if phone is None else phone,
            mobile=new.mobile if mobile is None else mobile,
            place=new.place if place is None else place,
        )
        shown = new.shown
        for flag, wish in ((Shown.LISTED, listed), (Shown.MOBILE, show_mobile), (Shown.PUBLIC, public)):
            if wish is not None:
                shown = shown | flag if wish else shown & ~flag
        directory.set_contact(tx, actor(), replace(new, shown=shown), now)

    write(data, act)


# --- roles ------------------------------------------------------------------------------------------------------------

RoleWord = Annotated[str, typer.Argument(metavar="ROLE", help="operator, approver, unit_admin, auditor")]


@role.command("give")
def role_give(
    address: Address,
    role_: RoleWord,
    data: Data,
    unit_: Annotated[str, typer.Option("--unit", metavar="UNIT", help="Nhánh / the part of the tree.")],
    since: Day = "",
    until: Day = "",
    why: Why = "",
) -> None:
    """Giao một vai trò trên một đơn vị và các đơn vị bên dưới / a role in a unit and all below it."""
    from congvu.actions import directory
    from congvu.directory.roles import Grant, Role

    if role_ not in set(Role):
        raise Refused("no-such-word", word=role_, known=", ".join(Role))

    def act(tx: "Tx", now: float) -> None:
        grant = Grant(Role(role_), unit_of(tx, unit_).id)
        directory.give_role(tx, actor(), holder(tx, address).id, grant, since, until, why, now)

    write(data, act)


@role.command("take")
def role_take(
    address: Address,
    role_: RoleWord,
    data: Data,
    unit_: Annotated[str, typer.Option("--unit", metavar="UNIT")],
    why: Why = "",
) -> None:
    """Thu hồi một vai trò / take a role away."""
    from congvu.actions import directory
    from congvu.directory.roles import Grant, Role

    if role_ not in set(Role):
        raise Refused("no-such-word", word=role_, known=", ".join(Role))

    def act(tx: "Tx", now: float) -> None:
        grant = Grant(Role(role_), unit_of(tx, unit_).id)
        directory.take_role(tx, actor(), holder(tx, address).id, grant, why, now)

    write(data, act)


@role.command("list")
def role_list(data: Data) -> None:
    """Ai có vai trò gì ở đâu / who has which role where."""
    from congvu.directory import people, roles, units
    from congvu.directory.roles import Right

    def show(tx: "Tx") -> None:
        rows = roles.holders(tx, roles.scope(actor(), Right.READ))
        names = {each.id: each.address for each in people.some(tx, [row[0] for row in rows])}
        places = units.some(tx, [grant.unit_id for _, grant, _, _ in rows])
        for account_id, grant, since, until in rows:
            place = places[grant.unit_id].name if grant.unit_id in places else str(grant.unit_id)
            typer.echo(f"{names.get(account_id, account_id)}\t{grant.role.value}\t{place}\t{since}\t{until}")

    with at(data) as database:
        database.read_now(show)


# --- audit ------------------------------------------------------------------------------------------------------------


@audit.command("verify")
def audit_verify(
    data: Data,
    head: Annotated[
        str,
        typer.Option("--head", metavar="N:SEAL", help="Niêm phong đã giữ riêng / a seal kept elsewhere."),
    ] = "",
) -> None:
    """Chứng minh chuỗi nhật ký; sai thì mã thoát 1 và nêu từng dòng / prove the chain, or name the bad rows."""
    from congvu.db import audit as chain

    known = None
    if head:
        number, _, seal = head.partition(":")
        try:
            known = int(number), bytes.fromhex(seal)
        except ValueError:
            raise Refused("bad-head", text=head) from None
    with at(data) as database:
        wrong = database.read_now(chain.verify_chain, known)
        number_, seal_ = database.read_now(chain.head)
    for line in wrong:
        typer.echo(line)
    if wrong:
        raise typer.Exit(1)
    typer.echo(f"Nhật ký toàn vẹn / the chain is whole: {number_}:{seal_.hex()}")


@audit.command("list")
def audit_list(
    data: Data,
    who: Annotated[str, typer.Option("--who", help="Của ai / by whom.")] = "",
    act: Annotated[str, typer.Option("--act", help="Việc, ví dụ account. / the act, for example account.")] = "",
    on: Annotated[str, typer.Option("--on", help="Có chữ này / with this text.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000)] = 100,
) -> None:
    """Các dòng gần nhất, mới trước, cách nhau bằng tab / the last rows, newest first, separated by tabs."""
    from congvu.db import audit as chain

    with at(data) as database:
        rows = database.read_now(chain.recent, who=who, act=act, on=on, limit=limit)
    for row in rows:
        moment = datetime.fromtimestamp(row.at, UTC).isoformat(timespec="seconds")
        typer.echo(f"{row.id}\t{moment}\t{printable(row.who)}\t{row.act}\t{printable(row.facts, 10_000)}")
