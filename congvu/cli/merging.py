"""`congvu merge draw | list | show | decide | run | take-back`: mergers and splits of units and provinces."""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from congvu.base import config as configuration
from congvu.base.clock import Identifiers, SystemClock
from congvu.base.failure import Refused
from congvu.cli.common import Data, Json, actor, at, opened, write

if TYPE_CHECKING:
    from congvu.actions.merging import Plan
    from congvu.db.engine import Tx

app = typer.Typer(help="Sáp nhập, chia tách đơn vị, hợp nhất tỉnh / mergers and splits.", no_args_is_help=True)

Number = Annotated[int, typer.Argument(metavar="PLAN", help="Số của kế hoạch / the plan's number.")]
Version = Annotated[
    int, typer.Option("--version", metavar="N", help="Phiên bản đã xem (merge show) / the version that was seen.")
]


@app.command("draw")
def draw(
    file: Annotated[Path, typer.Argument(metavar="ORDER.toml", help="Lệnh sắp xếp / the order: docs/merging.md")],
    data: Data,
) -> None:
    """Lập kế hoạch, chưa thay đổi gì; in ra số / draw a plan, which changes nothing yet; prints its number."""
    from congvu.actions import merging
    from congvu.directory import merging as orders
    from congvu.directory import profile as profiles

    config = configuration.load(data)
    with file.open("rb") as opened_file:
        order = orders.read_order(opened_file.read(orders.MAX_ORDER + 1))
    rules = profiles.load(order.profile)
    clock = SystemClock()
    with opened(config, data) as database:
        number = merging.draw(database, actor(), order, rules, Identifiers(clock), clock.now(), config.domains)
        found = database.read_now(merging.plan, actor(), number)
    typer.echo(number)
    typer.echo(f"Số bước / steps: {found.steps}; phải quyết định / to decide: {found.open}", err=True)


@app.command("list")
def list_(data: Data) -> None:
    """Các kế hoạch, cách nhau bằng tab / plans, separated by tabs."""
    from congvu.actions import merging

    with at(data) as database:
        for each in database.read_now(merging.plans, actor()):
            typer.echo(_line(each))


def _line(each: "Plan") -> str:
    return f"{each.id}\t{each.stage.value}\tv{each.version}\t{each.steps}\t{each.left}\t{each.open}\t{each.title}"


@app.command("show")
def show(
    number: Number,
    data: Data,
    questions: Annotated[
        bool, typer.Option("--questions", help="Chỉ các bước phải quyết định / open ones only.")
    ] = False,
    json_: Json = False,
) -> None:
    """Từng bước sẽ làm / every step that will be done."""
    from congvu.actions import merging

    with at(data) as database:
        if not json_:
            typer.echo(_line(database.read_now(merging.plan, actor(), number)))
        after = 0
        while some := database.read_now(merging.steps, actor(), number, after):
            after = some[-1].line
            for step in some:
                if questions and (step.done or not step.facts["question"]):
                    continue
                if json_:
                    facts = {"line": step.line, "act": step.act.value, "done": step.done, **step.facts}
                    typer.echo(json.dumps(facts, ensure_ascii=False))
                    continue
                told = [f"{key}={value}" for key, value in step.facts.items() if value not in ("", [], None)]
                typer.echo(f"{step.line}\t{step.act.value}\t{'✓' if step.done else ''}\t{' · '.join(told)}")


@app.command("decide")
def decide(
    number: Number,
    line: Annotated[int, typer.Argument(metavar="LINE", help="Số của bước / the step's line.")],
    data: Data,
    version: Version,
    address: Annotated[
        str, typer.Option("--address", help="Địa chỉ khác; không có thì đồng ý / another one; without it: agreed.")
    ] = "",
) -> None:
    """Quyết định một bước; in ra phiên bản mới / decide a step; prints the plan's new version."""
    from congvu.actions import merging

    def act(tx: "Tx", now: float) -> int:
        return merging.decide(tx, actor(), number, version, line, address, now)

    typer.echo(write(data, act))


@app.command("run")
def run(number: Number, data: Data, version: Version) -> None:
    """Thực hiện; dừng giữa chừng thì chạy lại sẽ tiếp tục / carry it out; when it was stopped, it goes on."""
    _carry(number, data, version, back=False)


@app.command("take-back")
def take_back(number: Number, data: Data, version: Version) -> None:
    """Hoàn tác trong 30 ngày / take it back within 30 days."""
    _carry(number, data, version, back=True)


def _carry(number: int, data: Path, version: int, back: bool) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from congvu.actions import merging
    from congvu.db import known_in, open_blobs
    from congvu.directory import profile as profiles

    config = configuration.load(data)
    clock = SystemClock()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with opened(config, data) as database, Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Hoàn tác / taking back" if back else "Thực hiện / running", total=None)
        keeper = open_blobs(config.blobs.url, data=data, worker="merge", known=known_in(database))
        runner = merging.Runner(database, keeper, clock, Identifiers(clock), profiles.load(config.profile))
        work = runner.take_back if back else runner.run
        try:
            found = asyncio.run(
                work(actor(), number, version, lambda done, total: bar.update(task, completed=done, total=total))
            )
        finally:
            keeper.close()
    if found.left:
        raise Refused("plan-changed")
    typer.echo(_line(found))
