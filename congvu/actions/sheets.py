"""Lists of people as spreadsheets (row 3.6): read, judged row by row, met with the directory; nothing is written here.

Promises that every row gets its own sentences (row 7.7: real rosters are 6 to 20 % dirty), that a missing or damaged
part is never guessed at, and that what is put right without doubt (capitals, a zero that the spreadsheet ate) is said
too. A row is good, to be looked at ("cần kiểm tra": it may go on, the operator confirms it) or bad (it stays behind).
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from enum import StrEnum

from congvu.actions.sheet_words import BY_KEY, Heading, content_of, heading
from congvu.base.config import Config
from congvu.base.failure import Refused
from congvu.base.vietnamese import fold, nfc
from congvu.codec import legacy, xlsx
from congvu.codec.xlsx import Cell, Sheet, column_name
from congvu.db.engine import Tx
from congvu.directory import addresses, naming, people, requests, units
from congvu.directory.forms import PERSON
from congvu.directory.profile import Profile
from congvu.directory.requests import Doubt, Facts, Issue, Item, Kind

_MOST_MERGED = 100_000  # cells of rows that merged areas may touch
_YOUNGEST, _OLDEST = 14, 100  # years of age of whoever can have an account
_UNLIKE = 0.6  # below this a local part does not fit a name (naming.matches)
_LIKE = 0.9
_MOST_UNLIKE = 300  # rows compared with each other when rows were swapped
_TARGETS = frozenset({Kind.CHANGE, Kind.REVOKE, Kind.LOCK, Kind.RESTORE, Kind.RESET})


class Standing(StrEnum):
    """What becomes of a row."""

    GOOD = "good"
    CHECK = "check"  # cần kiểm tra
    BAD = "bad"
    OTHER = "other"  # not for this request: asks for something else, or is no row of the list


@dataclass(slots=True)
class Row:
    """One row: its number in the sheet, what its cells say by column word, and what is said about it. `notes`: put
    right or left out; `doubts`: to be looked at; `faults`: it cannot go on. `aside`: not for this request."""

    line: int
    cells: Mapping[str, Cell]
    notes: list[Refused] = field(default_factory=list)
    doubts: list[Refused] = field(default_factory=list)
    faults: list[Refused] = field(default_factory=list)
    aside: bool = False
    values: dict[str, str] = field(default_factory=dict)
    item: Item | None = None

    def text(self, key: str) -> str:
        cell = self.cells.get(key)
        return " ".join(nfc(cell.text).split()) if cell else ""

    @property
    def standing(self) -> Standing:
        if self.aside:
            return Standing.OTHER
        if self.faults:
            return Standing.BAD
        return Standing.CHECK if self.doubts else Standing.GOOD


@dataclass(frozen=True, slots=True)
class List:
    """A list as it was read: the sheet, where its heading stands, its rows."""

    kind: Kind
    sheet: Sheet
    heading: Heading
    rows: tuple[Row, ...]

    def items(self) -> list[Item]:
        """What goes on into a request: the good rows and those to be looked at, with their doubts."""
        return [
            replace(row.item, doubts=tuple(Doubt(d.code, {k: str(v) for k, v in d.facts.items()}) for d in row.doubts))
            for row in self.rows
            if row.item is not None and row.standing in (Standing.GOOD, Standing.CHECK)
        ]


def read(data: bytes, kind: Kind, config: Config, profile: Profile, today: date) -> List:
    """A file's list, each row judged by itself and beside the others. Raises `Refused`: sheet-unreadable,
    sheet-columns, sheet-empty, sheet-merges."""
    try:
        sheets = [sheet for sheet in xlsx.read(data) if sheet.rows and not sheet.hidden]
    except xlsx.BadSheet as error:
        raise Refused("sheet-unreadable", reason=str(error)) from None
    if not sheets:
        raise Refused("sheet-empty")
    sheet, head = min(((s, heading(s, kind)) for s in sheets), key=lambda pair: len(pair[1].missing))
    if head.missing or not head.columns:
        raise Refused("sheet-columns", sheet=sheet.name, missing=", ".join(head.missing))
    rows = _rows(sheet, head)
    if not rows:
        raise Refused("sheet-empty")
    swapped = _suspicious_dates([row.cells["birth"] for row in rows if "birth" in row.cells and not row.aside])
    by_identity = any("cccd" in word for form in profile.naming.forms.get(PERSON, ()) for word in form.needs)
    for row in rows:
        if not row.aside:
            _judge(row, kind, config, today, swapped)
            if row.text("identity"):
                _identity(row, by_identity)
    _compare(rows, profile)
    return List(kind, sheet, head, tuple(rows))


# ---- rows and merged cells


def _rows(sheet: Sheet, head: Heading) -> list[Row]:
    numbers = sorted(number for number in sheet.rows if number > head.row)
    merged = _merged(sheet, head, numbers)
    names = _name_columns(sheet, head)
    found = []
    for number in numbers:
        cells = sheet.rows[number]
        known = {key: cells[column] for key, column in head.columns.items() if column in cells}
        if len(names) > 1 and (parts := [cells[c] for c in names if c in cells]):
            # The heading spans the columns of họ, chữ lót and tên.
            joined = " ".join(part.text for part in parts)
            known["name"] = Cell(joined, parts[0].kind, any(part.formula for part in parts))
        row = Row(number, known)
        if _numbers_the_columns(known) or _is_aside(row):
            row.aside = True
            row.notes.append(Refused("sheet-not-a-row"))
        else:
            row.faults += merged.get(number, [])
        found.append(row)
    return found


def _numbers_the_columns(cells: Mapping[str, Cell]) -> bool:
    """The row (1) (2) (3) … below a heading."""
    texts = [cell.text.strip(" ()") for cell in cells.values() if not cell.formula]
    numbers = [int(text) for text in texts if text.isascii() and text.isdigit() and len(text) < 3]
    return len(numbers) > 2 and len(numbers) == len(cells) and numbers == sorted(set(numbers))


def _is_aside(row: Row) -> bool:
    """Headings of groups, totals, signatures: no name and hardly anything else."""
    said = [key for key in row.cells if row.text(key)]
    if row.text("stt").rstrip(".").isdigit():
        return not said[1:]
    named = {"name", "given", "address"} & set(said)
    return len(said) <= (2 if not named else 1)


def _name_columns(sheet: Sheet, head: Heading) -> range:
    column = head.columns.get("name", 0)
    for area in sheet.merged:
        if area.top <= head.row <= area.bottom and area.left == column:
            right = min(area.right, column + 3)
            return range(column, right + 1)
    return range(column, column + 1)


def _merged(sheet: Sheet, head: Heading, numbers: Sequence[int]) -> dict[int, list[Refused]]:
    """Rows whose own cells are joined with others: what they would say is not known of each."""
    by_column = {column: key for key, column in head.columns.items() if key not in ("stt", "content")}
    found: dict[int, list[Refused]] = {}
    left = _MOST_MERGED
    for area in sheet.merged:
        covered = [key for column, key in by_column.items() if area.left <= column <= area.right]
        if not covered or (area.top == area.bottom and len(covered) < 2):
            continue
        some = numbers[bisect_left(numbers, area.top) : bisect_right(numbers, area.bottom)]
        left -= len(some) + 1
        if left < 0:
            raise Refused("sheet-merges")
        where = f"{column_name(area.left)}{area.top}:{column_name(area.right)}{area.bottom}"
        told = Refused("sheet-merged", cells=where, column=BY_KEY[covered[0]].title)
        for number in some:
            if number != area.top or len(covered) > 1:
                found.setdefault(number, []).append(told)
    return found


# ---- one row by itself


def _judge(row: Row, kind: Kind, config: Config, today: date, swapped: bool) -> None:
    for key, cell in row.cells.items():
        if cell.formula and key not in ("stt", "content", "why"):
            row.faults.append(Refused("sheet-formula", column=BY_KEY[key].title))
        if cell.kind is xlsx.Kind.ERROR:
            row.faults.append(Refused("sheet-error", column=BY_KEY[key].title, text=cell.text[:20]))
    asked = row.text("content")
    other = content_of(asked) if asked else kind
    if other is not None and other is not kind:
        row.aside = True
        row.notes.append(Refused("sheet-other-kind", text=asked[:60]))
        return
    if other is None:
        row.doubts.append(Refused("sheet-content", text=asked[:60]))
    _name(row, must=kind is Kind.ISSUE)
    if row.text("new_name"):
        row.values["new_name"] = _good_name(row, row.text("new_name"))
    if "birth" in row.cells:
        row.values["birth"] = _birth(row, row.cells["birth"], today, swapped)
    if row.text("day"):
        day = _day(row.cells["day"])
        if day is None:
            row.faults.append(Refused("sheet-day", text=row.text("day")[:40], column=BY_KEY["day"].title))
        else:
            row.values["day"] = day.isoformat()
    for key in ("mobile", "new_mobile"):
        if row.text(key):
            row.values[key] = _mobile(row, row.cells[key])
    for key in ("address", "wish", "new_address", "clerk", "head"):
        if kind is Kind.ISSUE and key == "address" and _PRIVATE.search(row.text(key).lower()):
            row.notes.append(Refused("sheet-private"))
        elif row.text(key):
            row.values[key] = _address(row, key, config)
    if row.text("private"):
        row.notes.append(Refused("sheet-private"))
    for key in ("title", "new_title", "unit", "agency", "new_unit", "number", "why"):
        if row.text(key):
            row.values[key] = _plain(row, key)
    if row.text("category"):
        row.values["category"] = _category(row)
    if row.text("number") and row.cells["number"].kind is xlsx.Kind.NUMBER and "." in row.text("number"):
        row.faults.append(Refused("sheet-number", text=row.text("number")[:40]))


def _identity(row: Row, wanted: bool) -> None:
    """Of the number of an identity card nothing is kept but the four last digits, where the address is made of them
    (rows 2.24, 12.15)."""
    digits = row.text("identity")
    if not wanted:
        row.notes.append(Refused("sheet-identity"))
    elif re.fullmatch(r"\d{9}|\d{12}", digits):
        row.values["identity"] = digits[-4:]
    else:
        row.faults.append(Refused("sheet-identity-form"))


def _plain(row: Row, key: str) -> str:
    words = row.text(key)
    if len(words) > people.MAX_NAME or not words.isprintable():
        row.faults.append(Refused("sheet-text", column=BY_KEY[key].title))
        return ""
    return words


_CATEGORIES = (
    ("canbo", r"^(cb|can bo)$"),
    ("congchuc", r"^(cc|cong chuc)$"),
    ("vienchuc", r"^(vc|vien chuc)$"),
    ("nguoilaodong", r"^(nld|ld|lao dong|nguoi lao dong|hop dong|hd|hdld)$"),
)


def _category(row: Row) -> str:
    words = " ".join(fold(row.text("category")).split())
    found = next((word for word, means in _CATEGORIES if re.match(means, words)), "")
    if not found:
        row.notes.append(Refused("sheet-category", text=row.text("category")[:40]))
    return found


_FAMILIES = (  # that nobody writes without marks
    "nguyen tran le pham huynh hoang vo vu dang bui do ho ngo duong ly truong dinh phung luong trinh doan dao ta ha"
    " luu to quach chau thach trieu chu"
)
_MUST_HAVE_MARKS = frozenset(_FAMILIES.split())
_ODD_IN_NAME = re.compile(r"[^\w\s'’.\-]|[\d_]")
_FORMS_OF_ADDRESS = frozenset({"ong", "ba", "anh", "chi", "dc", "d.c", "co"})


def _name(row: Row, must: bool) -> None:
    name = row.text("name") or " ".join(filter(None, (row.text("before"), row.text("given"))))
    if name:
        row.values["name"] = _good_name(row, name)
    elif must:
        row.faults.append(Refused("sheet-no-name"))


def _good_name(row: Row, name: str) -> str:
    if not legacy.spelt(name) and (read := _from_old_code(name)):
        row.doubts.append(Refused("sheet-old-code", text=name[:60], read=read))
        name = read
    if len(name) > people.MAX_NAME or not name.isprintable() or _ODD_IN_NAME.search(name):
        row.faults.append(Refused("sheet-name", text=name[:60]))
        return ""
    words = name.split()
    if words and fold(words[0]).rstrip(".") in _FORMS_OF_ADDRESS and len(words) > 2:
        row.doubts.append(Refused("sheet-form-of-address", text=name[:60], word=words[0]))
    if name == name.upper() or name == name.lower():
        if re.search(r"['’\-.]", name):
            row.doubts.append(Refused("sheet-capitals-unsure", text=name[:60]))
        else:
            words = [word[:1].upper() + word[1:].lower() for word in words]
            row.notes.append(Refused("sheet-capitals", text=name[:60], read=" ".join(words)))
    if len(words) < 2:
        row.doubts.append(Refused("sheet-one-word", text=name[:60]))
    elif name.isascii() and words[0].lower() in _MUST_HAVE_MARKS:
        row.doubts.append(Refused("sheet-no-marks", text=name[:60]))
    return " ".join(words)


def _from_old_code(text: str) -> str:
    """What text in TCVN3, VNI … reads as, when it was shown as Western European; "" when it does not."""
    for charset in ("cp1252", "latin-1"):
        try:
            raw = text.encode(charset)
        except UnicodeEncodeError:
            continue
        code = legacy.recognise(raw)
        read = nfc(legacy.decode(raw, code)) if code else ""
        if read and legacy.spelt(read) and read.isprintable():
            return " ".join(read.split())
    return ""


_DATE = re.compile(r"(\d{1,2})\s*[/.\-]\s*(\d{1,2})\s*[/.\-]\s*(\d{4})")


def _suspicious_dates(cells: Sequence[Cell]) -> bool:
    """Did a spreadsheet take dd/mm for mm/dd? Then what it understood became dates (no day above 12), and what it did
    not stayed text (with first numbers above 12)."""
    days = [int(c.text[8:10]) for c in cells if c.kind is xlsx.Kind.DATE and c.text[8:10].isdigit()]
    firsts = [int(m[1]) for c in cells if c.kind is xlsx.Kind.TEXT and (m := _DATE.fullmatch(c.text.strip()))]
    return bool(days) and bool(firsts) and max(days) <= 12 < min(firsts)


def _day(cell: Cell) -> date | None:
    """A day as it stands in a cell: one of the spreadsheet's own, or dd/mm/yyyy, as it is written in Vietnam."""
    words = cell.text.strip()
    try:
        if cell.kind is xlsx.Kind.DATE or re.fullmatch(r"\d{4}-\d\d-\d\d", words):
            return date.fromisoformat(words)
        found = _DATE.fullmatch(words)
        return date(int(found[3]), int(found[2]), int(found[1])) if found else None
    except ValueError:
        return None


def _birth(row: Row, cell: Cell, today: date, swapped: bool) -> str:
    words = cell.text.strip()
    if cell.kind is not xlsx.Kind.DATE and re.fullmatch(r"(19|20)\d\d", words):
        row.notes.append(Refused("sheet-birth-year", text=words))
        return ""
    born = _day(cell)
    if born is None:
        row.faults.append(Refused("sheet-birth", text=words[:40]))
        return ""
    if not _OLDEST >= today.year - born.year >= _YOUNGEST:
        row.faults.append(Refused("sheet-birth-age", text=born.strftime("%d/%m/%Y")))
        return ""
    if swapped and cell.kind is xlsx.Kind.DATE and born.day != born.month:
        row.doubts.append(Refused("sheet-birth-swapped", text=born.strftime("%d/%m/%Y")))
    return born.isoformat()


def _mobile(row: Row, cell: Cell) -> str:
    words = cell.text.strip()
    digits = re.sub(r"[\s.\-()]", "", words)
    if digits.startswith("+84"):
        digits = "0" + digits[3:].removeprefix("0")
    if cell.kind is xlsx.Kind.NUMBER and re.fullmatch(r"[35789]\d{8}|2\d{9}", digits):
        # A number cannot begin with zero, and no telephone of Vietnam begins otherwise.
        digits = "0" + digits
        row.notes.append(Refused("sheet-phone-zero", text=words[:20], read=digits))
    if re.fullmatch(r"0[35789]\d{8}|02\d{9}", digits):
        return digits
    row.notes.append(Refused("sheet-phone", text=words[:40]))  # an address does not hang on it
    return ""


_PRIVATE = re.compile(r"@(gmail|yahoo|outlook|hotmail|icloud)\b")
_ADDRESS_TEXT = re.compile(r"[^\s@]+@[^\s@]+")


def _address(row: Row, key: str, config: Config) -> str:
    """An official address as it is written, or a fault that names what is wrong with it: no part is made up."""
    words = row.text(key)
    column = BY_KEY[key].title
    domain = words.rpartition("@")[2].lower() if "@" in words else ""
    if _PRIVATE.search(words.lower()):
        row.faults.append(Refused("sheet-address-private", text=words[:80], column=column))
    elif len(re.split(r"[;,\s]+", words)) > 1 and words.count("@") > 1:
        row.faults.append(Refused("sheet-address-several", text=words[:80]))
    elif "," in words or ";" in words or " " in words:
        row.faults.append(Refused("sheet-address-sign", text=words[:80]))
    elif not words.isascii():
        row.faults.append(Refused("sheet-address-marks", text=words[:80]))
    elif not domain:
        row.faults.append(Refused("sheet-address-domain", text=words[:80]))
    elif not config.serves(domain):
        cut = any(known.startswith(domain) or domain.startswith(known) for known in config.domains)
        code = "sheet-address-cut" if cut else "sheet-address-foreign"
        row.faults.append(Refused(code, text=words[:80], known=", ".join(config.domains)))
    elif not _ADDRESS_TEXT.fullmatch(words) or not naming.is_local(words.lower().partition("@")[0]):
        row.faults.append(Refused("sheet-address", text=words[:80]))
    else:
        return addresses.normalise(words)
    return ""


# ---- rows beside each other


def _compare(rows: Sequence[Row], profile: Profile) -> None:
    """Addresses that stand twice, and addresses that fit another row's name (row 7.7)."""
    first: dict[str, Row] = {}
    unlike: list[tuple[Row, str]] = []
    for row in rows:
        if row.aside:
            continue
        address = row.values.get("address") or row.values.get("wish") or ""
        if not address:
            continue
        if address in first:
            row.faults.append(Refused("twice-in-file", address=address, line=first[address].line))
            continue
        first[address] = row
        name = row.values.get("name", "")
        if name and naming.matches(profile, name, address) < _UNLIKE:
            unlike.append((row, address))
    for row, address in unlike[:_MOST_UNLIKE]:
        name = row.values["name"]
        owner = next(
            (
                o
                for o, theirs in unlike[:_MOST_UNLIKE]
                if o is not row and naming.matches(profile, name, theirs) >= _LIKE
            ),
            None,
        )
        if owner is not None:
            told = Refused("sheet-swapped", address=address, name=name, line=owner.line)
            row.faults.append(told)
        else:
            row.doubts.append(Refused("sheet-unlike", address=address, name=name))
    for row, address in unlike[_MOST_UNLIKE:]:
        row.doubts.append(Refused("sheet-unlike", address=address, name=row.values["name"]))


# ---- the list meets the directory


def meet(tx: Tx, found: List, unit_id: int) -> List:
    """Finds the units and accounts that the rows name, for a request of that agency; each row that can go on gets its
    item. Never by likeness: a name fits as a whole or not at all."""
    finder = _Finder(tx, unit_id)
    rows = [row for row in found.rows if not row.aside]
    held = addresses.holders(
        tx, sorted({row.values[k] for row in rows for k in ("address", "clerk", "head") if row.values.get(k)})
    )
    about = {each.id: each for each in people.some(tx, sorted({each.account_id for each in held.values()}))}
    for row in rows:
        if found.kind is Kind.ISSUE:
            facts: Facts | None = _issue(row, finder, held)
            account_id = None
        else:
            account = _account(row, "address", held, about)
            account_id = account.id if account else None
            if account is not None and found.kind is not Kind.HAND_OVER:
                _same_name(row, account)
            facts = _facts(found.kind, row, finder, held, about)
        if facts is not None and not row.faults:
            row.item = Item(row.line, facts, account_id)
    return found


class _Finder:
    """Units of an agency by their whole names, and those of the province for a transfer."""

    def __init__(self, tx: Tx, unit_id: int) -> None:
        self._root = units.must_get(tx, unit_id)
        self._by_name: dict[str, list[units.Unit]] = {}
        self._parents: dict[int, int | None] = {}
        for unit in units.some(tx, units.within(tx, [unit_id])).values():
            if not unit.until:
                self._by_name.setdefault(" ".join(fold(unit.name).split()), []).append(unit)
                self._parents[unit.id] = unit.parent_id

    def find(self, row: Row, key: str, agency: str) -> int:
        """The unit that a cell names; an empty cell is the agency itself. 0: a fault was noted."""
        name = row.values.get(key) or row.values.get(agency, "")
        if not name:
            return self._root.id
        some = self._by_name.get(" ".join(fold(name).split()), [])
        above = row.values.get(agency, "") if row.values.get(key) else ""
        if len(some) > 1 and above:
            inside = {unit.id for unit in self._by_name.get(" ".join(fold(above).split()), [])}
            some = [unit for unit in some if self._is_below(unit.id, inside)]
        exact = [unit for unit in some if unit.name == name]
        some = exact or some
        if len(some) == 1:
            return some[0].id
        code = "sheet-unit-several" if some else "sheet-unit"
        row.faults.append(Refused(code, name=name[:80], agency=self._root.name))
        return 0

    def _is_below(self, unit_id: int | None, roots: set[int]) -> bool:
        for _ in range(units.MAX_DEPTH):
            if unit_id is None:
                return False
            if unit_id in roots:
                return True
            unit_id = self._parents.get(unit_id)
        return False


def _issue(row: Row, finder: _Finder, held: Mapping[str, addresses.Held]) -> Issue | None:
    unit_id = finder.find(row, "unit", "agency")
    existing = row.values.get("address", "")
    if existing in held:
        row.faults.append(Refused("sheet-has-address", address=existing, name=held[existing].name))
    elif existing:
        row.doubts.append(Refused("sheet-address-unknown", address=existing))
    if not unit_id or not row.values.get("name"):
        return None
    v = row.values
    return Issue(
        v["name"],
        unit_id,
        title=v.get("title", ""),
        birth=v.get("birth", ""),
        mobile=v.get("mobile", ""),
        number=v.get("number", ""),
        category=v.get("category", ""),
        wish=v.get("wish", ""),
        identity=v.get("identity", ""),
    )


def _account(
    row: Row, key: str, held: Mapping[str, addresses.Held], about: Mapping[int, people.Account]
) -> people.Account | None:
    address = row.values.get(key, "")
    if address in held:
        return about.get(held[address].account_id)
    if address:
        row.faults.append(Refused("no-such-account", address=address))
    elif not row.text(key):
        row.faults.append(Refused("sheet-no-address", column=BY_KEY[key].title))
    return None


def _same_name(row: Row, account: people.Account) -> None:
    """The name beside an address must be its holder's: else one of them is another row's."""
    name = row.values.get("name", "")
    if name and fold(name) != fold(account.name):
        row.faults.append(Refused("sheet-holder", address=account.address, holder=account.name, name=name))


def _facts(
    kind: Kind, row: Row, finder: _Finder, held: Mapping[str, addresses.Held], about: Mapping[int, people.Account]
) -> Facts | None:
    v = row.values
    why = v.get("why", "")
    match kind:
        case Kind.CHANGE:
            new = requests.Change(
                v.get("new_name", ""), v.get("new_title", ""), v.get("new_mobile", ""), v.get("new_address", ""), why
            )
            if not (new.name or new.title or new.mobile or new.address):
                row.faults.append(Refused("request-changes-nothing"))
            return new
        case Kind.REVOKE:
            return requests.Revoke(day=v.get("day", ""), why=why)
        case Kind.LOCK:
            return requests.Lock(why=why)
        case Kind.RESTORE:
            return requests.Restore(why)
        case Kind.RESET:
            return requests.Reset(why)
        case Kind.TRANSFER:
            unit_id = finder.find(row, "new_unit" if v.get("new_unit") else "unit", "agency")
            title = v.get("new_title") or v.get("title", "")
            return requests.Transfer(unit_id, title, v.get("new_address", "")) if unit_id else None
        case Kind.HAND_OVER:
            clerk = _account(row, "clerk", held, about)
            head = _account(row, "head", held, about) if row.text("head") else None
            return requests.HandOver(clerk.id, head.id if head else 0, why) if clerk else None
        case _:
            return None
