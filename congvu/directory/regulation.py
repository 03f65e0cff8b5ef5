"""Which profile holds for whom: that of the nearest unit above that names one, else the server's.

Promises one statement an account, and that a unit that names a profile which cannot be read falls under the server's
(said once in the log) instead of stopping mail.
"""

from congvu.base.failure import Refused
from congvu.base.observe import log
from congvu.db.engine import Tx
from congvu.directory import profile as profiles
from congvu.directory.lifecycle import Rules, rules_of
from congvu.directory.profile import Profile
from congvu.directory.units import MAX_DEPTH

_UP = (
    "WITH RECURSIVE up (id, parent_id, profile, depth) AS ("
    "SELECT id, parent_id, profile, 0 FROM unit WHERE id = {} UNION ALL"
    " SELECT unit.id, unit.parent_id, unit.profile, up.depth + 1 FROM unit JOIN up ON unit.id = up.parent_id"
    " WHERE up.depth < {} AND up.profile = '') SELECT profile FROM up WHERE profile <> '' LIMIT 1"
)
_OF_UNIT = _UP.format("?", MAX_DEPTH)
_OF_ACCOUNT = _UP.format("(SELECT unit_id FROM account WHERE account.id = ?)", MAX_DEPTH)


class Regulation:
    """The server's own profile, and those that units name."""

    def __init__(self, default: Profile) -> None:
        self._default = default
        self._known: dict[str, Profile] = {"": default}
        self._rules: dict[str, Rules] = {}

    def of_unit(self, tx: Tx, unit_id: int | None) -> Profile:
        return self._default if unit_id is None else self._named(tx.one(_OF_UNIT, unit_id))

    def of_account(self, tx: Tx, account_id: int) -> Profile:
        return self._named(tx.one(_OF_ACCOUNT, account_id))

    def rules(self, profile: Profile) -> Rules:
        """Its numbers, worked out once."""
        found = self._rules.get(profile.name)
        if found is None:
            found = self._rules[profile.name] = rules_of(profile)
        return found

    def _named(self, row: tuple[str] | None) -> Profile:
        name = row[0] if row else ""
        found = self._known.get(name)
        if found is None:
            try:
                found = profiles.load(name)
            except Refused as trouble:
                log.error("the profile %s that a unit names cannot be read: %s", name, trouble.code)
                found = self._default
            self._known[name] = found
        return found
