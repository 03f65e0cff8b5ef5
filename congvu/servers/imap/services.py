"""What an IMAP session asks of the program, and of those that work for it: interfaces, so that a test can stand in.

Must never hold anything: who builds the objects is `main`, who uses them is `session` and the commands.
"""

from array import array
from collections.abc import Callable
from typing import Protocol

from congvu.actions.mail import Mail
from congvu.actions.sharing import Sharing
from congvu.base.clock import Clock
from congvu.base.config import Config
from congvu.base.observe import Secret
from congvu.codec.sasl import ScramKeys
from congvu.db.blobs import BlobKeeper
from congvu.db.engine import Database


class SignedIn(Protocol):
    """Who has proved to be whom."""

    @property
    def account_id(self) -> int: ...
    @property
    def address(self) -> str: ...
    @property
    def epoch(self) -> int: ...


class Doors(Protocol):
    """What is asked of `actions.accounts.Doors`."""

    async def sign_in(self, login: str, password: Secret, ip: str) -> SignedIn: ...
    async def scram_keys(self, login: str, ip: str) -> ScramKeys: ...
    async def signed_in(self, login: str, ip: str) -> SignedIn: ...
    def failed(self, login: str, ip: str) -> None: ...
    def present(self, known: SignedIn, end: Callable[[str], None]) -> Callable[[], None]: ...
    @property
    def takes_tokens(self) -> bool: ...
    async def token_good(self, login: str, token: Secret, ip: str) -> bool: ...


class Underway(Protocol):
    """Commands that have been read and whose answers are still to come (`append.Underway`)."""

    async def settled(self) -> None:
        """Waits until all of them are answered."""
        ...

    def cancel(self) -> None: ...


class Wake(Protocol):
    """What is asked of `db.wake.Wake`."""

    def listen(self, account_id: int, callback: Callable[[], None]) -> Callable[[], None]: ...


class Watch(Protocol):
    """What is asked of `notify.Watch`: what NOTIFY wants of the selected mailbox, and its own news."""

    @property
    def messages(self) -> bool: ...
    @property
    def flags(self) -> bool: ...
    @property
    def delayed(self) -> bool: ...
    async def look(self, now: bool) -> None: ...
    async def show(self, uids: "array[int]") -> None: ...
    def close(self) -> None: ...


class Services(Protocol):
    """What a session uses of the program."""

    @property
    def config(self) -> Config: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def db(self) -> Database: ...
    @property
    def blobs(self) -> BlobKeeper: ...
    @property
    def wake(self) -> Wake: ...
    @property
    def doors(self) -> Doors: ...
    @property
    def mail(self) -> Mail: ...
    @property
    def sharing(self) -> Sharing: ...
