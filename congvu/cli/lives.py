"""`congvu account lock | restore | revoke | hold | leave | handover | show | change-password`, `congvu daily`: what
happens to accounts after they were made, by the operator's hand."""

import asyncio
import sys
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from congvu.base import config as configuration
from congvu.base.clock import VIETNAM, SystemClock
from congvu.base.failure import Refused
from congvu.base.observe import Secret
from congvu.base.texts import say_in
from congvu.cli.accounts import app as account
from congvu.cli.common import Data, PasswordStdin, actor, at, holder, opened, read_password, show_password, write

if TYPE_CHECKING:
    from congvu.db.engine import Tx
    from congvu.directory.minutes import Minutes

app = typer.Typer()

Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="Địa chỉ / the address.")]
Why = Annotated[
    str, typer.Option("--why", help="Vụ việc, hoặc số văn bản của cơ quan / the case, or the agency's letter.")
]
Request = Annotated[int, typer.Option("--request", metavar="ID", min=0, help="Phiếu yêu cầu / the request.")]


@account.command("lock")
def lock(
    address: Address,
    data: Data,
    reason: Annotated[
        str, typer.Option("--reason", help="manual, left, seized, prohibited; hai lý do sau cần --why / need --why")
    ] = "manual",
    why: Why = "",
    request: Request = 0,
) -> None:
    """Khóa tạm thời: không đăng nhập được, vẫn nhận thư / lock: no sign-in, still receives."""
    from congvu.actions import lifecycle

    def act(tx: "Tx", now: float) -> None:
        lifecycle.lock(tx, actor(), holder(tx, address).id, reason, why, now, request)

    write(data, act)


@account.command("restore")
def restore(
    address: Address, data: Data, request: Request = 0, why: Why = "", password_stdin: PasswordStdin = False
) -> None:
    """Khôi phục, với mật khẩu mới phải đổi ở lần đăng nhập đầu / restore, with a password to be changed."""
    from congvu.actions import lifecycle
    from congvu.directory import credentials

    password = read_password() if password_stdin else credentials.invent_password()
    secret = credentials.make(password)

    def act(tx: "Tx", now: float) -> None:
        lifecycle.restore(tx, actor(), holder(tx, address).id, secret, now, request, why)

    write(data, act)
    if not password_stdin:
        show_password(address, password)


@account.command("revoke")
def revoke(
    address: Address,
    data: Data,
    reason: Annotated[str, typer.Option("--reason", help="left, dissolved, manual")] = "left",
    request: Request = 0,
    why: Why = "",
) -> None:
    """Thu hồi: thôi gửi và nhận ngay, xóa khi hết thời hạn / revoke: neither sends nor receives, deleted later."""
    from congvu.actions import lifecycle

    def act(tx: "Tx", now: float) -> None:
        lifecycle.revoke(tx, actor(), holder(tx, address).id, reason, why, now, request)

    write(data, act)


@account.command("hold")
def hold(
    address: Address,
    data: Data,
    why: Why,
    release: Annotated[bool, typer.Option("--release", help="Thôi giữ / the inquiry is over.")] = False,
) -> None:
    """Giữ nguyên trạng để xác minh: không gì bị xóa / hold: nothing of it is deleted."""
    from congvu.actions import lifecycle

    def act(tx: "Tx", now: float) -> None:
        lifecycle.hold(tx, actor(), holder(tx, address).id, not release, why, now)

    write(data, act)


@account.command("leave")
def leave(
    address: Address,
    data: Data,
    until: Annotated[
        str, typer.Option("--until", metavar="DATE", help="Đến ngày; trống: thôi / until; empty: no more")
    ],
    why: Why = "",
) -> None:
    """Nghỉ dài ngày: không bị khóa vì không sử dụng / on leave: not locked for being unused."""
    from congvu.actions import lifecycle

    def act(tx: "Tx", now: float) -> None:
        lifecycle.set_leave(tx, actor(), holder(tx, address).id, until, why, now)

    write(data, act)


@account.command("handover")
def handover(
    address: Address,
    data: Data,
    to: Annotated[str, typer.Option("--to", metavar="ADDRESS", help="Văn thư mới / the new clerk.")],
    request: Request = 0,
    why: Why = "",
    password_stdin: PasswordStdin = False,
) -> None:
    """Bàn giao hộp thư cơ quan cho văn thư mới; in biên bản / hand a mailbox over; prints the minutes."""
    from congvu.actions import lifecycle
    from congvu.directory import credentials

    password = read_password() if password_stdin else credentials.invent_password()
    secret = credentials.make(password)

    def act(tx: "Tx", now: float) -> "Minutes":
        box, clerk = holder(tx, address).id, holder(tx, to).id
        return lifecycle.hand_over(tx, actor(), box, clerk, secret, now, request, why)

    minutes = write(data, act)
    typer.echo(minutes.text())
    if not password_stdin:
        show_password(address, password)


@account.command("show")
def show(address: Address, data: Data) -> None:
    """Xem một tài khoản: trạng thái, lý do, các mốc / one account: state, reason, dates."""
    from congvu.actions import lifecycle

    def lines(tx: "Tx") -> list[str]:
        return [f"{name}\t{value}" for name, value in lifecycle.told(tx, holder(tx, address).id)]

    with at(data) as database:
        for line in database.read_now(lines):
            typer.echo(line)


@account.command("change-password")
def change_password(address: Address, data: Data) -> None:
    """Tự đổi mật khẩu: dòng đầu của stdin là mật khẩu cũ, dòng sau là mật khẩu mới / change one's own password."""
    from congvu.actions.accounts import Doors
    from congvu.actions.proofs import Proofs
    from congvu.directory import profile as profiles
    from congvu.directory.regulation import Regulation

    config = configuration.load(data)
    old = Secret(sys.stdin.buffer.readline(8192).decode("utf-8", "replace").rstrip("\r\n"))
    new = read_password()
    rules = Regulation(profiles.load(config.profile))
    with opened(config, data) as database:
        doors = Doors(database, SystemClock(), config, Proofs(), rules=rules)
        try:
            asyncio.run(doors.change_own_password(address, old, new, "cli"))
        finally:
            doors.close()
    typer.echo("Đã đổi mật khẩu / changed")


@app.command()
def daily(
    data: Data,
    on: Annotated[
        str, typer.Option("--on", metavar="DATE", help="Như thể hôm nay là ngày này / as if it were that day.")
    ] = "",
) -> None:
    """Việc hằng ngày theo đồng hồ: khóa, thu hồi, xóa, nhắc; in ra những gì đã làm / the day's work by the clock."""
    from congvu.actions import daily as work
    from congvu.directory import profile as profiles
    from congvu.directory.regulation import Regulation

    config = configuration.load(data)
    now = SystemClock().now()
    if on:
        try:
            day = date.fromisoformat(on)
        except ValueError:
            raise Refused("bad-day", text=on[:40]) from None
        now = datetime(day.year, day.month, day.day, 12, tzinfo=VIETNAM).timestamp()
    count = 0
    with opened(config, data) as database:
        for notice in work.run(database, Regulation(profiles.load(config.profile)), now):
            typer.echo(say_in("vi", notice.code, True, **notice.facts))
            count += 1
    typer.echo(f"Xong / done: {count}")
