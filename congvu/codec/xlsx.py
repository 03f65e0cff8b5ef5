"""Spreadsheets (.xlsx) as people send them: cells with what they show and how they were entered.

Reads in one pass with bounds on bytes, elements, rows and cells, so that neither a sheet that claims a million rows nor
an archive that unfolds to gigabytes costs more than a small one. A formula is never worked out: its cell says that it
is one. Entities and document types are refused. Must never guess: a number stays a number, a date one that Excel itself
marked as such.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import Enum
from xml.parsers import expat

from congvu.codec import zipped
from congvu.codec.zipped import BadZip, Part

MAX_FILE = 16 << 20  # octets; a list of ten thousand people has one or two millions
_MOST_XML = 96 << 20  # octets of XML in all: 20,000 rows of 25 columns
_MOST_ELEMENTS = 6_000_000
MAX_ROWS = 20_000  # rows with something in them
MAX_COLUMNS = 200
_MOST_SHEETS = 50
_MOST_MERGED = 20_000
MAX_TEXT = 2_000  # characters of a cell that are looked at


class BadSheet(ValueError):
    """Not a spreadsheet, or beyond the bounds. Its text is a word for people."""


class Kind(Enum):
    """How a cell was entered."""

    TEXT = "text"
    NUMBER = "number"
    DATE = "date"  # a number with the form of a date: the text is ISO
    ERROR = "error"  # #N/A and the like


@dataclass(frozen=True, slots=True)
class Cell:
    """What a cell shows. `formula`: the text is what another program worked out."""

    text: str
    kind: Kind = Kind.TEXT
    formula: bool = False


@dataclass(frozen=True, slots=True)
class Merged:
    """Cells joined to one: rows and columns from 1, both ends included."""

    top: int
    left: int
    bottom: int
    right: int


@dataclass(slots=True)
class Sheet:
    """One sheet: its rows with something in them, by number from 1; cells by column from 1."""

    name: str
    hidden: bool = False
    rows: dict[int, dict[int, Cell]] = field(default_factory=dict)
    merged: list[Merged] = field(default_factory=list)


def column_name(number: int) -> str:
    """1 → A, 27 → AA."""
    text = ""
    while number:
        number, rest = divmod(number - 1, 26)
        text = chr(65 + rest) + text
    return text


_REFERENCE = re.compile(r"\$?([A-Za-z]{1,3})\$?([0-9]{1,7})")


def _position(text: str) -> tuple[int, int] | None:
    """Row and column of "C12"."""
    found = _REFERENCE.fullmatch(text)
    if found is None:
        return None
    column = 0
    for letter in found[1].upper():
        column = column * 26 + ord(letter) - 64
    return int(found[2]), column


def read(data: bytes) -> list[Sheet]:
    """All sheets, as they stand in the file. Raises `BadSheet`."""
    if len(data) > MAX_FILE:
        raise BadSheet("too large")
    if data[:4] == b"\xd0\xcf\x11\xe0":
        raise BadSheet("old or protected")  # .xls, or .xlsx behind a password: both are OLE files
    try:
        return _Reader(data).sheets()
    except BadZip as error:
        raise BadSheet(str(error)) from None


# ---- XML: only local names count, as "strict" files use other namespaces than "transitional" ones


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._parts = zipped.parts(data)
        self._xml = _MOST_XML
        self._elements = _MOST_ELEMENTS
        self._cells = 0
        self._texts: list[str] = []
        self._dates: list[bool] = []
        self._start = date(1899, 12, 30)

    def sheets(self) -> list[Sheet]:
        book = next((path for kind, path in self._related("").values() if kind == "officeDocument"), "xl/workbook.xml")
        if book not in self._parts:
            raise BadSheet("no workbook")
        listed: list[tuple[str, str, bool]] = []

        def start(name: str, attributes: dict[str, str]) -> None:
            if name == "sheet":
                listed.append((attributes.get("name", ""), attributes.get("id", ""), "state" in attributes))
            elif name == "workbookPr" and attributes.get("date1904") in ("1", "true"):
                self._start = date(1904, 1, 1)

        self._parse(book, start)
        related = self._related(book)
        for kind, path in related.values():
            if kind == "sharedStrings" and path in self._parts:
                self._read_texts(path)
            elif kind == "styles" and path in self._parts:
                self._read_styles(path)
        found = []
        for title, key, hidden in listed[:_MOST_SHEETS]:
            kind, path = related.get(key, ("", ""))
            if kind == "worksheet" and path in self._parts:
                found.append(self._read_sheet(path, Sheet(title[:100], hidden)))
        if not found:
            raise BadSheet("no sheet")
        return found

    def _related(self, path: str) -> dict[str, tuple[str, str]]:
        """What a part names as related: kind and path, by id."""
        folder, _, name = path.rpartition("/")
        where = f"{folder}/_rels/{name}.rels".lstrip("/")
        found: dict[str, tuple[str, str]] = {}

        def start(name: str, attributes: dict[str, str]) -> None:
            if name == "Relationship" and attributes.get("TargetMode") != "External":
                kind = attributes.get("Type", "").rpartition("/")[2]
                found[attributes.get("Id", "")] = kind, _joined(folder, attributes.get("Target", ""))

        if where in self._parts:
            self._parse(where, start)
        return found

    def _parse(
        self,
        path: str,
        start: Callable[[str, dict[str, str]], None],
        end: Callable[[str], None] | None = None,
        text: Callable[[str], None] | None = None,
    ) -> None:
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True

        def begin(name: str, attributes: dict[str, str]) -> None:
            self._elements -= 1
            if self._elements < 0:
                raise BadSheet("too large")
            start(name.rpartition(" ")[2], {key.rpartition(" ")[2]: value for key, value in attributes.items()})

        def doctype(*_: object) -> None:
            raise BadSheet("document type")

        parser.StartElementHandler = begin
        parser.StartDoctypeDeclHandler = doctype
        if end is not None:
            parser.EndElementHandler = lambda name: end(name.rpartition(" ")[2])
        if text is not None:
            parser.CharacterDataHandler = text
        try:
            for piece in self._pieces(self._parts[path]):
                parser.Parse(piece, False)
            parser.Parse(b"", True)
        except (expat.ExpatError, UnicodeError):
            raise BadSheet("xml") from None

    def _pieces(self, part: Part) -> Iterator[bytes]:
        for piece in zipped.pieces(self._data, part, self._xml):
            self._xml -= len(piece)
            yield piece

    def _read_texts(self, path: str) -> None:
        pieces: list[str] = []
        inside = phonetic = 0

        def start(name: str, _: dict[str, str]) -> None:
            nonlocal inside, phonetic
            if name == "si":
                pieces.clear()
            elif name == "t":
                inside = 1
            elif name == "rPh":
                phonetic = 1

        def end(name: str) -> None:
            nonlocal inside, phonetic
            if name == "si":
                self._texts.append(_plain("".join(pieces)))
            elif name == "t":
                inside = 0
            elif name == "rPh":
                phonetic = 0

        def text(piece: str) -> None:
            if inside and not phonetic:
                pieces.append(piece)

        self._parse(path, start, end, text)

    def _read_styles(self, path: str) -> None:
        own: dict[str, bool] = {}
        within = False

        def start(name: str, attributes: dict[str, str]) -> None:
            nonlocal within
            if name == "numFmt":
                own[attributes.get("numFmtId", "")] = _is_date_form(attributes.get("formatCode", ""))
            elif name == "cellXfs":
                within = True
            elif name == "xf" and within:
                key = attributes.get("numFmtId", "0")
                self._dates.append(own.get(key, key in _DATE_FORMS))

        def end(name: str) -> None:
            nonlocal within
            within = within and name != "cellXfs"

        self._parse(path, start, end)

    def _read_sheet(self, path: str, sheet: Sheet) -> Sheet:
        row = column = 0
        kind = style = ""
        formula = keep = False
        pieces: list[str] = []

        def start(name: str, attributes: dict[str, str]) -> None:
            nonlocal row, column, kind, style, formula, keep
            if name == "c":
                at = _position(attributes.get("r", ""))
                row, column = at if at else (row, column + 1)
                kind, style, formula = attributes.get("t", "n"), attributes.get("s", ""), False
                pieces.clear()
            elif name in ("v", "t"):
                keep = True
            elif name == "f":
                formula = True
            elif name == "row":
                number = attributes.get("r", "")
                row, column = int(number) if number.isascii() and number.isdigit() and len(number) < 8 else row + 1, 0
            elif name == "mergeCell":
                self._merge(sheet, attributes.get("ref", ""))
            elif name == "rPh":
                keep = False

        def end(name: str) -> None:
            nonlocal keep
            if name in ("v", "t"):
                keep = False
            elif name == "c":
                cell = self._cell(kind, style, formula, "".join(pieces))
                if cell is not None and 0 < column <= MAX_COLUMNS:
                    if row not in sheet.rows and len(sheet.rows) >= MAX_ROWS:
                        raise BadSheet("too many rows")
                    sheet.rows.setdefault(row, {})[column] = cell

        def text(piece: str) -> None:
            if keep:
                pieces.append(piece)

        self._parse(path, start, end, text)
        return sheet

    def _merge(self, sheet: Sheet, reference: str) -> None:
        first, _, last = reference.partition(":")
        a, b = _position(first), _position(last or first)
        if a and b and len(sheet.merged) < _MOST_MERGED:
            sheet.merged.append(Merged(min(a[0], b[0]), min(a[1], b[1]), max(a[0], b[0]), max(a[1], b[1])))

    def _cell(self, kind: str, style: str, formula: bool, raw: str) -> Cell | None:
        match kind:
            case "s":
                number = raw.strip()
                index = int(number) if number.isascii() and number.isdigit() and len(number) < 9 else -1
                text = self._texts[index] if 0 <= index < len(self._texts) else ""
            case "inlineStr" | "str":
                text = _plain(raw)
            case "b":
                text = "TRUE" if raw.strip() == "1" else "FALSE"
            case "e":
                return Cell(raw[:MAX_TEXT], Kind.ERROR, formula)
            case "d":
                return Cell(raw[:10], Kind.DATE, formula)
            case _:
                return self._number(raw.strip()[:40], style, formula)
        return Cell(text, Kind.TEXT, formula) if text.strip() else None

    def _number(self, raw: str, style: str, formula: bool) -> Cell | None:
        try:
            number = float(raw)
        except ValueError:
            return Cell(raw, Kind.TEXT, formula) if raw else None
        if style.isascii() and style.isdigit() and len(style) < 7:
            index = int(style)
            if index < len(self._dates) and self._dates[index] and 61 <= number < 2_900_000:  # 60: Excel's 29/2/1900
                return Cell((self._start + timedelta(days=int(number))).isoformat(), Kind.DATE, formula)
        if number.is_integer() and abs(number) < 10**15:
            return Cell(str(int(number)), Kind.NUMBER, formula)
        return Cell(raw, Kind.NUMBER, formula)


_DATE_FORMS = {str(n) for n in (*range(14, 18), 22, *range(27, 37), *range(50, 59))}


def _is_date_form(form: str) -> bool:
    """Does a number format show a day? What is quoted or in brackets (colours, languages) does not count."""
    bare = re.sub(r'"[^"]*"|\[[^\]]*\]|\\.', "", form[:200]).lower()
    return "y" in bare or "d" in bare


def _joined(folder: str, target: str) -> str:
    path = target.lstrip("/") if target.startswith("/") else f"{folder}/{target}"
    found: list[str] = []
    for piece in path.split("/"):
        if piece == "..":
            found[-1:] = []
        elif piece not in ("", "."):
            found.append(piece)
    return "/".join(found)


def _plain(text: str) -> str:
    """The text of a cell: `_x000D_` is how Excel writes what XML cannot hold; only line ends are worth keeping."""
    if "_x" in text:
        text = re.sub(r"_x00(0[9AD])_", "\n", text)
    return text[:MAX_TEXT]
