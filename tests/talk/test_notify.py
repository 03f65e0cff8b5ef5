"""NOTIFY: which group speaks of a mailbox, bounds, overflow, lost hints; its words as they are read."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from congvu.actions.sharing import Sharing
from congvu.base.failure import NotNow, Refused
from congvu.codec.imap import FetchItem
from congvu.codec.imap_notify import Group, Notify, Which
from congvu.codec.imap_notify import notify as read
from congvu.codec.imap_words import Bad, Words
from congvu.directory.profile import Profile
from congvu.mailstore import mailbox, message, metadata
from congvu.mailstore.metadata import ACCOUNT, Entry
from congvu.servers.imap import notify, watched
from congvu.servers.imap.session import Session
from tests.talk.letters import NOW, Box, opened


class FakeWake:
    """Counts who listens."""

    def __init__(self) -> None:
        self.listening = 0

    def listen(self, account_id: int, callback: Callable[[], None]) -> Callable[[], None]:
        self.listening += 1

        def stop() -> None:
            self.listening -= 1

        return stop


BOTH = frozenset({"MESSAGENEW", "MESSAGEEXPUNGE"})


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (b" NONE", Notify(())),
        (b" set (selected NONE)", Notify((Group(Which.SELECTED, frozenset(), frozenset()),))),
        (
            b" SET STATUS (SELECTED-DELAYED (MessageNew (UID PREVIEW (LAZY)) MessageExpunge))"
            b" (mailboxes x (MailboxName))",
            Notify(
                (
                    Group(Which.SELECTED_DELAYED, frozenset(), BOTH, (FetchItem("UID"), FetchItem("PREVIEW"))),
                    Group(Which.MAILBOXES, frozenset({"x"}), frozenset({"MAILBOXNAME"})),
                ),
                status=True,
            ),
        ),
        (
            b' SET (subtree ("a b" {1+}\r\nc) NONE)',
            Notify((Group(Which.SUBTREE, frozenset({"a b", "c"}), frozenset()),)),
        ),
    ],
)
def test_words(text: bytes, wanted: Notify) -> None:
    assert read(Words(text)) == wanted


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ALL",
        b" NONE x",
        b" SET",
        b" SET STATUS",
        b" SET (PERSONAL)",
        b" SET (PERSONAL ())",
        b" SET (PERSONAL (MessageNew ()))",
        b" SET (PERSONAL (MessageNew MessageExpunge)",
        b" SET (MAILBOXES () NONE)",
        b" SET (MAILBOXES (a)",
        b" SET" + b" (PERSONAL NONE)" * 21,
        b" SET (MAILBOXES (" + b"a " * 2001 + b"a) NONE)",
        b" SET (PERSONAL (" + b"x " * 30 + b"x))",
    ],
)
def test_what_is_not_notify(text: bytes) -> None:
    with pytest.raises(Bad):
        read(Words(text))


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with opened(tmp_path) as box:
        box.wake = FakeWake()  # type: ignore[attr-defined]  # only NOTIFY asks for these here
        box.sharing = Sharing(box.config, Profile("test", {}))  # type: ignore[attr-defined]
        yield box


def watching(box: Box, text: bytes, then: list[str], expect: list[bytes]) -> None:
    """NOTIFY, then what happens (`do` of this module's table), then a look; `expect`: the lines told by it."""

    async def go(session: Session) -> notify.Done:
        session.account_id = 1
        await notify.notify(session, read(Words(text)))
        assert session.watch is not None
        for what in then:
            HAPPENS[what](box)
        box.stream.out.clear()
        session.selected = None
        await session.watch.look(now=True)
        session.unwatch()
        return notify.Done()

    out, _ = box.do(go)
    assert [line.split(b" (")[0] for line in out.split(b"\r\n")[:-1]] == expect


PRIVATE, SHARED = Entry("/comment", True), Entry("/comment", False)


def note(box: Box, number: int, reader: int, each: Entry, value: bytes | None) -> None:
    box.db.write_now(metadata.put, 1, number, reader, [(each, value)])


HAPPENS = {
    "note": lambda box: note(box, mailbox.INBOX, 1, PRIVATE, b"a"),
    "no note": lambda box: note(box, mailbox.INBOX, 1, PRIVATE, None),
    "shared note": lambda box: note(box, mailbox.INBOX, 1, SHARED, b"a"),
    "their note": lambda box: note(box, mailbox.INBOX, 2, PRIVATE, b"a"),
    "account note": lambda box: note(box, ACCOUNT, 1, PRIVATE, b"a"),
    "letter": lambda box: box.put(b"\r\n"),
    "flag": lambda box: box.db.write_now(message.store, 1, 1, [1], message.Op.ADD, message.FLAGGED, (), NOW),
    "mailbox": lambda box: box.db.write_now(mailbox.create, 1, "a/b/c", NOW),
    "copy": lambda box: box.db.write_now(message.copy, 1, 1, [1], box.db.read_now(mailbox.find, 1, "a/b").id, NOW),
}


@pytest.mark.parametrize(
    ("groups", "expect"),
    [
        ("(SUBTREE a (MessageNew MessageExpunge))", [b"* STATUS a/b"]),
        ("(SUBTREE a/b/c (MessageNew MessageExpunge))", []),
        ("(MAILBOXES a (MessageNew MessageExpunge))", []),
        ("(MAILBOXES (iNbOx a/b) (MessageNew MessageExpunge))", [b"* STATUS INBOX", b"* STATUS a/b"]),
        ("(MAILBOXES a/b NONE) (PERSONAL (MessageNew MessageExpunge))", [b"* STATUS INBOX"]),
        ("(MAILBOXES a/b (MailboxName)) (PERSONAL (MessageNew MessageExpunge))", [b"* STATUS INBOX", b"* STATUS a/b"]),
        ("(PERSONAL (MessageNew MessageExpunge)) (MAILBOXES a/b NONE)", [b"* STATUS INBOX", b"* STATUS a/b"]),
        ("(INBOXES (MessageNew MessageExpunge))", [b"* STATUS INBOX"]),
        ("(SUBSCRIBED (MessageNew MessageExpunge))", [b"* STATUS INBOX"]),
        ("(INBOXES (MailboxName))", []),
        ("(SELECTED (MessageNew MessageExpunge))", []),
    ],
)
def test_groups(box: Box, groups: str, expect: list[bytes]) -> None:
    box.db.write_now(mailbox.create, 1, "a/b", NOW)
    watching(box, f" SET {groups}".encode(), ["letter", "letter", "flag", "copy"], expect)


def test_flags_are_told_to_who_asked(box: Box) -> None:
    box.put(b"\r\n")
    watching(box, b" SET (INBOXES (MessageNew MessageExpunge))", ["flag"], [])
    watching(box, b" SET (INBOXES (MessageNew MessageExpunge FlagChange))", ["flag"], [])  # it is so already
    box.db.write_now(message.store, 1, 1, [1], message.Op.SET, 0, (), NOW)
    watching(box, b" SET (INBOXES (MessageNew MessageExpunge FlagChange))", ["flag"], [b"* STATUS INBOX"])


def test_parents_that_are_made_are_told(box: Box) -> None:
    told = [b"* LIST", b"* LIST", b"* LIST"]
    watching(box, b" SET (SUBTREE a (MailboxName))", ["mailbox"], told)


def test_too_much_is_not_told(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "LOG_ROWS", 2)
    asked = b" SET (PERSONAL (MessageNew MessageExpunge))"
    watching(box, asked, ["letter", "letter"], [b"* STATUS INBOX"])
    watching(
        box,
        asked,
        ["letter", "letter", "letter"],
        [b"* OK [NOTIFICATIONOVERFLOW] Too much happened to tell; no more notifications"],
    )
    assert not box.wake.listening  # type: ignore[attr-defined]


def test_a_look_that_fails_is_made_up_for(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    async def go(session: Session) -> notify.Done:
        session.account_id = 1
        await notify.notify(session, read(Words(b" SET (PERSONAL (MessageNew MessageExpunge))")))
        watch = session.watch
        assert watch is not None
        session.selected = None
        box.put(b"\r\n")

        async def fails(*_: object) -> None:
            raise NotNow("storage-trouble")

        with monkeypatch.context() as patch:
            patch.setattr(box.db, "read", fails)
            await watch.look(now=True)
        assert not box.stream.out
        await watch.look(now=False)
        assert box.stream.out.startswith(b"* STATUS INBOX (MESSAGES 1 ")
        session.unwatch()
        return notify.Done()

    box.do(go)


def test_unknown_events_are_refused(box: Box) -> None:
    with pytest.raises(Refused, match="bad-event"):
        watching(box, b" SET (PERSONAL (MailboxSneezed))", [], [])


@pytest.mark.parametrize(
    ("groups", "expect"),
    [
        ("(PERSONAL (MailboxMetadataChange))", [b'* METADATA INBOX "/shared/comment" "/private/comment"']),
        ("(INBOXES (ServerMetadataChange))", [b'* METADATA "" "/private/comment"']),
        ("(INBOXES NONE) (PERSONAL (MailboxMetadataChange))", []),
        ("(PERSONAL (MailboxName))", []),
    ],
)
def test_notes_are_told_to_who_asked(box: Box, groups: str, expect: list[bytes]) -> None:
    happens = ["note", "shared note", "their note", "account note"]
    watching(box, f" SET {groups}".encode(), happens, expect)


def test_notes_that_are_as_before_are_not_told(box: Box) -> None:
    asked = b" SET (PERSONAL (MailboxMetadataChange))"
    watching(box, asked, ["note", "no note"], [])
    HAPPENS["note"](box)
    watching(box, asked, ["note"], [])
    watching(box, asked, ["no note"], [b'* METADATA INBOX "/private/comment"'])


def test_many_notes_are_told_in_several_lines(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "NAMES", 1)
    expect = [b'* METADATA INBOX "/private/comment"', b'* METADATA INBOX "/shared/comment"']
    watching(box, b" SET (PERSONAL (MailboxMetadataChange))", ["note", "shared note"], expect[::-1])


def test_what_was_known_of_a_mailbox_goes_with_it(box: Box) -> None:
    made = box.db.write_now(mailbox.create, 1, "x", NOW)
    box.db.write_now(metadata.put, 1, made.id, 1, [(PRIVATE, b"a")])

    async def go(session: Session) -> notify.Done:
        session.account_id = 1
        await notify.notify(session, read(Words(b" SET (PERSONAL (MailboxMetadataChange))")))
        watch = session.watch
        assert watch is not None and watch._notes is not None
        assert list(watch._notes) == [(1, made.id)]
        box.db.write_now(mailbox.delete, 1, "x", NOW)
        await watch.look(now=True)
        assert not watch._notes
        session.unwatch()
        return notify.Done()

    box.do(go)
