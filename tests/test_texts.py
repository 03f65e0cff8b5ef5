"""The catalogues are whole: every code that the program refuses with has its sentence, in both languages."""

import ast
import tomllib
import unicodedata
from pathlib import Path
from string import Formatter

import congvu
from congvu.base.texts import catalogue, say
from congvu.base.vietnamese import unmarked

ROOT = Path(congvu.__file__).parent


def _codes() -> set[tuple[str, str]]:
    """(code, file) of each `Refused("…")` and `NotNow("…")` in the program."""
    found = set()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and node.args:
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                first = node.args[0]
                if name in ("Refused", "NotNow") and isinstance(first, ast.Constant) and isinstance(first.value, str):
                    found.add((first.value, str(path.relative_to(ROOT))))
    return found


def test_every_code_has_a_sentence() -> None:
    missing = sorted(pair for pair in _codes() if pair[0] not in catalogue())
    assert not missing


def test_sentences_are_well_formed() -> None:
    for code, sentence in catalogue().items():
        assert sentence.vi and sentence.en, code
        assert unicodedata.is_normalized("NFC", sentence.vi), code
        assert sentence.en.isascii(), code
        names = [{n for _, n, _, _ in Formatter().parse(text) if n is not None} for text in (sentence.vi, sentence.en)]
        assert names[0] == names[1], f"{code}: placeholders differ"
        assert "\n" not in sentence.vi + sentence.en, code


def test_no_code_stands_twice_and_no_word_is_unknown() -> None:
    seen: dict[str, str] = {}
    for path in sorted((ROOT / "base" / "texts").glob("*.toml")):
        for code, entry in tomllib.loads(path.read_text("utf-8")).items():
            assert code not in seen, f"{code} in {path.name} and {seen[code]}"
            assert set(entry) == {"vi", "en"}, f"{path.name} [{code}]"
            seen[code] = path.name


def test_facts_of_strangers_stay_on_one_line() -> None:
    text = say("config-unknown-key", True, place="x\r\n250 OK", key="đ" * 5000, nearest="y")
    assert "\n" not in text and "\r" not in text and len(text) < 2000
    assert say("config-unknown-key", False, place="đ", key="k", nearest="n").isascii()


def test_unknown_code_says_itself() -> None:
    assert say("no-such-code-at-all", True) == "no-such-code-at-all"
    assert say("config-missing", False, key="k") == '?: the key "k" is missing'


def test_vietnamese_of_pop3_can_be_said_in_ascii() -> None:
    for code, sentence in catalogue().items():
        if code.startswith("pop3-"):
            assert unmarked(sentence.vi).isascii(), code
