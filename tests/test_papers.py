"""The papers stay true: what is announced is documented, links lead somewhere, RFCs stand where they are cited."""

import csv
import re
import subprocess
import unicodedata
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

ROOT = Path(__file__).parent.parent
CODE = sorted([*(ROOT / "congvu").rglob("*.py"), *(ROOT / "congvu").rglob("*.sql"), *(ROOT / "congvu").rglob("*.toml")])
PAPERS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# ---- RFCs: docs/rfc.tsv and the citations in the code, both ways

# "rfc9051 6.4.8", "RFC 5802, 7677", "RFC 2045–2049, 2231"; a lower-case rfc822 is an IMAP word, not a citation
CITED = re.compile(r"(?:\bRFC ?|\brfc)(\d{4}(?:(?:, |–|/| and )\d{4}\b)*)")


def cited(path: Path) -> set[int]:
    found: set[int] = set()
    for group in CITED.findall(path.read_text("utf-8")):
        for run in re.split(r", |/| and ", group):
            first, _, last = run.partition("–")
            found |= set(range(int(first), int(last or first) + 1))
    return found


def rfcs() -> list[dict[str, str]]:
    with (ROOT / "docs/rfc.tsv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_the_list_of_rfcs_is_in_order() -> None:
    rows = rfcs()
    assert list(rows[0]) == ["number", "state", "title", "where"]
    numbers = [int(row["number"]) for row in rows]
    assert numbers == sorted(set(numbers))
    assert {row["state"] for row in rows} <= {"yes", "partial", "no"}
    assert all(row["title"] and (row["where"] or row["state"] == "no") for row in rows)


@pytest.mark.parametrize("path", CODE, ids=name)
def test_every_rfc_cited_is_listed(path: Path) -> None:
    missing = cited(path) - {int(row["number"]) for row in rfcs()}
    assert not missing, f"{name(path)} cites RFC {sorted(missing)}, docs/rfc.tsv does not list them"


@pytest.mark.parametrize("row", rfcs(), ids=lambda row: row["number"])
def test_every_rfc_listed_is_cited_where_it_says(row: dict[str, str]) -> None:
    for where in row["where"].split():
        path = ROOT / where
        assert path.is_file(), f"RFC {row['number']}: {where} does not exist"
        assert int(row["number"]) in cited(path), f"{where} does not cite RFC {row['number']}"


# ---- links


def anchor(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("path", PAPERS, ids=name)
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, heading = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), f"{name(path)}: {target} does not exist"
        if heading:
            titles = re.findall(r"^#+ (.*)$", found.read_text("utf-8"), re.MULTILINE)
            assert heading in map(anchor, titles), f"{name(path)}: {target}: no such heading"


@pytest.mark.parametrize("path", PAPERS, ids=name)
def test_files_named_in_papers_exist(path: Path) -> None:
    for word in re.findall(r"`((?:congvu|tests|bench|profiles|docs)/[\w./-]+)`", path.read_text("utf-8")):
        if not any(mark in word for mark in "<*…"):
            assert (ROOT / word).exists(), f"{name(path)} names {word}, which does not exist"


# ---- language


@pytest.mark.parametrize(
    "path", [*PAPERS, *(ROOT / "congvu").rglob("*.toml"), *(ROOT / "profiles").glob("*")], ids=name
)
def test_vietnamese_is_composed(path: Path) -> None:
    text = path.read_text("utf-8")
    for number, line in enumerate(text.splitlines(), 1):
        assert line == unicodedata.normalize("NFC", line), f"{name(path)}:{number} is not NFC"


def test_the_readme_speaks_vietnamese_first() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    vietnamese, _, english = text.partition("# Công Vụ (English)")
    assert "thư điện tử công vụ" in vietnamese
    assert "make run" in vietnamese
    assert "make run" in english
    assert "make test" in english


# ---- commands, keys, capabilities


def commands() -> list[str]:
    import typer.main

    from congvu import cli

    def walk(command: typer.core.TyperCommand | typer.core.TyperGroup, before: str) -> list[str]:
        if isinstance(command, typer.core.TyperGroup):
            return [found for word, sub in command.commands.items() for found in walk(sub, f"{before} {word}".strip())]  # type: ignore[arg-type]  # typer's groups hold its own commands
        return [] if command.hidden else [before]

    return walk(typer.main.get_command(cli.app), "")  # type: ignore[arg-type]  # as above


def test_every_command_is_documented() -> None:
    papers = "".join(path.read_text("utf-8") for path in PAPERS if path.name != "CHANGELOG.md")
    every = commands()
    assert len(every) > 40
    missing = [command for command in every if f"congvu {command}" not in papers and f"`{command}`" not in papers]
    assert not missing


def test_every_configuration_key_is_documented() -> None:
    from congvu.base.config import Config

    text = (ROOT / "docs/configuration.md").read_text("utf-8")

    def keys(kind: type) -> list[str]:
        found = []
        for each in fields(kind):
            hint = get_type_hints(kind)[each.name]
            inner = get_args(hint)[0] if get_args(hint) else hint
            word = each.metadata.get("name") or each.name
            found += keys(inner) if is_dataclass(inner) else [word]
        return found

    missing = [key for key in keys(Config) if f"`{key}`" not in text]
    assert not missing, f"docs/configuration.md lacks {missing}; `make format` or congvu's own command makes it anew"


def test_every_imap_capability_is_documented() -> None:
    from congvu.servers.imap import commands, fetch

    announced = {word for row in commands.TABLE.values() for word in row.capabilities} | set(fetch.CAPABILITIES)
    text = (ROOT / "docs/protocols.md").read_text("utf-8")
    missing = [word for word in sorted(announced) if f"`{word}`" not in text]
    assert not missing


def test_every_smtp_word_is_documented() -> None:
    source = (ROOT / "congvu/servers/smtp.py").read_text("utf-8")
    documented = set(re.findall(r"^\| `([A-Z0-9]+)` ", (ROOT / "docs/protocols.md").read_text("utf-8"), re.MULTILINE))
    smtp = {
        "PIPELINING",
        "SIZE",
        "8BITMIME",
        "SMTPUTF8",
        "CHUNKING",
        "BINARYMIME",
        "DSN",
        "ENHANCEDSTATUSCODES",
        "LIMITS",
    }
    assert smtp | {"STARTTLS", "AUTH"} <= documented
    assert all(word in source for word in smtp)


def test_every_pop3_word_is_documented() -> None:
    source = (ROOT / "congvu/servers/pop3.py").read_text("utf-8")
    capa = source[source.index("async def capa") : source.index("async def stls")]
    announced = {word.split()[0].rstrip("-") for word in re.findall(r'"([A-Z][A-Z0-9-]+)(?: [^"]*)?"', capa)}
    announced |= {word.split()[0] for word in re.findall(r'append\(f?"([A-Z0-9-]+)', capa)}
    assert {"TOP", "UIDL", "STLS", "SASL", "IMPLEMENTATION", "UTF8", "EXPIRE"} <= announced
    _, _, text = (ROOT / "docs/protocols.md").read_text("utf-8").partition("## POP3")
    missing = [word for word in sorted(announced) if f"`{word}`" not in text]
    assert not missing


# ---- what must not be in the repository


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False).stdout.decode()
    return [ROOT / path for path in listed.split("\0") if path and (ROOT / path).is_file()]


def test_locks_hold_hashes_and_name_no_host() -> None:
    for lock in sorted(ROOT.glob("requirements*.lock")):
        text = lock.read_text("utf-8")
        assert "://" not in text
        assert "--index" not in text
        for requirement in re.split(r"\n(?=\S)", text.strip()):
            assert "--hash=sha256:" in requirement, requirement


def test_no_file_holds_a_home_directory() -> None:
    home = re.compile(rb"/(?:home/\w+|root|Users/\w+)/")
    assert not [name(path) for path in tracked() if home.search(path.read_bytes()) and path != Path(__file__)]
