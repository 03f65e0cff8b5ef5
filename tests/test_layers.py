"""The plan of the house: who may know what. (`lint-imports`, part of `make check`, holds the floors themselves.)"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CODE = ROOT / "congvu"
MODULES = sorted(CODE.rglob("*.py"))

# db knows the engines; base.config explains the addresses one may write, the command line repeats them in its help.
KNOW_ENGINES = {"db", "base/config.py", "cli/serving.py"}
ENGINE = re.compile(r"sqlite|postgres|apsw|psycopg", re.IGNORECASE)
LONGEST = 800


def name(path: Path) -> str:
    return path.relative_to(CODE).as_posix()


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written in full"
            yield node.module or ""


def said(path: Path) -> Iterator[tuple[int, str]]:
    """What the program says: names and strings. A comment or docstring may give an engine as the reason of a number."""
    tree = ast.parse(path.read_text("utf-8"))
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    documents = {id(n.body[0].value) for n in ast.walk(tree) if isinstance(n, kinds) and ast.get_docstring(n, False)}  # type: ignore[attr-defined]
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents:
            yield node.lineno, node.value
        elif isinstance(node, ast.Name | ast.Attribute | ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef):
            yield node.lineno, ast.unparse(node).partition("\n")[0]


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_only_the_database_room_names_an_engine(path: Path) -> None:
    room = name(path).split("/")[0]
    if room in KNOW_ENGINES or name(path) in KNOW_ENGINES:
        return
    named = [n for n, word in said(path) if ENGINE.search(word)]
    assert not named, f"{name(path)} names an SQL engine on line {named}; what differs lives in db/"


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_modules_stay_readable(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.count("\n") <= LONGEST, f"{name(path)} has more than {LONGEST} lines: divide it"
    tree = ast.parse(text)
    if tree.body:
        assert ast.get_docstring(tree), f"{name(path)} does not say what it is for"


@pytest.mark.parametrize("path", sorted((CODE / "base").rglob("*.py")), ids=name)
def test_the_ground_floor_stands_on_the_standard_library_alone(path: Path) -> None:
    for module in imported(ast.parse(path.read_text("utf-8"))):
        top = module.split(".")[0]
        assert top in sys.stdlib_module_names or module.startswith("congvu.base"), f"{name(path)} imports {module}"


@pytest.mark.parametrize("path", sorted((CODE / "codec").rglob("*.py")), ids=name)
def test_codecs_touch_neither_socket_nor_clock_nor_disk(path: Path) -> None:
    world = {"socket", "ssl", "asyncio", "time", "os", "pathlib", "io", "subprocess", "threading", "tempfile", "uvloop"}
    used = {module.split(".")[0] for module in imported(ast.parse(path.read_text("utf-8")))} & world
    assert not used, f"{name(path)} imports {sorted(used)}"


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_nothing_is_caught_or_asserted_blindly(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{name(path)}:{node.lineno}: a bare except"
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        assert not re.search(r"#\s*type:\s*ignore\s*(\[[\w, -]+\])?\s*$", line), (
            f"{name(path)}:{number}: type: ignore needs its reason on the same line"
        )
