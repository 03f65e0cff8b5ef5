"""A delivery and a directory of a few words, for dialogs that are about the protocol alone."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from congvu.base.failure import NotNow, Refused
from congvu.base.observe import Secret
from congvu.codec.sasl import ScramKeys, derive_keys
from congvu.delivery.inbound import Arriving, Peer, Recipient

PASSWORD = "mật khẩu 1"
KEYS = derive_keys(PASSWORD, b"salt of the tests", 4096)


@dataclass(frozen=True, slots=True)
class Person:
    account_id: int = 1
    address: str = "an@xa.test"
    name: str = "An"
    epoch: int = 0


class FakeSpool:
    def __init__(self, blobs: "FakeBlobs") -> None:
        self._blobs = blobs
        self.data = bytearray()
        blobs.open += 1
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.data += data
        if b"ENOSPC" in self.data:
            raise NotNow("disk-full")

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._blobs.open -= 1


class FakeBlobs:
    def __init__(self) -> None:
        self.open = 0

    def spool(self) -> FakeSpool:
        return FakeSpool(self)


@dataclass
class FakeInbound:
    """Knows an@ binh@ cham@ đạt@ u…@xa.test; day@ is full, cu@ revoked. A letter "X-Fail: code" fails so."""

    letters: list[tuple[Arriving, bytes]] = field(default_factory=list)
    asked: list[list[str]] = field(default_factory=list)

    async def may_send(self, peer: Peer, sender: str) -> None:
        if peer.signed_in is not None and sender != "an@xa.test":
            raise Refused("not-your-address", address=sender)

    async def may_receive(self, peer: Peer, sender: str, wanted: Sequence[str]) -> list[Recipient | Refused | NotNow]:
        self.asked.append(list(wanted))
        await asyncio.sleep(0)
        return [self._one(peer, address) for address in wanted]

    def _one(self, peer: Peer, address: str) -> Recipient | Refused | NotNow:
        local, _, domain = address.rpartition("@")
        if address == "postmaster" or (domain == "xa.test" and local in {"an", "binh", "cham", "đạt"}):
            return Recipient(address, len(local))
        if domain == "xa.test" and local.startswith("u"):
            return Recipient(address, 9)
        if domain == "xa.test":
            if local == "day":
                return NotNow("mailbox-full", address=address)
            return Refused("address-revoked" if local == "cu" else "no-such-address", address=address)
        return Recipient(address, None) if peer.signed_in is not None else Refused("relay-denied", address=address)

    async def take(self, letter: Arriving) -> list[Refused | NotNow | None]:
        data = bytes(letter.spool.data)  # type: ignore[attr-defined]  # the fake's
        await asyncio.sleep(0)
        first = data.partition(b"\r\n")[0].decode("utf-8", "replace")
        if first.startswith("X-Fail: "):
            code = first[8:]
            if code == "bug":
                raise ZeroDivisionError
            raise NotNow(code) if code in {"disk-full", "storage-trouble"} else Refused(code)
        self.letters.append((letter, data))
        return [Refused("over-quota") if r.address == "cham@xa.test" else None for r in letter.recipients]


@dataclass
class FakeDoors:
    failures: list[tuple[str, str]] = field(default_factory=list)
    ends: list[Callable[[str], None]] = field(default_factory=list)  # of the sessions that began

    async def sign_in(self, login: str, password: Secret, ip: str) -> Person:
        if login == "mai@xa.test":
            raise NotNow("too-many-attempts")
        if login == "moi@xa.test":
            raise Refused("password-must-change")
        if login == "khoa@xa.test":
            raise Refused("account-locked")
        if login != "an@xa.test" or password.reveal() != PASSWORD:
            raise Refused("bad-credentials")
        return Person()

    async def scram_keys(self, login: str, ip: str) -> ScramKeys:
        if login == "an@xa.test":
            return KEYS
        return ScramKeys(b"invented salt", 4096, b"x" * 32, b"y" * 32)

    async def signed_in(self, login: str, ip: str) -> Person:
        return Person()

    def failed(self, login: str, ip: str) -> None:
        self.failures.append((login, ip))

    def present(self, known: object, end: Callable[[str], None]) -> Callable[[], None]:
        self.ends.append(end)
        return lambda: None
