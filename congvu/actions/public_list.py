"""The list of official addresses of agencies, units and persons, as a portal publishes it (row 7.4): CSV, JSON, HTML.

Promises that only what its holder or the operator chose to publish is on it (`View.PUBLIC` cards: hidden telephones
are not there to be shown), that the same directory gives the same bytes on the same day, and that nothing in a name can
become markup or a formula. The page needs no script, no font and no file beside it.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from html import escape
from urllib.parse import quote

from congvu.actions import directory
from congvu.actions.directory import Card, View
from congvu.base.vietnamese import findable
from congvu.codec.tables import as_csv
from congvu.db.engine import Tx
from congvu.directory import roles, statistics, units
from congvu.directory.people import Kind
from congvu.directory.roles import Actor
from congvu.directory.statistics import Part
from congvu.directory.units import Unit

_TOGETHER = 1000  # cards in one read
TITLE = "Danh sách địa chỉ thư điện tử chính thức"
_KINDS = {
    Kind.ORGANISATION: "Hộp thư cơ quan",
    Kind.UNIT: "Hộp thư đơn vị",
    Kind.FUNCTIONAL: "Hộp thư chức năng",
    Kind.PERSON: "Cá nhân",
}
_ORDER = list(_KINDS)


@dataclass(frozen=True, slots=True)
class Section:
    """A unit with those who stand in it. `unit` None: those that stand in no unit, at the end."""

    depth: int
    unit: Unit | None
    path: tuple[str, ...]
    cards: tuple[Card, ...]


@dataclass(frozen=True, slots=True)
class PublicList:
    """The whole list. `of`: whose it is, "" of several roots."""

    of: str
    day: date
    sections: tuple[Section, ...]

    @property
    def count(self) -> int:
        return sum(len(section.cards) for section in self.sections)


def public_list(tx: Tx, who: Actor, day: date, *, unit_id: int | None = None) -> PublicList:
    """The list of a unit and all below it, or of everything: boxes before persons, the head of a unit before the
    others, then by tên. Units in which nobody is published are left out. Raises `Refused("no-such-unit")`."""
    if unit_id is not None:
        units.must_get(tx, unit_id)
    heads = {row[0] for row in tx.all("SELECT head_id FROM duty WHERE head_id IS NOT NULL")}
    ordered = statistics.tree(tx, Part(roles.listed(who), unit_id))
    known = {unit.id for _, unit in ordered}
    found: dict[int | None, list[Card]] = {}
    for card in _cards(tx, who, unit_id):
        found.setdefault(card.unit_id if card.unit_id in known else None, []).append(card)
    wanted: set[int | None] = set()
    for _, unit in reversed(ordered):
        if unit.id in found or unit.id in wanted:
            wanted |= {unit.id, unit.parent_id}
    names: list[str] = [unit.name for unit in units.path(tx, unit_id)[:-1]] if unit_id is not None else []
    above, sections = len(names), []
    for depth, unit in ordered:
        if unit.id in wanted:
            del names[above + depth :]
            names.append(unit.name)
            sections.append(Section(depth, unit, tuple(names), _in_order(found.get(unit.id, []), heads)))
    if None in found:
        sections.append(Section(0, None, (), _in_order(found[None], heads)))
    roots = [unit.name for depth, unit in ordered if depth == 0 and unit.id in wanted]
    return PublicList(roots[0] if len(roots) == 1 else "", day, tuple(sections))


def _cards(tx: Tx, who: Actor, unit_id: int | None) -> Iterator[Card]:
    after = 0
    while some := directory.find(tx, who, "", View.PUBLIC, unit_id=unit_id, after=after, limit=_TOGETHER):
        after = some[-1].account_id
        yield from some


def _in_order(cards: Sequence[Card], heads: set[int]) -> tuple[Card, ...]:
    def key(card: Card) -> tuple[int, bool, str, str, str]:
        own = findable(card.given or card.name)
        return _ORDER.index(card.kind), card.account_id not in heads, own, findable(card.name), card.address

    return tuple(sorted(cards, key=key))


# ---- forms

_COLUMNS = (
    *("STT", "Đơn vị", "Cấp trên", "Loại", "Họ và tên, tên hộp thư", "Chức vụ"),
    *("Địa chỉ thư điện tử", "Điện thoại", "Di động", "Địa chỉ liên hệ"),
)


def csv(found: PublicList) -> bytes:
    rows: list[Sequence[str | int]] = [_COLUMNS]
    for section in found.sections:
        unit, above = section.path[-1] if section.path else "", " › ".join(section.path[:-1])
        for c in section.cards:
            rows.append(
                (len(rows), unit, above, _KINDS[c.kind], c.name, c.title, c.address, c.phone, c.mobile, c.place)
            )
    return as_csv(rows)


def as_json(found: PublicList) -> bytes:
    """Units in their order; `path`: from the top down to the unit."""
    told = [
        {
            "id": str(section.unit.id) if section.unit else None,  # more bits than JavaScript holds
            "name": section.unit.name if section.unit else "",
            "category": section.unit.category if section.unit else "",
            "path": list(section.path),
            "entries": [
                {
                    "kind": c.kind.value,
                    "name": c.name,
                    "title": c.title,
                    "address": c.address,
                    "phone": c.phone,
                    "mobile": c.mobile,
                    "place": c.place,
                }
                for c in section.cards
            ],
        }
        for section in found.sections
    ]
    whole = {"title": TITLE, "of": found.of, "date": found.day.isoformat(), "count": found.count, "units": told}
    return json.dumps(whole, ensure_ascii=False, indent=1).encode() + b"\n"


# ---- the page

_STYLE = """
:root{color-scheme:light}
*{box-sizing:border-box}
html{font:100%/1.5 system-ui,"Segoe UI",Roboto,"Noto Sans",Arial,sans-serif;color:#1a1a1a;background:#fff;
-webkit-text-size-adjust:100%}
body{max-width:72rem;margin:0 auto;padding:1rem;overflow-wrap:anywhere}
a{color:#0b4f9e}
a:focus-visible{outline:3px solid #0b4f9e;outline-offset:2px}
.skip{position:absolute;left:-99rem}
.skip:focus{position:static}
header{border-bottom:3px solid #a4161a;margin-bottom:1.5rem;padding-bottom:.75rem}
h1{font-size:1.6rem;line-height:1.25;margin:.25rem 0}
.of{font-size:1.15rem;font-weight:600;margin:0}
.made{margin:.5rem 0 0;color:#4a4a4a}
nav{background:#f4f6f8;border-radius:.5rem;padding:.25rem 1rem;margin-bottom:1.5rem}
summary{font-weight:600;padding:.5rem 0;cursor:pointer}
summary:focus-visible{outline:3px solid #0b4f9e;outline-offset:2px}
nav ul{columns:16rem;column-gap:2rem;margin:0 0 .5rem;padding:0;list-style:none}
nav li{break-inside:avoid}
nav a{display:block;padding:.4rem 0;line-height:1.35}
main h2,main h3,main h4,main h5,main h6{line-height:1.3;margin:1.75rem 0 .5rem;break-after:avoid;scroll-margin-top:1rem}
main h2{font-size:1.35rem;border-bottom:1px solid #b8bec5;padding-bottom:.2rem}
main h3{font-size:1.2rem}main h4{font-size:1.08rem}main h5,main h6{font-size:1rem}
.way{color:#4a4a4a;margin:-.35rem 0 .5rem;font-size:.9rem}
table{border-collapse:collapse;width:100%;margin-bottom:1rem;table-layout:fixed}
caption{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
th,td{border:1px solid #b8bec5;padding:.45rem .6rem;text-align:left;vertical-align:top}
thead th{background:#eef1f4;font-weight:600}
tbody th{font-weight:400}
.box th{font-weight:600}
.n{width:3.75rem;white-space:nowrap;text-align:right;font-variant-numeric:tabular-nums}
.t{width:17%}.e{width:28%}.p{width:12.5rem}
.place,.mobile{display:block;font-weight:400;color:#4a4a4a;font-size:.9rem}
footer{border-top:1px solid #b8bec5;margin-top:2.5rem;padding-top:.75rem;color:#4a4a4a}
@media screen and (max-width:44rem){
h1{font-size:1.35rem}
table,tbody,tr,tbody th,td.t,td.e,td.p{display:block;border:0;padding:0;width:auto}
thead,td.n{display:none}
tr{border:1px solid #b8bec5;border-radius:.5rem;padding:.6rem .75rem;margin-bottom:.6rem}
tbody th{font-weight:600}
td a{display:inline-block;padding:.35rem 0}
td.p:not(:empty)::before{content:"Điện thoại: ";color:#4a4a4a}
}
@media print{
html{font-size:10pt}body{max-width:none;padding:0}nav,.skip{display:none}.p{width:9.5rem}a{color:inherit;text-decoration:none}
thead{display:table-header-group}tr{break-inside:avoid}thead th{background:none}
@page{margin:15mm}
}
"""
# Nothing may be loaded and nothing run, whatever stands in a name.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def html(found: PublicList) -> bytes:
    """A page that stands by itself."""
    day = f"{found.day:%d/%m/%Y}"
    title = f"{TITLE} – {found.of}" if found.of else TITLE
    lines = [
        "<!DOCTYPE html>",
        '<html lang="vi">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style>",
        "</head>",
        "<body>",
        '<a class="skip" href="#danh-sach">Đến danh sách</a>',
        "<header>",
        *([f'<p class="of">{escape(found.of)}</p>'] if found.of else []),
        f"<h1>{TITLE}</h1>",
        f'<p class="made">Lập ngày <time datetime="{found.day.isoformat()}">{day}</time> · {found.count} địa chỉ</p>',
        "</header>",
        *_contents(found),
        '<main id="danh-sach" tabindex="-1">',
        *_main(found),
        "</main>",
        "<footer>",
        "<p>Danh sách gồm các địa chỉ được chọn để công bố; số di động chỉ có khi được phép công bố.</p>",
        "</footer>",
        "</body>",
        "</html>",
    ]
    return ("\n".join(lines) + "\n").encode()


def _anchor(section: Section) -> str:
    return f"dv-{section.unit.id if section.unit else 0}"


def _name(section: Section) -> str:
    return section.unit.name if section.unit else "Không thuộc đơn vị nào"


def _contents(found: PublicList) -> list[str]:
    """Links to the agencies: the first level with more than one."""
    level = next((d for d in range(3) if sum(s.depth == d for s in found.sections) > 1), None)
    if level is None:
        return []
    links = [
        f'<li><a href="#{_anchor(s)}">{escape(_name(s))}</a></li>' for s in found.sections if s.depth in (level, 0)
    ]
    summary = f"<summary>Mục lục: {len(links)} cơ quan, đơn vị</summary>"
    return ['<nav aria-label="Mục lục"><details>', summary, "<ul>", *links, "</ul>", "</details></nav>"]


def _main(found: PublicList) -> Iterator[str]:
    if not found.sections:
        yield "<p>Chưa có địa chỉ nào được công bố.</p>"
    number = 0
    for section in found.sections:
        level = min(section.depth + 2, 6)
        yield f'<h{level} id="{_anchor(section)}">{escape(_name(section))}</h{level}>'
        if section.depth > 1:
            yield f'<p class="way">{escape(" › ".join(section.path[1:-1]))}</p>'
        if section.cards:
            yield from _head(_name(section))
            for card in section.cards:
                number += 1
                yield _row(number, card)
            yield "</tbody></table>"


def _head(name: str) -> list[str]:
    # The roles are said because a phone's layout (blocks, no table) would take them away.
    columns = [
        ("n", "STT"),
        ("", "Họ và tên, tên hộp thư"),
        ("t", "Chức vụ"),
        ("e", "Thư điện tử"),
        ("p", "Điện thoại"),
    ]
    cells = "".join(f'<th role="columnheader" scope="col" class="{c}">{text}</th>' for c, text in columns)
    return [
        f'<table role="table"><caption>{escape(name)}</caption>',
        f'<thead role="rowgroup"><tr role="row">{cells}</tr></thead><tbody role="rowgroup">',
    ]


def _row(number: int, card: Card) -> str:
    box = card.kind is not Kind.PERSON
    place = f'<span class="place">{escape(card.place)}</span>' if card.place else ""
    mobile = f'<span class="mobile">Di động: {escape(card.mobile)}</span>' if card.mobile else ""
    link = f'<a href="mailto:{escape(quote(card.address, safe="@"))}">{escape(card.address).replace("@", "@<wbr>")}</a>'
    title = card.title or (_KINDS[card.kind] if box else "")
    cells = (
        f'<td role="cell" class="n">{number}</td>',
        f'<th role="rowheader" scope="row">{escape(card.name)}{place}</th>',
        f'<td role="cell" class="t">{escape(title)}</td>',
        f'<td role="cell" class="e">{link}</td>',
        f'<td role="cell" class="p">{escape(card.phone)}{mobile}</td>',
    )
    return f'<tr role="row" class="{"box" if box else "person"}">{"".join(cells)}</tr>'
