"""The command line, one module a group of commands.

Promises that its words stay (other tools call them), that a mistake is one clear line and exit code 2, and that a
command imports no more than it needs: rooms above base are imported inside the commands, so `congvu --help` answers at
once. Must never print a password that it did not draw itself, nor write one anywhere.
"""

from typing import Annotated

import typer

from congvu import __version__
from congvu.base.failure import NotNow, Refused
from congvu.base.texts import say
from congvu.cli import accounts, addresses, directory, lives, merging, profiles, reports, requests, serving, store
from congvu.cli.common import fail

app = typer.Typer(
    help="Công Vụ: thư điện tử công vụ của tỉnh / a province's official mail.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(serving.app)
app.add_typer(accounts.app, name="account")
app.add_typer(directory.unit, name="unit")
app.add_typer(directory.person, name="person")
app.add_typer(directory.role, name="role")
app.add_typer(directory.audit, name="audit")
app.add_typer(merging.app, name="merge")
app.add_typer(addresses.app, name="address")
app.add_typer(profiles.app, name="profile")
app.add_typer(requests.app, name="request")
app.add_typer(reports.app, name="report")
app.add_typer(store.app)
app.add_typer(lives.app)


def main() -> None:
    """The entry point. A refusal is one line on standard error and exit code 2."""
    try:
        app()
    except (Refused, NotNow) as failure:
        fail(say(failure.code, True, **failure.facts))
    except OSError as error:
        fail(f"{error.strerror or error}: {error.filename}" if error.filename else str(error))


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"congvu {__version__}")
        raise typer.Exit


@app.callback()
def _all(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Phiên bản / the version.")
    ] = False,
) -> None:
    pass
