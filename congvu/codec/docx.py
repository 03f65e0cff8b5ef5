"""Word documents (.docx) as letters of the State are made of them: paragraphs, runs, tables, page breaks, margins.

Writes only what these need; the same contents give the same bytes. Lengths are millimetres, sizes points.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from congvu.codec import zipped

FONT = "Times New Roman"
_NAMESPACE = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


@dataclass(frozen=True, slots=True)
class Run:
    """Text of one kind."""

    text: str
    bold: bool = False
    italic: bool = False
    size: float = 14
    font: str = FONT
    spaced: float = 0  # points between letters


@dataclass(frozen=True, slots=True)
class Paragraph:
    """`align`: left, center, right, both; `first`: indent of its first line; `left`, `right`: of all of it; `before`,
    `after`: points; `rule`: a line below; `keep`: not parted from what follows; `new_page`: begins one."""

    runs: Sequence[Run] = ()
    align: str = "left"
    first: float = 0
    left: float = 0
    right: float = 0
    before: float = 0
    after: float = 0
    rule: bool = False
    keep: bool = False
    new_page: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """Cells, each some paragraphs. `height`: exact, 0 as needed; `below`: a dashed line under it; `middle`: contents
    centred from top to bottom."""

    cells: Sequence[Sequence[Paragraph]]
    height: float = 0
    below: bool = False
    middle: bool = False
    head: bool = False  # repeated on each page


@dataclass(frozen=True, slots=True)
class Table:
    """`widths` of the columns; `ruled`: lines around all cells."""

    widths: Sequence[float]
    rows: Sequence[Row]
    ruled: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """A4 upright; margins. `numbered`: page numbers on top in the middle, none on the first page."""

    top: float = 20
    bottom: float = 20
    left: float = 30
    right: float = 15
    numbered: bool = True


Block = Paragraph | Table


def text(words: str, **asked: object) -> Paragraph:
    """A paragraph of one run; what is no property of a paragraph is one of the run."""
    of_run = {key: value for key, value in asked.items() if key in Run.__slots__}
    of_paragraph = {key: value for key, value in asked.items() if key not in of_run}
    return Paragraph((Run(words, **of_run),), **of_paragraph)  # type: ignore[arg-type]  # told apart by name


def written(blocks: Sequence[Block], page: Page, title: str) -> bytes:
    """The file."""
    body = "".join(map(_block, blocks)) + _section(page)
    parts = {
        "[Content_Types].xml": _types(page.numbered),
        "_rels/.rels": _relations(("officeDocument", "word/document.xml"), _CORE),
        "word/document.xml": _root("document", f"<w:body>{body}</w:body>"),
        "word/styles.xml": _root("styles", _STYLES),
        "word/_rels/document.xml.rels": _relations(
            ("styles", "styles.xml"), *([("header", "header1.xml")] if page.numbered else [])
        ),
        "docProps/core.xml": _core(title),
    }
    if page.numbered:
        parts["word/header1.xml"] = _root("hdr", _PAGE_NUMBER)
    return zipped.written({name: content.encode() for name, content in parts.items()})


_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_CORE = ("http://schemas.openxmlformats.org/package/2006/relationships/metadata/core-properties", "docProps/core.xml")
_STYLES = (
    f'<w:docDefaults><w:rPrDefault><w:rPr><w:rFonts w:ascii="{FONT}" w:hAnsi="{FONT}" w:cs="{FONT}"'
    f' w:eastAsia="{FONT}"/><w:sz w:val="28"/><w:lang w:val="vi-VN"/></w:rPr></w:rPrDefault>'
    "<w:pPrDefault/></w:docDefaults>"
    '<w:style w:type="paragraph" w:default="1" w:styleId="Normal"><w:name w:val="Normal"/></w:style>'
)
_PAGE_NUMBER = (
    '<w:p><w:pPr><w:jc w:val="center"/></w:pPr><w:r><w:rPr><w:sz w:val="28"/></w:rPr><w:fldChar w:fldCharType="begin"/>'
    '</w:r><w:r><w:rPr><w:sz w:val="28"/></w:rPr><w:instrText xml:space="preserve"> PAGE </w:instrText></w:r>'
    '<w:r><w:rPr><w:sz w:val="28"/></w:rPr><w:fldChar w:fldCharType="end"/></w:r></w:p>'
)


def _root(name: str, inner: str) -> str:
    return f'{_HEAD}<w:{name} xmlns:w="{_NAMESPACE}" xmlns:r="{_RELATIONS}">{inner}</w:{name}>'


def _types(numbered: bool) -> str:
    word = "application/vnd.openxmlformats-officedocument.wordprocessingml"
    kinds = [
        ("/word/document.xml", f"{word}.document.main+xml"),
        ("/word/styles.xml", f"{word}.styles+xml"),
        ("/docProps/core.xml", "application/vnd.openxmlformats-package.core-properties+xml"),
    ]
    if numbered:
        kinds.append(("/word/header1.xml", f"{word}.header+xml"))
    overrides = "".join(f'<Override PartName="{name}" ContentType="{kind}"/>' for name, kind in kinds)
    return (
        f'{_HEAD}<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Default Extension="xml" ContentType="application/xml"/>{overrides}</Types>'
    )


def _relations(*targets: tuple[str, str]) -> str:
    inner = "".join(
        f'<Relationship Id="rId{n}" Type="{kind if "/" in kind else f"{_RELATIONS}/{kind}"}" Target="{target}"/>'
        for n, (kind, target) in enumerate(targets, 1)
    )
    space = "http://schemas.openxmlformats.org/package/2006/relationships"
    return f'{_HEAD}<Relationships xmlns="{space}">{inner}</Relationships>'


def _core(title: str) -> str:
    return (
        f'{_HEAD}<cp:coreProperties xmlns:cp="http://schemas.openxmlformats.org/package/2006/metadata/core-properties"'
        f' xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{_clean(title)}</dc:title></cp:coreProperties>'
    )


def _clean(words: str) -> str:
    """Text as XML can hold it."""
    return escape("".join(c for c in words if c >= " " and c not in "\ufffe\uffff" and not "\ud800" <= c <= "\udfff"))


def _twips(mm: float) -> int:
    return round(mm * 1440 / 25.4)


def _run(run: Run) -> str:
    marks = "<w:b/>" * run.bold + "<w:i/>" * run.italic
    if run.spaced:
        marks += f'<w:spacing w:val="{round(run.spaced * 20)}"/>'
    font = quoteattr(run.font)
    return (
        f"<w:r><w:rPr><w:rFonts w:ascii={font} w:hAnsi={font} w:cs={font} w:eastAsia={font}/>{marks}"
        f'<w:sz w:val="{round(run.size * 2)}"/><w:szCs w:val="{round(run.size * 2)}"/></w:rPr>'
        f'<w:t xml:space="preserve">{_clean(run.text)}</w:t></w:r>'
    )


def _paragraph(p: Paragraph) -> str:
    # In the order that the schema asks for.
    inner = "<w:keepNext/>" * p.keep + "<w:pageBreakBefore/>" * p.new_page
    if p.rule:
        inner += '<w:pBdr><w:bottom w:val="single" w:sz="6" w:space="1" w:color="000000"/></w:pBdr>'
    inner += (
        f'<w:spacing w:before="{round(p.before * 20)}" w:after="{round(p.after * 20)}" w:line="240" w:lineRule="auto"/>'
    )
    inner += f'<w:ind w:left="{_twips(p.left)}" w:right="{_twips(p.right)}" w:firstLine="{_twips(p.first)}"/>'
    inner += f'<w:jc w:val="{p.align}"/>'
    if p.runs:  # the mark at the end has a size too: an empty line is as high as it
        inner += f'<w:rPr><w:sz w:val="{round(p.runs[-1].size * 2)}"/></w:rPr>'
    return f"<w:p><w:pPr>{inner}</w:pPr>{''.join(map(_run, p.runs))}</w:p>"


def _table(table: Table) -> str:
    edge = '<w:{0} w:val="single" w:sz="4" w:space="0" w:color="000000"/>'
    edges = "".join(edge.format(side) for side in ("top", "left", "bottom", "right", "insideH", "insideV"))
    borders = f"<w:tblBorders>{edges}</w:tblBorders>" if table.ruled else ""
    grid = "".join(f'<w:gridCol w:w="{_twips(width)}"/>' for width in table.widths)
    total = _twips(sum(table.widths))
    margin = (
        ""
        if table.ruled
        else '<w:tblCellMar><w:left w:w="0" w:type="dxa"/><w:right w:w="0" w:type="dxa"/></w:tblCellMar>'
    )
    return (
        f'<w:tbl><w:tblPr><w:tblW w:w="{total}" w:type="dxa"/><w:jc w:val="center"/>{borders}'
        f'<w:tblLayout w:type="fixed"/>{margin}</w:tblPr><w:tblGrid>{grid}</w:tblGrid>'
        f"{''.join(_row(row, table.widths) for row in table.rows)}</w:tbl>"
    )


def _row(row: Row, widths: Sequence[float]) -> str:
    marks = "<w:cantSplit/>"
    if row.height:
        marks += f'<w:trHeight w:val="{_twips(row.height)}" w:hRule="exact"/>'
    if row.head:
        marks += "<w:tblHeader/>"
    line = '<w:tcBorders><w:bottom w:val="dashed" w:sz="6" w:space="0" w:color="7F7F7F"/></w:tcBorders>' * row.below
    middle = '<w:vAlign w:val="center"/>' * row.middle
    cells = "".join(
        f'<w:tc><w:tcPr><w:tcW w:w="{_twips(width)}" w:type="dxa"/>{line}{middle}</w:tcPr>'
        f"{''.join(map(_paragraph, cell or [Paragraph()]))}</w:tc>"
        for cell, width in zip(row.cells, widths, strict=True)
    )
    return f"<w:tr><w:trPr>{marks}</w:trPr>{cells}</w:tr>"


def _block(block: Block) -> str:
    match block:
        case Paragraph():
            return _paragraph(block)
        case Table():
            return _table(block)


def _section(page: Page) -> str:
    first = "<w:titlePg/>" if page.numbered else ""
    header = '<w:headerReference w:type="default" r:id="rId2"/>' if page.numbered else ""
    return (
        f'<w:sectPr>{header}<w:pgSz w:w="{_twips(210)}" w:h="{_twips(297)}"/><w:pgMar w:top="{_twips(page.top)}"'
        f' w:right="{_twips(page.right)}" w:bottom="{_twips(page.bottom)}" w:left="{_twips(page.left)}"'
        f' w:header="{_twips(10)}" w:footer="{_twips(5)}" w:gutter="0"/>{first}</w:sectPr>'
    )
