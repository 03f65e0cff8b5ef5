r"""Rights, other people's mailboxes, each reader's own \Seen, on every engine; the invariants hold after each test."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from congvu.actions import accounts, lifecycle
from congvu.actions.accounts import NewAccount
from congvu.actions.sharing import COMMON, NOTHING, OTHERS, Seat, Sharing, Who
from congvu.base.clock import Identifiers, ManualClock
from congvu.base.config import Config
from congvu.base.failure import Refused
from congvu.codec import imap_acl, mime
from congvu.codec.imap_acl import ALL, Change
from congvu.codec.imap_words import Bad, Words
from congvu.db import audit, open_database
from congvu.db.blobs import Blob
from congvu.db.engine import Database, Tx
from congvu.directory import profile as profiles
from congvu.directory.lifecycle import State
from congvu.directory.people import Kind
from congvu.directory.profile import Profile
from congvu.mailstore import across, changes, check, mailbox, message, repair, rights, seen
from congvu.mailstore.across import Place
from congvu.mailstore.append import Adding
from congvu.mailstore.changes import Kind as Change_
from congvu.mailstore.message import DELETED, FLAGGED, SEEN, Arrival, NewLetter, Op, Target
from congvu.servers.imap.view import read_news

NOW = 1_790_000_000
QUOTA = 100_000
INBOX = f"{OTHERS}/an/INBOX"


class Office:
    """An, Bình and Chi, a unit and an organisation."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.ids = Identifiers(ManualClock())
        self.config = Config(("xa.test", "huyen.test"), "mail.xa.test")
        self.profile = Profile("test", dict.fromkeys(Kind, QUOTA), one_seen=frozenset({Kind.ORGANISATION}))
        self.sharing = Sharing(self.config, self.profile)
        self.an, self.binh, self.chi = (self.add(f"{name}@xa.test") for name in ("an", "binh", "chi"))
        self.unit = self.add("vanphong@huyen.test", Kind.UNIT)
        self.board = self.add("ubnd@xa.test", Kind.ORGANISATION)

    def add(self, address: str, kind: Kind = Kind.PERSON) -> Who:
        new = NewAccount(address, address, None, kind)
        return Who(self.db.write_now(accounts.add_account, "test", new, self.profile, self.ids, NOW), address)

    def do(self, f: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self.db.write_now(f, *args, **kwargs)

    def open(
        self, owner: Who, reader: Who | str, letters: str, box: str = "INBOX", change: Change = Change.SET
    ) -> None:
        name = reader if isinstance(reader, str) else reader.address
        self.do(self.sharing.set_rights, owner, box, name, change, letters, NOW)

    def seat(self, who: Who, name: str) -> Seat | None:
        return self.db.read_now(self.sharing.find, who, name)

    def put(self, who: Who, flags: int = 0, text: str = "Một", mailbox_id: int = 1) -> NewLetter:
        content = f"Subject: x\r\n{text}\r\n\r\nabc\r\n".encode()
        number = self.ids.draw()
        letter = NewLetter(number, Blob(number.to_bytes(32, "big"), len(content), "nowhere"), b"", mime.scan(content))

        def f(tx: Tx) -> None:
            message.keep_letter(tx, letter, NOW)
            message.place(tx, letter, [Target(who.account_id, mailbox_id, flags)], NOW, NOW)

        self.do(f)
        return letter

    def place(self, owner: Who, reader: Who | None = None, mailbox_id: int = 1) -> Place:
        return Place(owner.account_id, mailbox_id, reader.account_id if reader else 0)

    def flags(self, place: Place) -> dict[int, int]:
        def f(tx: Tx) -> dict[int, int]:
            rows = message.rows(tx, place.account_id, place.mailbox_id, 1, 1 << 31)
            return {row.uid: row.flags for row in across.through(tx, place, rows)}

        return self.db.read_now(f)

    def box(self, who: Who, number: int = 1) -> mailbox.Mailbox:
        found = self.db.read_now(mailbox.get, who.account_id, number)
        assert found is not None
        return found


@pytest.fixture
def office(db: Database) -> Iterator[Office]:
    yield Office(db)
    assert db.read_now(lambda tx: list(check.check(tx))) == []
    assert db.read_now(audit.verify_chain) == []


def refused(code: str) -> Any:
    return pytest.raises(Refused, match=code)


def hinted(office: Office, f: Callable[..., Any], *args: Any) -> set[int]:
    """Who is told to look when `f` has been done."""

    def run(tx: Any) -> set[int]:
        tx.touched.clear()
        f(tx, *args)
        return set(tx.touched)

    found: set[int] = office.do(run)
    return found


def test_who_may_do_something_else_now_is_told_to_look(office: Office) -> None:
    an, binh, chi = (who.account_id for who in (office.an, office.binh, office.chi))
    sharing = office.sharing
    box = "a"
    office.do(mailbox.create, an, box, NOW)
    assert hinted(office, sharing.set_rights, office.an, box, "binh", Change.SET, "lr", NOW) == {an, binh}
    assert hinted(office, sharing.set_rights, office.an, box, "binh", Change.ADD, "w", NOW) == {an, binh}
    assert hinted(office, mailbox.create, an, "a/b", NOW) == {an, binh}
    assert hinted(office, lifecycle.take_step, office.an.account_id, State.LOCKED, NOW) == {an, binh}
    assert hinted(office, lifecycle.take_step, office.an.account_id, State.ACTIVE, NOW) == {an, binh}
    assert hinted(office, lifecycle.take_step, office.chi.account_id, State.LOCKED, NOW) == {chi}
    assert hinted(office, mailbox.delete, an, "a/b", NOW) == {an, binh}
    assert hinted(office, sharing.set_rights, office.an, box, "binh", Change.SET, "", NOW) == {an, binh}
    assert hinted(office, mailbox.subscribe, binh, INBOX, True) == {binh}


def test_who_finds_something_below_a_mailbox(office: Office) -> None:
    an, binh = office.an, office.binh
    for name in ("a", "a/b", "ab", "c"):
        office.do(mailbox.create, an.account_id, name, NOW)

    def below(who: Who, name: str) -> bool:
        seat = office.seat(who, name)
        assert seat is not None
        found: bool = office.db.read_now(office.sharing.has_children, who, seat)
        return found

    assert [below(an, name) for name in ("a", "a/b", "ab", "c")] == [True, False, False, False]
    office.open(an, binh, "lr", "a")
    assert not below(binh, f"{OTHERS}/an/a")  # rfc9051 6.3.9.5: not of those one may not know of
    office.open(an, binh, "l", "a/b")
    assert below(binh, f"{OTHERS}/an/a")


@pytest.mark.parametrize("within", [True, False])
def test_replacing_needs_rights_on_both_sides(office: Office, within: bool) -> None:
    an, binh = office.an, office.binh
    office.put(an)
    office.do(mailbox.create, an.account_id, "to", NOW)
    target = f"{OTHERS}/an/to" if within else "INBOX"
    office.open(an, binh, "lri", "to")
    number = office.ids.draw()
    letter = NewLetter(number, Blob(number.to_bytes(32, "big"), 3, "nowhere"), b"", mime.scan(b"abc"))
    adding = Adding(target, (Arrival(letter, 0, (), NOW),), (1, 1))
    source = office.place(an, binh)
    for rights_, code in [("", "no-permission"), ("lrt", "no-permission"), ("lre", "no-permission")]:
        office.open(an, binh, rights_)
        answer = office.do(office.sharing.append, binh, adding, NOW, source)
        assert isinstance(answer, Refused) and answer.code == code
    assert office.box(an).messages == 1
    office.open(an, binh, "lrte")
    added = office.do(office.sharing.append, binh, adding, NOW, source)
    assert added.uid_validity and office.box(an).messages == 0
    again = office.do(office.sharing.append, binh, adding, NOW, source)
    assert isinstance(again, Refused) and again.code == "expunge-issued"


# rights as words


@pytest.mark.parametrize(
    ("text", "rights_", "shown"),
    [
        ("", "", ""),
        ("lr", "lr", "lr"),
        ("rlrl", "lr", "lr"),
        ("c", "kx", "kxc"),
        ("d", "te", "ted"),
        ("x", "x", "xc"),
        ("cda", "kxtea", "kxteacd"),
        (ALL, ALL, ALL + "cd"),
    ],
)
def test_rights_as_letters(text: str, rights_: str, shown: str) -> None:
    assert imap_acl.rights_of(text) == rights_
    assert imap_acl.shown(rights_) == shown


@given(st.sets(st.sampled_from(ALL)), st.sampled_from(Change), st.sets(st.sampled_from(ALL)))
def test_rights_change_as_sets_do(have: set[str], change: Change, letters: set[str]) -> None:
    after = imap_acl.changed(imap_acl.ordered(have), change, imap_acl.ordered(letters))
    assert set(after) == {Change.SET: letters, Change.ADD: have | letters, Change.REMOVE: have - letters}[change]
    assert after == imap_acl.rights_of(after)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_bad(data: bytes) -> None:
    for parse in (imap_acl.set_acl, imap_acl.identified):
        for line in (data, b" INBOX " + data, b" INBOX an@xa.test " + data):
            try:
                found = parse(Words(line))
            except Bad:
                continue
            assert found.identifier.isprintable()
            if isinstance(found, imap_acl.SetAcl):
                assert set(found.rights) <= set(ALL)


def cited(anyone: str, one_seen: str) -> str:
    row = 'row = "5.10", source = "test"'
    return f"[sharing]\nanyone = {{ value = {anyone}, {row} }}\none_seen = {{ value = {one_seen}, {row} }}\n"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", ""),
        (cited("true", '["organisation", "unit"]'), ""),
        (cited("1", "[]"), "profile-wrong-type"),
        (cited("true", '["everybody"]'), "profile-wrong-type"),
        (cited("true", "[[1]]"), "profile-wrong-type"),
        (cited("true", '"unit"'), "profile-wrong-type"),
        (cited("true", "[]") + "more = 1", "profile-unknown-key"),
        ("[sharing]\nanyone = true", "profile-wrong-type"),
        ("sharing = 5", "profile-wrong-type"),
    ],
)
def test_what_a_profile_says(text: str, code: str) -> None:
    head = '[profile]\ntitle = "Thử"\ntext = "QĐ 1"\ndomains = ["x.vn"]\nrow = "2.2"\n'
    data = (f"{text}\n{head}" if text.startswith("sharing") else f"{head}{text}").encode()
    if code:
        with refused(code):
            profiles.parse(data, "thu.toml")
        return
    found = profiles.parse(data, "thu.toml")
    assert found.share_with_anyone == bool(text)
    assert found.one_seen == ({Kind.ORGANISATION, Kind.UNIT} if text else set())


# finding and knowing of


def test_the_own_is_found_as_ever(office: Office) -> None:
    found = office.seat(office.an, "inbox")
    assert found is not None
    assert (found.account_id, found.rights, found.reader) == (office.an.account_id, ALL, 0)
    assert office.seat(office.an, "không có") is None


class Counting:
    """A transaction that counts what is asked."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self.asked = 0

    def one(self, sql: str, *params: object) -> Any:
        self.asked += 1
        return self._tx.one(sql, *params)

    def all(self, sql: str, *params: object) -> Any:
        self.asked += 1
        return self._tx.all(sql, *params)


def test_ones_own_costs_what_it_always_did(office: Office) -> None:
    def asked(f: Callable[..., Any], *args: Any) -> int:
        def count(tx: Tx) -> int:
            counting = Counting(tx)
            f(counting, office.an, *args)
            return counting.asked

        return office.db.read_now(count)

    assert asked(office.sharing.need, "INBOX", "r") == 1  # SELECT, STATUS
    assert asked(office.sharing.target, "Thư nháp") == 1  # APPEND
    assert asked(office.sharing.visible) == 1  # LIST, where nobody shares anything


def test_a_right_opens_a_mailbox_under_its_namespace(office: Office) -> None:
    assert office.seat(office.binh, INBOX) is None
    office.open(office.an, office.binh, "lr")
    office.open(office.unit, office.binh, "lrs")
    found = office.seat(office.binh, INBOX)
    assert found is not None
    assert (found.account_id, found.rights, found.reader) == (office.an.account_id, "lr", office.binh.account_id)
    visible = office.db.read_now(office.sharing.visible, office.binh)
    assert [s.box.name for s in visible] == [f"{COMMON}/vanphong@huyen.test/INBOX", INBOX]
    assert all(s.box.role == "" for s in visible)
    for name in (f"{OTHERS}/AN@xa.test/inbox", INBOX):
        assert office.seat(office.binh, name) is not None
    for name in (
        f"{COMMON}/an/INBOX",
        f"{OTHERS}/an",
        f"{OTHERS}/an/",
        f"{OTHERS}//INBOX",
        OTHERS,
        f"{OTHERS}/an/Thư nháp",
        f"{OTHERS}/binh/INBOX",
        f"{COMMON}/vanphong/INBOX",
    ):
        assert office.seat(office.binh, name) is None, name
    assert office.seat(office.chi, INBOX) is None
    assert office.db.read_now(office.sharing.visible, office.chi) == []
    assert office.db.read_now(office.sharing.visible, office.an) == []


def test_without_l_it_is_as_if_it_were_not_there(office: Office) -> None:
    office.open(office.an, office.binh, "i")
    with refused("no-such-mailbox"):
        office.db.read_now(office.sharing.need, office.binh, INBOX, "r")
    assert office.db.read_now(office.sharing.target, office.binh, INBOX).rights == "i"
    assert office.db.read_now(office.sharing.visible, office.binh) == []
    office.open(office.an, office.binh, "l", change=Change.ADD)
    with refused("no-permission"):
        office.db.read_now(office.sharing.need, office.binh, INBOX, "r")


@pytest.mark.parametrize("whose", ["an", "binh"])
@pytest.mark.parametrize("to", [State.LOCKED, State.REVOKED])
def test_a_lock_closes_both_ways(office: Office, whose: str, to: State) -> None:
    office.open(office.an, office.binh, ALL)
    office.put(office.an)
    office.do(lifecycle.take_step, getattr(office, whose).account_id, to, NOW)
    assert office.seat(office.binh, INBOX) is None
    assert office.db.read_now(office.sharing.visible, office.binh) == []
    assert office.db.read_now(office.sharing.standing, office.binh, office.an.account_id, 1) == NOTHING
    place = office.place(office.an, office.binh)
    with refused("no-permission"):
        office.do(office.sharing.store, office.binh, place, [1], Op.ADD, SEEN, (), None)
    with refused("no-permission"):
        office.do(office.sharing.expunge, office.binh, place, [1], NOW)
    with refused("no-permission"):
        office.do(office.sharing.copy, office.binh, place, [1], "INBOX", False, NOW)
    if whose == "an" and to is State.REVOKED:
        with refused("no-such-identifier"):
            office.open(office.chi, office.an, "lr")


def test_who_may_give_rights(office: Office) -> None:
    office.open(office.an, office.binh, "lra")
    office.open(office.binh, office.chi, "lr", INBOX)
    seat, found = office.db.read_now(office.sharing.all_rights, office.binh, INBOX)
    assert seat.box.name == INBOX
    assert found == [("an@xa.test", ALL), ("binh@xa.test", "lra"), ("chi@xa.test", "lr")]
    with refused("no-permission"):
        office.open(office.chi, office.chi, ALL, INBOX)
    with refused("owner-has-all"):
        office.open(office.binh, office.an, "", INBOX)
    for nobody in ("anyone", "nobody@xa.test", "-chi", "-chi@xa.test", "chi+x@xa.test", "@", "x y"):
        with refused("no-such-identifier"):
            office.open(office.an, nobody, "lr")
    acts = office.db.read_now(lambda tx: tx.all("SELECT who, facts FROM audit WHERE act = 'share.rights' ORDER BY id"))
    assert [who for who, _ in acts] == ["an@xa.test", "binh@xa.test"]
    assert '"after":"lr","before":"","for":"chi@xa.test"' in acts[1][1]
    office.open(office.an, office.binh, "lra")  # nothing new: nothing is written
    assert len(office.db.read_now(lambda tx: tx.all("SELECT id FROM audit WHERE act = 'share.rights'"))) == 2


def test_anyone_only_where_the_profile_allows(office: Office) -> None:
    wide = Sharing(office.config, Profile("wide", {}, share_with_anyone=True))
    office.do(wide.set_rights, office.an, "INBOX", "anyone", Change.SET, "lr", NOW)
    office.do(wide.set_rights, office.an, "INBOX", "binh@xa.test", Change.SET, "s", NOW)
    seat = office.db.read_now(wide.find, office.binh, INBOX)
    assert seat is not None
    assert seat.rights == "lrs"
    assert [s.box.name for s in office.db.read_now(wide.visible, office.chi)] == [INBOX]
    assert office.db.read_now(wide.visible, office.an) == []
    # the profile takes it back: the entry stays and opens nothing
    assert office.seat(office.chi, INBOX) is None
    assert office.db.read_now(office.sharing.all_rights, office.an, "INBOX")[1][1] == ("anyone", "lr")


def test_bounds(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rights, "MAX_ENTRIES", 1)
    office.open(office.an, office.binh, "lr")
    with refused("too-many-shares"):
        office.open(office.an, office.chi, "lr")
    office.open(office.an, office.binh, "lrs")
    monkeypatch.setattr(rights, "MAX_ENTRIES", 9)
    monkeypatch.setattr(rights, "MAX_SHARED", 1)
    with refused("too-many-shares"):
        office.open(office.unit, office.binh, "lr")
    # what would be inherited beyond the bound is left out, and the mailbox is made all the same
    office.do(office.sharing.create, office.an, "INBOX/x", "", NOW)
    assert office.seat(office.binh, f"{INBOX}/x") is None


# mailboxes


def test_new_mailboxes_inherit_and_old_ones_take_their_rights_along(office: Office) -> None:
    office.do(office.sharing.create, office.an, "A", "", NOW)
    office.open(office.an, office.binh, "lrkx", "A")
    office.do(office.sharing.create, office.an, "A/B/C", "", NOW)
    there = f"{OTHERS}/an/"
    assert [s.box.name for s in office.db.read_now(office.sharing.visible, office.binh)] == [
        f"{there}A",
        f"{there}A/B",
        f"{there}A/B/C",
    ]
    office.do(office.sharing.create, office.binh, f"{there}A/D/", "", NOW)
    office.do(office.sharing.rename, office.binh, f"{there}A/D", f"{there}A/E", NOW)
    office.do(office.sharing.delete, office.binh, f"{there}A/E", NOW)
    for name in ("X", "A", f"{there}X", "", "//"):
        with pytest.raises(Refused):
            office.do(office.sharing.rename, office.binh, f"{there}A", name, NOW)
    for name in (f"{there}X", f"{OTHERS}/chi/A", f"{OTHERS}/nobody/A", there, OTHERS, f"{OTHERS}/x"):
        with refused("no-permission"):
            office.do(office.sharing.create, office.binh, name, "", NOW)
    with refused("mailbox-exists"):
        office.do(office.sharing.create, office.binh, f"{there}A/B", "", NOW)
    office.open(office.an, office.binh, "", "A/B")
    with refused("no-permission"):  # not "exists": it may not be known of
        office.do(office.sharing.create, office.binh, f"{there}A/B", "", NOW)
    with refused("no-permission"):  # a mailbox below is not theirs to take along
        office.do(office.sharing.rename, office.binh, f"{there}A", f"{there}A2", NOW)
    office.do(office.sharing.rename, office.an, "A", "Z", NOW)
    assert office.seat(office.binh, f"{there}Z/B/C") is not None
    acts = [r[0] for r in office.db.read_now(lambda tx: tx.all("SELECT act FROM audit WHERE who = 'binh@xa.test'"))]
    assert sorted(acts) == ["share.create", "share.delete", "share.rename"]


def test_the_six_first_mailboxes_stay_whoever_has_the_right(office: Office) -> None:
    office.open(office.an, office.binh, ALL)
    with refused("special-mailbox"):
        office.do(office.sharing.delete, office.binh, INBOX, NOW)
    with refused("special-mailbox"):
        office.do(office.sharing.rename, office.binh, INBOX, f"{INBOX}/x", NOW)


def test_a_deleted_mailbox_takes_rights_and_what_was_seen_along(office: Office) -> None:
    office.do(office.sharing.create, office.an, "A", "", NOW)
    number = office.db.read_now(mailbox.find, office.an.account_id, "A").id  # type: ignore[union-attr]
    office.open(office.an, office.binh, "lrs", "A")
    office.put(office.an, mailbox_id=number)
    place = office.place(office.an, office.binh, number)
    office.do(office.sharing.store, office.binh, place, [1], Op.ADD, SEEN, (), None)
    office.do(office.sharing.delete, office.an, "A", NOW)
    left = office.db.read_now(
        lambda tx: [tx.all(sql) for sql in ("SELECT * FROM acl", "SELECT * FROM share", "SELECT * FROM seen")]
    )
    assert left == [[], [], []]


def test_an_own_mailbox_so_named_before_stays_reachable(office: Office) -> None:
    name = f"{COMMON}/cũ"
    office.do(mailbox.create, office.an.account_id, name, NOW)
    found = office.seat(office.an, name)
    assert found is not None
    assert found.account_id == office.an.account_id
    office.do(office.sharing.delete, office.an, name, NOW)


# each one's own \Seen


def test_each_has_an_own_seen(office: Office) -> None:
    office.open(office.an, office.binh, "lrswt")
    office.put(office.an, SEEN)
    office.put(office.an)
    mine, theirs = office.place(office.an, office.binh), office.place(office.an)
    assert office.flags(mine) == {1: 0, 2: 0}
    before = office.box(office.an)
    stored = office.do(office.sharing.store, office.binh, mine, [2], Op.ADD, SEEN, (), None)
    assert [(r.uid, r.flags) for r in stored.changed] == [(2, SEEN)]
    assert office.flags(mine) == {1: 0, 2: SEEN}
    assert office.flags(theirs) == {1: SEEN, 2: 0}
    assert office.box(office.an).unseen == before.unseen
    log = office.db.read_now(changes.since, office.an.account_id, before.modseq, 1)
    assert [(c.kind, c.uids, c.letters) for c in log] == [(Change_.SEEN, "2", (office.binh.account_id,))]
    # news for this reader's other sessions, not for the owner's nor for the session itself
    view = office.an.account_id, 1, before.modseq
    news = office.db.read_now(read_news, *view, (), office.binh.account_id)
    assert news is not None
    assert [(r.uid, r.flags) for r in news.flags] == [(2, SEEN)]
    for own, reader in (((), 0), ((), office.chi.account_id), ((stored.modseq,), office.binh.account_id)):
        news = office.db.read_now(read_news, *view, own, reader)
        assert news is not None
        assert news.flags == ()
        assert news.modseq == stored.modseq
    # both kinds of flags at once: one number, the owner hears of the common one
    stored = office.do(office.sharing.store, office.binh, mine, [1, 2], Op.SET, FLAGGED | SEEN, ("$a",), None)
    assert office.flags(mine) == {1: SEEN | FLAGGED, 2: SEEN | FLAGGED}
    assert office.flags(theirs) == {1: SEEN | FLAGGED, 2: FLAGGED}
    assert {r.modseq for r in stored.changed} == {stored.modseq}
    stored = office.do(office.sharing.store, office.binh, mine, [1, 2], Op.SET, 0, (), stored.modseq - 1)
    assert (stored.changed, stored.failed) == ([], [1, 2])


@pytest.mark.parametrize(
    ("may", "op", "flags", "keywords", "after"),
    [
        ("lrs", Op.ADD, SEEN | DELETED | FLAGGED, ("$x",), SEEN),
        ("lrt", Op.ADD, SEEN | DELETED | FLAGGED, ("$x",), DELETED),
        ("lrw", Op.ADD, SEEN | DELETED | FLAGGED, ("$x",), FLAGGED),
        ("lrs", Op.ADD, DELETED, (), None),
        ("lrs", Op.ADD, 0, ("$x",), None),
        ("lrs", Op.REMOVE, FLAGGED, (), None),
        ("lri", Op.SET, 0, (), None),
        ("lrs", Op.SET, 0, (), 0),
        ("lr", Op.ADD, 0, (), 0),
        ("lw", Op.SET, FLAGGED, (), FLAGGED),
    ],
)
def test_each_flag_needs_its_right(
    office: Office, may: str, op: Op, flags: int, keywords: tuple[str, ...], after: int | None
) -> None:
    office.put(office.an)
    office.open(office.an, office.binh, may)
    place = office.place(office.an, office.binh)
    if after is None:
        with refused("no-permission"):
            office.do(office.sharing.store, office.binh, place, [1], op, flags, keywords, None)
        after = 0
    else:
        office.do(office.sharing.store, office.binh, place, [1], op, flags, keywords, None)
    assert office.flags(place) == {1: after}
    (row,) = office.db.read_now(message.rows, office.an.account_id, 1, 1, 1)
    assert row.keywords == ("$x" if "w" in may and keywords else "")


def test_a_million_letters_cost_a_reader_little(office: Office) -> None:
    office.open(office.an, office.binh, "lrs")
    owner, reader = office.an.account_id, office.binh.account_id
    uids = [*range(1, 200_001, 2)]

    def marked(tx: Tx) -> tuple[int, int, int, int | None]:
        seen.mark(tx, owner, 1, reader, uids, True)
        rows, size = tx.one("SELECT count(*), sum(length(bits)) FROM seen") or (0, 0)
        first = seen.first_unseen(tx, owner, 1, reader, range(1, 200_001))
        counted = seen.count(tx, owner, 1, reader)
        assert seen.among(tx, owner, 1, reader, [1, 2, 4095, 4096, 4097, 199_999]) == {1, 4095, 4097, 199_999}
        seen.mark(tx, owner, 1, reader, uids, False)
        assert tx.all("SELECT * FROM seen") == []
        return rows, size, counted, first

    rows, size, counted, first = office.do(marked)
    assert rows == 49
    assert size <= 25_000
    assert (counted, first) == (100_000, 2)


def test_seen_is_a_set(office: Office) -> None:
    boxes = iter(range(1000, 10_000))
    numbers = st.integers(1, 20_000) | st.sampled_from([4095, 4096, 4097, 8191, 8192])
    step = st.tuples(st.sampled_from(["on", "off", "drop"]), st.sets(numbers, max_size=20).map(sorted))

    @settings(deadline=None, max_examples=30)
    @given(st.lists(step, max_size=6))
    def holds(steps: list[tuple[str, list[int]]]) -> None:
        box = next(boxes)
        model: set[int] = set()

        def play(tx: Tx) -> tuple[set[int], int]:
            for what, uids in steps:
                match what:
                    case "on" | "off":
                        seen.mark(tx, 1, box, 2, uids, what == "on")
                    case _:
                        seen.drop(tx, 1, box, uids)
            found = seen.among(tx, 1, box, 2, range(1, 20_001)), seen.count(tx, 1, box, 2)
            seen.forget(tx, 1, box)
            return found

        for what, uids in steps:
            model = model | set(uids) if what == "on" else model - set(uids)
        assert office.do(play) == (model, len(model))

    holds()


def test_expunged_letters_leave_no_trace(office: Office) -> None:
    office.open(office.an, office.binh, "lrste")
    for _ in range(3):
        office.put(office.an)
    place = office.place(office.an, office.binh)
    office.do(office.sharing.store, office.binh, place, [1, 3], Op.ADD, SEEN | DELETED, (), None)
    assert office.do(office.sharing.expunge, office.binh, place, [1, 2, 3], NOW) == [1, 3]
    assert office.db.read_now(seen.count, office.an.account_id, 1, office.binh.account_id) == 0
    office.do(office.sharing.store, office.binh, place, [2], Op.ADD, SEEN, (), None)
    office.do(message.move, office.an.account_id, 1, [2], 2, NOW)  # by the owner
    assert office.db.read_now(lambda tx: tx.all("SELECT * FROM seen")) == []


def test_whoever_loses_the_right_to_read_begins_anew(office: Office) -> None:
    office.open(office.an, office.binh, "lrs")
    office.put(office.an)
    place = office.place(office.an, office.binh)
    office.do(office.sharing.store, office.binh, place, [1], Op.ADD, SEEN, (), None)
    office.open(office.an, office.binh, "lr")
    assert office.flags(place) == {1: SEEN}
    office.open(office.an, office.binh, "l")
    office.open(office.an, office.binh, "lr")
    assert office.flags(place) == {1: 0}


def test_in_an_organisations_mailbox_seen_is_one(office: Office) -> None:
    office.open(office.board, office.binh, "lrs")
    office.put(office.board)
    seat = office.seat(office.binh, f"{COMMON}/ubnd/INBOX")
    assert seat is not None
    assert seat.reader == 0
    office.do(office.sharing.store, office.binh, seat.place, [1], Op.ADD, SEEN, (), None)
    assert office.box(office.board).unseen == 0


# letters from one account to another


def test_a_letter_goes_to_another_account(office: Office) -> None:
    office.open(office.an, office.binh, "lrswit")
    first = office.put(office.an, text="Message-ID: <một@x>")
    reply = office.put(
        office.an, SEEN | FLAGGED, "Message-ID: <hai@x>\r\nReferences: <không@x>\r\nIn-Reply-To: <một@x>"
    )
    mine = office.put(office.binh, text="Message-ID: <ba@x>\r\nReferences: <hai@x>")
    source = office.place(office.an, office.binh)
    office.do(office.sharing.store, office.binh, source, [1], Op.ADD, SEEN, (), None)
    target, copied = office.do(office.sharing.copy, office.binh, source, [1, 2, 9], "INBOX", False, NOW)
    assert (copied.source, copied.target) == ([1, 2], [2, 3])
    assert target == Place(office.binh.account_id, 1)
    # flags as this person saw them, threads as this account knows them
    rows = office.db.read_now(message.rows, office.binh.account_id, 1, 1, 9)
    assert [(r.letter_id, r.flags) for r in rows] == [(mine.id, 0), (first.id, SEEN), (reply.id, FLAGGED)]
    assert rows[2].thread_id == rows[0].thread_id == mine.id
    assert rows[1].thread_id == first.id
    assert office.db.read_now(mailbox.quota, office.binh.account_id).used == sum(r.size for r in rows)
    # once more: the same letter keeps its thread
    office.do(office.sharing.copy, office.binh, source, [2], "INBOX", False, NOW)
    again = office.db.read_now(message.rows, office.binh.account_id, 1, 4, 4)
    assert again[0].thread_id == mine.id
    # and back, into a mailbox where \\Seen is the reader's: its owner finds it unseen
    office.do(office.sharing.copy, office.binh, office.place(office.binh), [2], INBOX, False, NOW)
    assert office.flags(source)[3] == SEEN
    assert office.flags(office.place(office.an))[3] == 0


def test_a_move_takes_the_letter_and_its_bytes_along(office: Office) -> None:
    office.open(office.an, office.binh, "lrste")
    for _ in range(3):
        office.put(office.an)
    before = office.db.read_now(mailbox.quota, office.an.account_id)
    source = office.place(office.an, office.binh)
    _, copied = office.do(office.sharing.copy, office.binh, source, [1, 3], "INBOX", True, NOW)
    assert copied.target == [1, 2]
    assert list(office.flags(source)) == [2]
    after = office.db.read_now(mailbox.quota, office.an.account_id)
    moved = office.db.read_now(mailbox.quota, office.binh.account_id)
    assert (before.used - after.used, before.messages - after.messages) == (moved.used, moved.messages)
    assert moved.messages == 2


@pytest.mark.parametrize(("letters", "moving", "lacks"), [("lr", True, "t"), ("lrt", True, "e"), ("lte", False, "r")])
def test_copy_and_move_need_their_rights(office: Office, letters: str, moving: bool, lacks: str) -> None:
    office.put(office.an)
    office.open(office.an, office.binh, letters)
    with pytest.raises(Refused, match="no-permission") as caught:
        office.do(office.sharing.copy, office.binh, office.place(office.an, office.binh), [1], "INBOX", moving, NOW)
    assert caught.value.facts == {"right": lacks}
    office.put(office.binh)
    with refused("no-permission"):
        office.do(office.sharing.copy, office.binh, office.place(office.binh), [1], INBOX, False, NOW)
    with pytest.raises(Refused, match="no-such-mailbox") as caught:
        office.do(office.sharing.copy, office.binh, office.place(office.binh), [1], f"{OTHERS}/chi/INBOX", False, NOW)
    assert caught.value.facts["target"] is True


def test_what_has_no_room_does_not_come(office: Office) -> None:
    office.open(office.an, office.binh, "lrit")
    office.put(office.binh)
    office.do(lambda tx: tx.run("UPDATE store SET quota = 10 WHERE account_id = ?", office.an.account_id))
    with refused("over-quota"):
        office.do(office.sharing.copy, office.binh, office.place(office.binh), [1], INBOX, True, NOW)
    assert list(office.flags(office.place(office.binh))) == [1]


def test_flags_without_a_right_stay_behind(office: Office) -> None:
    office.open(office.an, office.binh, "li")
    office.put(office.binh, SEEN | FLAGGED | DELETED)
    office.do(message.store, office.binh.account_id, 1, [1], Op.ADD, 0, ("$x",), NOW)
    office.do(office.sharing.copy, office.binh, office.place(office.binh), [1], INBOX, False, NOW)
    (row,) = office.db.read_now(message.rows, office.an.account_id, 1, 1, 1)
    assert (row.flags, row.keywords) == (0, "")
    assert office.flags(office.place(office.an, office.binh)) == {1: 0}


def test_within_one_account_the_owners_seen_goes_along(office: Office) -> None:
    office.open(office.an, office.binh, "lrswite")
    office.do(office.sharing.create, office.an, "INBOX/x", "", NOW)
    number = office.db.read_now(mailbox.find, office.an.account_id, "INBOX/x").id  # type: ignore[union-attr]
    office.put(office.an, SEEN)
    office.put(office.an)
    source = office.place(office.an, office.binh)
    office.do(office.sharing.store, office.binh, source, [2], Op.ADD, SEEN, (), None)
    office.do(office.sharing.copy, office.binh, source, [1, 2], f"{INBOX}/x", True, NOW)
    assert office.flags(office.place(office.an, office.binh, number)) == {1: 0, 2: SEEN}
    assert office.flags(office.place(office.an, None, number)) == {1: SEEN, 2: 0}
    # onto itself
    inside = office.place(office.an, office.binh, number)
    office.do(office.sharing.copy, office.binh, inside, [1, 2], f"{INBOX}/x", True, NOW)
    assert office.flags(inside) == {3: 0, 4: SEEN}


def test_rights_taken_away_while_letters_move(engine_url: str, tmp_path: Path) -> None:
    """Whichever comes first: a letter moves with the right to it or stays. Writers of two processes."""
    first, second = (open_database(engine_url, data=tmp_path) for _ in range(2))
    try:
        first.migrate()
        office = Office(first)
        office.open(office.an, office.binh, "lrte")
        for _ in range(20):
            office.put(office.an)
        source = office.place(office.an, office.binh)
        moved: list[int] = []

        def move() -> None:
            for uid in range(1, 21):
                try:
                    second.write_now(office.sharing.copy, office.binh, source, [uid], "INBOX", True, NOW)
                except Refused as error:
                    assert error.code == "no-permission"
                    return
                moved.append(uid)

        thread = threading.Thread(target=move)
        thread.start()
        while len(moved) < 5 and thread.is_alive():
            pass
        office.open(office.an, office.binh, "l")
        there = first.read_now(mailbox.quota, office.binh.account_id).messages
        thread.join()
        # after SETACL was answered nothing moved any more
        assert first.read_now(mailbox.quota, office.binh.account_id).messages == there
        assert first.read_now(lambda tx: list(check.check(tx))) == []
    finally:
        first.close()
        second.close()


# the invariants are able to fail


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        (
            "INSERT INTO acl (account_id, mailbox_id, grantee_id, rights) VALUES ({an}, 99, {binh}, 'l')",
            "does not exist",
        ),
        ("INSERT INTO acl (account_id, mailbox_id, grantee_id, rights) VALUES ({an}, 1, {an}, 'l')", "its owner"),
        ("DELETE FROM share", "does not know of it"),
        ("DELETE FROM acl", "which it is not"),
        ("UPDATE mailbox SET readers = 0", "does not know"),
        ("DELETE FROM message", "that are not there"),
        ("UPDATE seen SET bits = x'00'", "that are not there"),
    ],
)
def test_what_is_wrong_is_found(tmp_path: Path, sql: str, says: str) -> None:
    db = open_database("sqlite:///congvu.db", data=tmp_path)
    try:
        db.migrate()
        office = Office(db)
        office.open(office.an, office.binh, "lrs")
        office.put(office.an)
        place = office.place(office.an, office.binh)
        office.do(office.sharing.store, office.binh, place, [1], Op.ADD, SEEN, (), None)
        office.do(lambda tx: tx.run(sql.format(an=office.an.account_id, binh=office.binh.account_id)))
        assert any(says in finding for finding in db.read_now(lambda tx: list(check.check(tx))))
    finally:
        db.close()


@pytest.mark.parametrize(
    ("sql", "left"),
    [
        ("INSERT INTO acl (account_id, mailbox_id, grantee_id, rights) VALUES ({an}, 99, {binh}, 'l')", "lrs"),
        ("INSERT INTO acl (account_id, mailbox_id, grantee_id, rights) VALUES ({an}, 1, {an}, 'l')", "lrs"),
        ("INSERT INTO acl (account_id, mailbox_id, grantee_id, rights) VALUES ({an}, 1, 4711, 'lrswipkxtea')", "lrs"),
        ("INSERT INTO share (account_id, owner_id, mailbox_id) VALUES ({chi}, {an}, 1)", "lrs"),
        ("INSERT INTO share (account_id, owner_id, mailbox_id) VALUES ({binh}, 4711, 1)", "lrs"),
        ("UPDATE acl SET rights = ''", ""),
        ("DELETE FROM share", "lrs"),
        ("DELETE FROM acl", ""),
        ("UPDATE mailbox SET readers = 0", "lrs"),
        ("UPDATE seen SET bits = ?", "lrs"),
        ("UPDATE seen SET mailbox_id = 99", "lrs"),
        ("UPDATE seen SET reader_id = account_id", "lrs"),
    ],
)
def test_what_is_wrong_is_mended(db: Database, sql: str, left: str) -> None:
    """An entry is what counts; nobody gets a right by it, and nobody who has one loses it."""
    office = Office(db)
    office.open(office.an, office.binh, "lrs")
    office.put(office.an)
    place = office.place(office.an, office.binh)
    office.do(office.sharing.store, office.binh, place, [1], Op.ADD, SEEN, (), None)
    names = {"an": office.an.account_id, "binh": office.binh.account_id, "chi": office.chi.account_id}
    bits = [b"\2\0\0\0\0\0\0\xff"] if "?" in sql else []
    office.do(lambda tx: tx.run(sql.format(**names), *bits))
    assert db.read_now(lambda tx: list(check.check(tx))) != []
    assert office.do(repair.share, "test", NOW) != []
    assert db.read_now(lambda tx: list(check.check(tx))) == []
    assert office.do(repair.share, "test", NOW) == []
    seat = office.seat(office.binh, INBOX)
    assert (seat.rights if seat else "") == left
    assert office.seat(office.chi, INBOX) is None
    assert [box.name for box in db.read_now(office.sharing.visible, office.chi)] == []
