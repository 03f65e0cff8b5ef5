"""Somebody in a mailbox of another's: what they may do there is asked anew with every command.

The rules are `actions.sharing`'s; here stands only who asks, for which mailbox. One's own mailboxes have no guest.
"""

from congvu.actions.sharing import Sharing, Standing, Who
from congvu.base.failure import Refused
from congvu.db.engine import Database


class Guest:
    """Who has opened whose mailbox, by which rules."""

    __slots__ = ("_account_id", "_db", "_mailbox_id", "sharing", "who")

    def __init__(self, db: Database, sharing: Sharing, who: Who, account_id: int, mailbox_id: int) -> None:
        self._db = db
        self.sharing = sharing
        self.who = who
        self._account_id = account_id
        self._mailbox_id = mailbox_id

    async def standing(self) -> Standing:
        return await self._db.look(self.sharing.standing, self.who, self._account_id, self._mailbox_id)

    async def still_reads(self) -> None:
        """Raises `Refused("access-ended")`. Says nothing itself, so it may be asked in the middle of an answer."""
        if "r" not in (await self.standing()).rights:
            raise Refused("access-ended")


def lacking(rights: str, needed: str | None) -> Refused | None:
    """Why a command that needs these rights cannot be run with those. `needed` None: it is for owners only."""
    if needed is None:
        return Refused("not-for-others")
    missing = next((right for right in needed if right not in rights), None)
    if missing is None:
        return None
    return Refused("access-ended") if missing == "r" else Refused("no-permission", right=missing)
