"""Outlines: what comes out is what was packed, in rows of today and of before, whatever else lies between them."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from congvu.db.engine import Database, Tx
from congvu.mailstore import check, message, outline, scan
from congvu.mailstore.outline import Outline
from congvu.mailstore.scan import Column
from tests.store.test_mailstore import Store, letter


def as_before_schema_6(tx: Tx) -> None:
    """Makes all letters' rows what they were then."""
    for number, packed, envelope, parts in tx.all("SELECT id, outline, envelope, parts FROM letter"):
        of = outline.unpack(packed, envelope, parts)
        tx.run(
            "UPDATE letter SET outline = ?, envelope = ?, parts = ? WHERE id = ?",
            of.structure,
            of.envelope,
            of.parts,
            number,
        )


pieces = st.binary(max_size=300)


@given(pieces, pieces, pieces)
def test_what_is_packed_comes_out(envelope: bytes, structure: bytes, parts: bytes) -> None:
    packed = outline.pack(envelope, structure, parts)
    assert outline.unpack(packed, b"", b"") == Outline(envelope, structure, parts)
    assert outline.heads([packed], [b""]) == ([envelope], [structure])
    assert outline.parts_of(packed, b"") == parts


@given(st.binary(max_size=400), pieces)
def test_damage_is_told(packed: bytes, envelope: bytes) -> None:
    try:
        found: Outline | None = outline.unpack(packed, envelope, b"")
    except ValueError:
        found = None
        assert outline.parts_of(packed, b"x") == b""
    whole = outline.pack(b"e", b"(s)", b"p")
    assert outline.heads([whole, packed, None, whole], [b"", envelope, None, b""]) == (
        [b"e", found and found.envelope, None, b"e"],
        [b"(s)", found and found.structure, None, b"(s)"],
    )


def test_no_bent_bit_does_worse_than_another_value() -> None:
    packed = outline.pack(b'("Mon" NIL)', b'("TEXT" "PLAIN" ("CHARSET" "UTF-8"))', b"\x01parts")
    refused = 0
    for at in range(8 * len(packed)):
        bent = bytearray(packed)
        bent[at // 8] ^= 1 << at % 8
        refused += outline.heads([bytes(bent)], [b""]) == ([None], [None])
    assert refused


def test_the_shared_words_are_what_they_were() -> None:
    """Every row kept since schema 6 is read with them."""
    assert sha256(outline._WORDS).hexdigest() == "8a6e63572440c783eddc960b3510b2ba1a28f73193e4921c741eec2bba270497"


@pytest.fixture
def store(db: Database) -> Store:
    store = Store(db)
    store.put(of=letter("Bình", "a"))
    store.put(of=letter("Ấn", "b"))
    return store


COLUMNS = (Column.UID, Column.STRUCTURE, Column.SUBJECT, Column.ENVELOPE)


def test_rows_of_before_say_the_same(store: Store) -> None:
    def told() -> tuple[object, ...]:
        table = store.db.read_now(scan.table, 1, 1, 1, 9, COLUMNS)
        letters = [row[0] for row in store.db.read_now(scan.table, 1, 1, 1, 9, (Column.LETTER,))]
        bodies = store.db.read_now(message.bodies, letters)
        return table, store.db.read_now(scan.column, 1, 1, [1, 2], Column.ENVELOPE), bodies

    now = told()
    store.do(as_before_schema_6)
    assert told() == now
    new = letter("Cúc", "c")
    store.put(of=new)
    rows = store.db.read_now(scan.table, 1, 1, 1, 9, COLUMNS)
    assert rows[:2] == now[0]
    assert rows[2][2] == "Cúc"
    assert rows[2][3] == new.scan.envelope
    assert store.db.read_now(lambda tx: list(check.check(tx))) == []


def test_a_damaged_outline_spoils_no_other(store: Store) -> None:
    whole = store.db.read_now(scan.table, 1, 1, 1, 9, COLUMNS)
    store.do(lambda tx: tx.run("UPDATE letter SET outline = prefix WHERE subject = 'Ấn'"))
    rows = store.db.read_now(scan.table, 1, 1, 1, 9, COLUMNS)
    assert rows == [whole[0], (2, None, "Ấn", None)]
    assert [uid for uid, _ in store.db.read_now(scan.column, 1, 1, [1, 2], Column.ENVELOPE)] == [1]
