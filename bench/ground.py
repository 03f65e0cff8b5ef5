"""What all workloads stand on: options, letters, the generators, a signed-in connection for each person."""

import argparse
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import corpus
from bench.client import Imap, sign_in
from bench.servers import Server

HERE = Path(__file__).parent
PATIENCE = 300  # seconds for letters to become visible
AT_ONCE = 20  # sign-ins under way: each may cost the server a password hash
Numbers = dict[str, float]


@dataclass(frozen=True, slots=True)
class Measure:
    """A line of the table."""

    title: str
    key: str
    more_is_better: bool = False
    compared: bool = True  # False: the figure says something, the ratio does not


@dataclass(frozen=True, slots=True)
class Workload:
    """`run` measures one server once. `rounds`: how often at most. `variants`: the peer's variants too?"""

    run: Callable[["Ground", Server], Numbers]
    measures: tuple[Measure, ...]
    rounds: int = 100
    variants: bool = False


class Ground:
    """One run over all servers."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.round = 0
        self.letters = folder / "letters"
        corpus.write(self.letters, corpus.letters(1000, 10_240))
        self.small = corpus.letters(500, 4096, seed=2)
        self._seen: dict[tuple[str, int], int] = {}  # letters in each INBOX so far
        self._watchers: dict[tuple[str, int], Imap] = {}

    def generator(self, name: str) -> str:
        """The C program `name`, made on first use."""
        program = self.folder / name
        if not program.exists():
            subprocess.run(["gcc", "-O2", "-Wall", "-o", str(program), str(HERE / f"{name}.c")], check=True)
        return str(program)

    def watchers(self, server: Server, users: Sequence[int]) -> list[Imap]:
        """A signed-in connection for each. What a first sign-in costs is paid here, before anything is measured."""
        missing = [user for user in users if (server.name, user) not in self._watchers]
        for start in range(0, len(missing), AT_ONCE):
            part = [(user, Imap(server.imap)) for user in missing[start : start + AT_ONCE]]
            tags = [client.begin(sign_in(user)) for user, client in part]
            for (user, client), tag in zip(part, tags, strict=True):
                client.end(tag)
                self._watchers[server.name, user] = client
        return [self._watchers[server.name, user] for user in users]

    def leave(self, server: Server) -> None:
        """Closes the connections of `watchers`."""
        for key in [key for key in self._watchers if key[0] == server.name]:
            self._watchers.pop(key).close()

    def await_letters(self, server: Server, more: dict[int, int]) -> float:
        """Waits until each of these people has so many letters more in INBOX; the time when the last was there.

        While some are missing a few people are asked, so that watching costs the server little.
        """
        clients = dict(zip(more, self.watchers(server, list(more)), strict=True))
        wanted = {user: self._seen.get((server.name, user), 0) + count for user, count in more.items()}
        waiting, few, end = list(more), 10, time.monotonic() + PATIENCE
        while waiting:
            asked = [(user, clients[user].begin("STATUS INBOX (MESSAGES)")) for user in waiting[:few]]
            done = {user for user, tag in asked if b"MESSAGES %d)" % wanted[user] in clients[user].end(tag)[0]}
            waiting = [user for user in waiting if user not in done]
            few = 200 if len(done) == len(asked) else 10
            if len(done) < len(asked):
                if time.monotonic() > end:
                    raise RuntimeError(f"{server.name}: {len(waiting)} people miss letters")
                time.sleep(0.02)
        self._seen.update({(server.name, user): count for user, count in wanted.items()})
        return time.monotonic()

    def forget_letters(self, server: Server, users: Sequence[int]) -> None:
        """Counts anew what lies in these people's INBOX; other ways than `await_letters` have filled it."""
        for user, client in zip(users, self.watchers(server, users), strict=True):
            self._seen[server.name, user] = client.count()
