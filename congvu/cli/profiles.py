"""`congvu profile show`: what a regulation profile says, what lies under it, what is applied."""

import json
from typing import Annotated

import typer

from congvu.cli.common import Json

app = typer.Typer(help="Hồ sơ quy chế / regulation profiles.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keeps `show` a word of its own while it is the only one."""


@app.command("show")
def profile_show(
    profile: Annotated[str, typer.Argument(metavar="P", help="Tên hồ sơ hoặc tệp TOML / a profile's name or file.")],
    as_json: Json = False,
) -> None:
    """Kiểm tra hồ sơ (cả ví dụ) và in mọi giá trị với nguồn / test a profile, examples too, and show every value."""
    from congvu.directory import profile as profiles
    from congvu.directory.rules import Cited, shown

    found = profiles.load(profile)
    if as_json:

        def told(cited: "Cited[object] | None") -> dict[str, str] | None:
            return {"value": shown(cited.value), "row": cited.row, "source": cited.source} if cited else None

        rows = {
            key: {"applied": told(rule.applied), "own": told(rule.own), "floor": told(rule.floor)}
            for key, _, rule in found.every()
        }
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    typer.echo(f"{found.title} ({found.text})")
    for key, known, rule in found.every():
        typer.echo(f"{key}\t{known.doc}\t{rule.explain()}")
    typer.echo(f"Ví dụ đúng / examples that come true: {len(found.examples)}")
