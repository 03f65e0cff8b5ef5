"""Every act asks: a public function of `actions` that is told who acts does nothing before it has asked for a right."""

import ast
from pathlib import Path

import pytest

import congvu.actions

Function = ast.FunctionDef | ast.AsyncFunctionDef

ROOT = Path(congvu.actions.__file__).parent
ASKS = {"need", "need_account", "may", "scope", "listed"}  # of directory/roles.py; `who.roots` asks too


def functions() -> dict[str, tuple[str, Function]]:
    """`module.name` → module and function, of all that stand on their own or in a class that others may use."""
    found = {}
    for path in sorted(ROOT.glob("*.py")):
        for top in ast.parse(path.read_text("utf-8")).body:
            inside = top.body if isinstance(top, ast.ClassDef) and not top.name.startswith("_") else [top]
            for node in inside:
                if isinstance(node, Function):
                    found[f"{path.stem}.{node.name}"] = path.stem, node
    return found


FUNCTIONS = functions()


def acting(node: Function) -> bool:
    """Is it told who acts, as `who: Actor`?"""
    arguments = [*node.args.args, *node.args.kwonlyargs]
    return any(a.arg == "who" and a.annotation and ast.unparse(a.annotation) == "Actor" for a in arguments)


def named(node: ast.expr) -> str:
    """`f` and `module.f` as written, "" for anything else."""
    match node:
        case ast.Name(id=word):
            return word
        case ast.Attribute(value=ast.Name(id=owner), attr=word):
            return f"{owner}.{word}"
    return ""


def asks(name: str, seen: frozenset[str] = frozenset()) -> bool:
    """Does it ask itself, or hand `who` to one that asks, called here or by a transaction?"""
    module, node = FUNCTIONS[name]
    for call in ast.walk(node):
        if not isinstance(call, ast.Call):
            continue
        owner, _, word = named(call.func).rpartition(".")
        if (owner == "roles" and word in ASKS) or (owner, word) == ("who", "roots"):
            return True
        given = [*call.args, *(k.value for k in call.keywords)]
        if "who" not in map(named, given):
            continue
        for each in filter(None, map(named, [call.func, *given])):
            following = each if "." in each else f"{module}.{each}"
            if following in FUNCTIONS and following not in seen and asks(following, seen | {name}):
                return True
    return False


ACTS = sorted(name for name, (_, node) in FUNCTIONS.items() if acting(node) and not node.name.startswith("_"))


def test_there_are_acts() -> None:
    assert {"lifecycle.lock", "lifecycle.restore", "lifecycle.purge", "lifecycle.seize", "merging.run"} <= set(ACTS)


@pytest.mark.parametrize("name", ACTS)
def test_an_act_asks(name: str) -> None:
    assert asks(name), f"actions/{name.replace('.', '.py: ')} acts for somebody without asking roles"


def test_the_test_can_fail() -> None:
    (careless,) = ast.parse("def careless(tx, who: Actor):\n    roles.note(tx, who)\n    tx.run('DELETE')").body
    assert isinstance(careless, Function)
    FUNCTIONS["x.careless"] = "x", careless
    try:
        assert acting(careless) and not asks("x.careless")
    finally:
        del FUNCTIONS["x.careless"]
