"""A mailbox of known letters and a session without a connection, for tests of FETCH and SEARCH."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from congvu.base.clock import Identifiers, ManualClock
from congvu.base.config import Config
from congvu.codec import imap_parse, imap_search, mime
from congvu.codec.imap_words import Words
from congvu.db import open_blobs, open_database
from congvu.db.blobs import BlobKeeper
from congvu.db.engine import Database
from congvu.mailstore import changes, check, mailbox, message, search
from congvu.mailstore.message import NewLetter, Target
from congvu.servers.imap import fetch, session, sort
from congvu.servers.imap import search as search_command
from congvu.servers.imap.session import Done, Session
from congvu.servers.imap.view import Selected

NOW = 1_790_000_000
PREFIX = b"Received: by mail.angiang.gov.vn\r\n"


@dataclass
class FakeStream:
    """Keeps what is written."""

    peer: str = "127.0.0.1"
    out: bytearray = field(default_factory=bytearray)
    drained: int = 0
    most: int = 0  # the largest single write
    aborted: bool = False
    congested: bool = False
    closed: bool = False

    def write(self, data: bytes) -> None:
        self.out += data
        self.most = max(self.most, len(data))

    async def drain(self) -> None:
        self.drained += 1
        await asyncio.sleep(0)

    def abort(self) -> None:
        self.aborted = True


@dataclass
class Box:
    """Account 1 with its INBOX."""

    db: Database
    blobs: BlobKeeper
    data: Path
    clock: ManualClock = field(default_factory=ManualClock)
    ids: Identifiers = field(default_factory=lambda: Identifiers(ManualClock()))
    config: Config = field(default_factory=lambda: Config(domains=("angiang.gov.vn",), hostname="mail.angiang.gov.vn"))
    stream: FakeStream = field(default_factory=FakeStream)
    enabled: tuple[str, ...] = ()
    read_only: bool = False
    recent_from: int = 1 << 31
    view: Selected | None = None

    def put(self, content: bytes, received: float = NOW, flags: int = 0, keywords: tuple[str, ...] = ()) -> int:
        """Returns the letter's id; UIDs count from 1."""
        with self.blobs.spool() as spool:
            spool.write(content)
            blob = self.blobs.put_many([spool.buffer()])[0]
        letter = NewLetter(self.ids.draw(), blob, PREFIX, mime.scan(content))

        def f(tx: Any) -> None:
            message.keep_letter(tx, letter, NOW)
            message.place(tx, letter, [Target(1, 1, flags, keywords)], received, NOW)

        self.db.write_now(f)
        self.view = None
        return letter.id

    def select(self) -> Selected:
        uids = self.db.read_now(message.uids, 1, 1)
        modseq = self.db.read_now(changes.highest, 1)
        box = self.db.read_now(mailbox.get, 1, 1)
        self.view = Selected(1, 1, 1, uids, modseq, read_only=self.read_only, recent_from=self.recent_from)
        self.view.keywords = box.keywords if box is not None else ()
        return self.view

    def do(self, run: Callable[[Session], Awaitable[Done]]) -> tuple[bytes, Done]:
        async def go() -> Done:
            made = Session(self.stream, self, {}, None)  # type: ignore[arg-type]  # stand-ins
            made.enable(*self.enabled)
            made.selected = self.view or self.select()
            made.state = session.State.SELECTED
            made.tag = "t1"
            try:
                return await run(made)
            finally:
                self.enabled = tuple(made.enabled)

        self.stream.out.clear()
        done = asyncio.run(go())
        return bytes(self.stream.out), done

    def fetch(self, command: str, by_uid: bool = False) -> tuple[bytes, Done]:
        """`command`: the arguments of FETCH."""
        said = imap_parse.fetch(Words(b" " + command.encode()))
        return self.do(
            lambda s: fetch.run(s, s.view().resolve(said.set, by_uid), said.items, said.changed_since, by_uid)
        )

    def search(self, command: str, by_uid: bool = True) -> tuple[bytes, Done]:
        said = imap_search.search(Words(b" " + command.encode()))
        return self.do(lambda s: search_command.run(s, said, by_uid))

    def found(self, command: str) -> list[int]:
        """The UIDs of an untagged SEARCH."""
        out, _ = self.search(command)
        assert out.startswith(b"* SEARCH") and out.endswith(b"\r\n")
        return [int(word) for word in out.split()[2:]]

    def sort(self, command: str, by_uid: bool = True) -> bytes:
        said = imap_search.sort(Words(b" " + command.encode()))
        return self.do(lambda s: (sort.uid_sort if by_uid else sort.sort)(s, said))[0]

    def thread(self, command: str, by_uid: bool = True) -> bytes:
        said = imap_search.thread(Words(b" " + command.encode()))
        return self.do(lambda s: (sort.uid_thread if by_uid else sort.thread)(s, said))[0]

    def index(self) -> None:
        asyncio.run(search.Indexer(self.db, self.blobs).sweep())


@contextmanager
def opened(data: Path) -> Iterator[Box]:
    db = open_database("sqlite:///congvu.db", data=data)
    db.migrate()
    db.write_now(mailbox.create_store, 1, 0, NOW)
    blobs = open_blobs("file:blobs", data=data, worker="test")
    yield Box(db, blobs, data)
    findings = db.read_now(lambda tx: [f for f in check.check(tx) if "primary" not in f])
    assert findings == []
    blobs.close()
    db.close()
