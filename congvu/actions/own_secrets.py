"""What changing one's own password reads and writes; the door itself is `accounts.Doors.change_own_password`.

Gather, decide, keep: the checks between the two cost an argon2 each and stand outside of any transaction, so `keep`
asks again whether the secret is still the one that was proved.
"""

from congvu.base.failure import Refused
from congvu.db.engine import Tx
from congvu.directory import credentials, passwords, people, roles
from congvu.directory.credentials import Stored
from congvu.directory.passwords import Demands, Holder
from congvu.directory.regulation import Regulation
from congvu.directory.roles import Actor


def asked(tx: Tx, rules: Regulation | None, account_id: int) -> tuple[Demands, Holder, list[str]]:
    """What is asked of a new password, whose it is, and the hashes it may not have."""
    account = people.get(tx, account_id)
    if account is None:
        raise Refused("no-such-account", address="")
    person = people.persons(tx, [account_id]).get(account_id)
    demands = Demands()
    if rules is not None:
        admin = tx.one("SELECT 1 FROM role WHERE account_id = ? LIMIT 1", account_id) is not None
        demands = passwords.demands_of(rules.of_account(tx, account_id), admin, second_factor=False)
    holder = Holder(account.address, account.name, person.birth if person else "")
    return demands, holder, credentials.past(tx, account_id)


def replace_own(tx: Tx, account_id: int, was: str, new: Stored, history: int, ip: str, now: float) -> None:
    """Raises `Refused("password-changed-meanwhile")`."""
    held = credentials.get(tx, account_id)
    account = people.get(tx, account_id)
    if held is None or account is None or held.hash != was:
        raise Refused("password-changed-meanwhile")
    credentials.put(tx, account_id, new, now, history)
    people.end_sessions(tx, account_id, now)
    who = Actor(account.address, account_id, ip)
    roles.note(tx, who, "account.own-password", now, on=account_id)
