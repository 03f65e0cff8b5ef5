r"""Mailboxes that several people open: who may do what with whose, how they are called, whose \Seen counts.

`who` is the first argument after the transaction. Every function that acts holds the owner's account, decides by the
rights as they then stand, and acts in the same transaction: a right taken away is gone for whatever commits later.
Where somebody may not even know of a mailbox, the answer is that of a mailbox that does not exist. An account that may
not sign in reaches nobody's mailboxes, and nobody but its owner reaches its own. Changes of rights are audited.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from congvu.base.config import Config
from congvu.base.failure import Refused
from congvu.codec.imap_acl import ALL, Change, changed, ordered
from congvu.db import audit
from congvu.db.engine import Tx
from congvu.directory import addresses, lifecycle, people
from congvu.directory.lifecycle import Act
from congvu.directory.people import Account, Kind
from congvu.directory.profile import Profile
from congvu.mailstore import across, append, changes, mailbox, message, metadata, rights, seen
from congvu.mailstore.across import Place
from congvu.mailstore.append import Added, Adding
from congvu.mailstore.mailbox import Mailbox
from congvu.mailstore.message import Copied, Op, Stored
from congvu.mailstore.rights import ANYONE

# Under which names other people's mailboxes are found, and those of organisations, units and functions (RFC 2342).
OTHERS = "Người khác"
COMMON = "Dùng chung"
EVERYBODY = "anyone"  # rfc4314 2


@dataclass(frozen=True, slots=True)
class Who:
    """Who acts. `address`: the one given at sign-in."""

    account_id: int
    address: str


@dataclass(frozen=True, slots=True)
class Seat:
    r"""One person's place before a mailbox. `box` bears the name under which this person finds it; `inner` is the name
    its owner reads; `reader` as in `across.Place`."""

    account_id: int
    box: Mailbox
    inner: str
    rights: str
    reader: int = 0

    @property
    def place(self) -> Place:
        return Place(self.account_id, self.box.id, self.reader)


@dataclass(frozen=True, slots=True)
class Standing:
    r"""What somebody may do in a mailbox of another's, and whose \Seen counts there."""

    rights: str
    reader: int


NOTHING = Standing("", 0)


class Sharing:
    """The rules of one server: its domains and its regulation profile."""

    def __init__(self, config: Config, profile: Profile) -> None:
        self._config = config
        self._anyone = profile.share_with_anyone
        self._one_seen = profile.one_seen

    # names

    def elsewhere(self, name: str) -> bool:
        """Does this name lead, or would it lead, to a mailbox of somebody else?"""
        return name.partition("/")[0] in {OTHERS, COMMON}

    def _split(self, name: str) -> tuple[str, str, str]:
        """Namespace, address of the owner, the owner's name of the mailbox; a missing part is empty."""
        space, _, rest = name.partition("/")
        user, _, inner = rest.partition("/")
        if user and "@" not in user:
            user = f"{user}@{self._config.domains[0]}"
        return space, user, inner

    def _prefix(self, owner: Account) -> str:
        local, _, domain = owner.address.rpartition("@")
        user = local if domain == self._config.domains[0] else owner.address
        return f"{_space(owner.kind)}/{user}/"

    # finding

    def find(self, tx: Tx, who: Who, name: str) -> Seat | None:
        """The mailbox of that name with this person's rights, when there is one and they have any."""
        # A mailbox of one's own that was so named before these names had a meaning is not hidden by them.
        own = mailbox.find(tx, who.account_id, name)
        if own is not None or not self.elsewhere(name):
            return Seat(who.account_id, own, own.name, ALL) if own else None
        space, user, inner = self._split(name)
        held = addresses.exact(tx, user) if user and inner else None
        if held is None or held.account_id == who.account_id:
            return None
        box = mailbox.find(tx, held.account_id, inner)
        owner = self._owner(tx, who, held.account_id)
        if box is None or owner is None or _space(owner.kind) != space:
            return None
        standing = self._standing(tx, who, owner, box.id)
        return self._seat(owner, box, standing) if standing.rights else None

    def need(self, tx: Tx, who: Who, name: str, right: str) -> Seat:
        """The mailbox, when this person has that right there. Raises `Refused`: no-such-mailbox, no-permission."""
        seat = self.find(tx, who, name)
        if seat is None or (right not in seat.rights and "l" not in seat.rights):
            raise Refused("no-such-mailbox", name=name[:100])
        if right not in seat.rights:
            raise Refused("no-permission", right=right)
        return seat

    def standing(self, tx: Tx, who: Who, account_id: int, mailbox_id: int) -> Standing:
        """What this person may do now in a mailbox of another's that was opened before."""
        owner = self._owner(tx, who, account_id)
        return self._standing(tx, who, owner, mailbox_id) if owner else NOTHING

    def visible(self, tx: Tx, who: Who) -> list[Seat]:
        """All mailboxes of others that this person may know of ("l"), by name."""
        opened = rights.opened_to(tx, self._grantees(who))
        opened.pop(who.account_id, None)
        if not opened or not self._may_act(tx, who):
            return []
        owners = {o.id: o for o in people.some(tx, list(opened)) if lifecycle.may(o.state, Act.SIGN_IN)}
        held = rights.held_of(tx, list(owners), self._grantees(who))
        found = [
            self._seat(owners[owner], box, Standing(ordered(held[owner, box.id]), self._reader(who, owners[owner])))
            for owner, box in mailbox.of_accounts(tx, {owner: opened[owner] for owner in owners})
            if "l" in held.get((owner, box.id), ())
        ]
        return sorted(found, key=lambda seat: seat.box.name)

    def counted(self, tx: Tx, who: Who, seats: Sequence[Seat]) -> list[Seat]:
        r"""The same seats of others' mailboxes with the counters that this person is told: \Seen is their own, \Recent
        the owner's."""
        places = [(seat.account_id, seat.box.id) for seat in seats if seat.reader]
        read = seen.counts(tx, places, who.account_id) if places else {}
        found = []
        for seat in seats:
            box = replace(seat.box, recent_from=seat.box.uid_next)
            if seat.reader:
                box = replace(box, unseen=box.messages - read.get((seat.account_id, box.id), 0))
            found.append(replace(seat, box=box))
        return found

    def has_children(self, tx: Tx, who: Who, seat: Seat) -> bool:
        """Are there mailboxes below this one that the person may know of?"""
        below = mailbox.below(tx, seat.account_id, seat.inner)
        if seat.account_id == who.account_id or not below:
            return bool(below)
        held = rights.held_of(tx, [seat.account_id], self._grantees(who))
        return any("l" in held.get((seat.account_id, number), ()) for number in below)

    def _seat(self, owner: Account, box: Mailbox, standing: Standing) -> Seat:
        # Roles are the owner's: a program must not put its own drafts into somebody else's.
        named = replace(box, name=self._prefix(owner) + box.name, role="", subscribed=False)
        return Seat(owner.id, named, box.name, standing.rights, standing.reader)

    def _grantees(self, who: Who) -> list[int]:
        return [who.account_id, ANYONE] if self._anyone else [who.account_id]

    def _owner(self, tx: Tx, who: Who, owner_id: int) -> Account | None:
        """Whose mailboxes are asked for, when both they and who asks may act."""
        known = {a.id: a for a in people.some(tx, [owner_id, who.account_id]) if lifecycle.may(a.state, Act.SIGN_IN)}
        return known.get(owner_id) if who.account_id in known else None

    def _may_act(self, tx: Tx, who: Who) -> bool:
        return any(lifecycle.may(a.state, Act.SIGN_IN) for a in people.some(tx, [who.account_id]))

    def _standing(self, tx: Tx, who: Who, owner: Account, mailbox_id: int) -> Standing:
        held = rights.held(tx, owner.id, mailbox_id, self._grantees(who))
        return Standing(ordered(held), self._reader(who, owner)) if held else NOTHING

    def _reader(self, who: Who, owner: Account) -> int:
        return 0 if owner.kind in self._one_seen else who.account_id

    def _held(self, tx: Tx, who: Who, name: str, right: str) -> Seat:
        """`need`, with the owner's account held: what is found stays so until the transaction ends."""
        changes.hold(tx, [self.need(tx, who, name, right).account_id])
        return self.need(tx, who, name, right)

    # mailboxes

    def create(self, tx: Tx, who: Who, name: str, role: str, now: float) -> tuple[int, Mailbox]:
        """A new mailbox and whose it is; in another's account under one where this person has "k". It is opened to
        whom its parent is.

        Raises `Refused` as `mailbox.create` does; no-permission.
        """
        if not self.elsewhere(name):
            return self._create(tx, who, who.account_id, name, role, now)
        above = self._above(tx, who, name.removesuffix("/"))
        if above is None or "k" not in above.rights:
            raise Refused("no-permission", right="k")
        changes.hold(tx, [above.account_id])
        if "k" not in self.standing(tx, who, above.account_id, above.box.id).rights:
            raise Refused("no-permission", right="k")
        try:
            return self._create(tx, who, above.account_id, self._split(name)[2], role, now)
        except Refused as refused:
            there = self.find(tx, who, name.removesuffix("/")) if refused.code == "mailbox-exists" else None
            if refused.code == "mailbox-exists" and (there is None or "l" not in there.rights):
                raise Refused("no-permission", right="k") from None
            raise

    def _create(self, tx: Tx, who: Who, account_id: int, name: str, role: str, now: float) -> tuple[int, Mailbox]:
        box = mailbox.create(tx, account_id, name, now, role)
        opened = rights.entries(tx, account_id, box.id)
        if opened or account_id != who.account_id:
            facts = {"owner": account_id, "mailbox": box.name, "opened_to": len(opened)}
            audit.record(tx, who.address, "share.create", facts, now)
        return account_id, box

    def _above(self, tx: Tx, who: Who, name: str) -> Seat | None:
        """The nearest mailbox above a name in another's account."""
        space, user, inner = name.split("/", 2) if name.count("/") >= 2 else ("", "", "")
        while (inner := inner.rpartition("/")[0]) != "":
            seat = self.find(tx, who, f"{space}/{user}/{inner}")
            if seat is not None:
                return seat if seat.account_id != who.account_id else None
        return None

    def delete(self, tx: Tx, who: Who, name: str, now: float) -> None:
        """Raises `Refused` as `mailbox.delete` does; no-permission."""
        seat = self._held(tx, who, name, "x")
        opened = rights.entries(tx, seat.account_id, seat.box.id)
        mailbox.delete(tx, seat.account_id, seat.inner, now)
        if opened or seat.account_id != who.account_id:
            facts = {"owner": seat.account_id, "mailbox": seat.inner, "opened_to": len(opened)}
            audit.record(tx, who.address, "share.delete", facts, now)

    def doomed(self, tx: Tx, who: Who, name: str) -> int:
        """How many messages would go with the mailbox. Raises as `delete`."""
        seat = self.need(tx, who, name, "x")
        return mailbox.doomed(tx, seat.account_id, seat.inner).messages

    def thin_out(self, tx: Tx, who: Who, name: str, most: int, now: float) -> bool:
        """Removes so many messages of a mailbox that is to be deleted; False: none is left. Raises as `delete`."""
        seat = self._held(tx, who, name, "x")
        return mailbox.thin_out(tx, seat.account_id, seat.inner, most)

    def rename(self, tx: Tx, who: Who, name: str, new_name: str, now: float) -> None:
        """Within one account: "x" on the mailbox and all below it, "k" above its new name (rfc4314 4).

        Raises `Refused` as `mailbox.rename` does; no-permission; other-account.
        """
        if not self.elsewhere(name) and not self.elsewhere(new_name):
            mailbox.rename(tx, who.account_id, name, new_name, now)
            return
        seat = self._held(tx, who, name, "x")
        new_name = new_name.removesuffix("/")
        if seat.account_id == who.account_id:
            raise Refused("other-account")
        above = self._above(tx, who, new_name)
        if above is None or "k" not in above.rights:
            raise Refused("no-permission", right="k")
        if above.account_id != seat.account_id:
            raise Refused("other-account")
        below = [
            box
            for box in mailbox.all_mailboxes(tx, seat.account_id)
            if box.name == seat.inner or box.name.startswith(seat.inner + "/")
        ]
        if any(box.role for box in below):
            raise Refused("special-mailbox", name=name[:100])
        held = rights.held_of(tx, [seat.account_id], self._grantees(who))
        if not all("x" in held.get((seat.account_id, box.id), ()) for box in below):
            raise Refused("no-permission", right="x")
        inner = self._split(new_name)[2]
        mailbox.rename(tx, seat.account_id, seat.inner, inner, now)
        facts = {"owner": seat.account_id, "mailbox": seat.inner, "to": inner}
        audit.record(tx, who.address, "share.rename", facts, now)

    def subscribe(self, tx: Tx, who: Who, name: str, on: bool) -> None:
        """Any name may be subscribed to: that tells nothing of who has which mailbox."""
        seat = self.find(tx, who, name) if self.elsewhere(name) else None
        name = seat.box.name if seat and "l" in seat.rights else name
        mailbox.subscribe(tx, who.account_id, name, on)

    # rights

    def set_rights(
        self, tx: Tx, who: Who, name: str, identifier: str, change: Change, letters: str, now: float
    ) -> None:
        """SETACL and DELETEACL. Raises `Refused`: no-such-mailbox, no-permission, no-such-identifier, owner-has-all,
        too-many-shares."""
        seat = self._held(tx, who, name, "a")
        grantee, address = self._grantee(tx, identifier)
        if grantee == seat.account_id:
            raise Refused("owner-has-all")
        before = rights.entries(tx, seat.account_id, seat.box.id).get(grantee, "")
        after = changed(before, change, letters)
        if after == before:
            return
        rights.put(tx, seat.account_id, seat.box.id, grantee, after)
        if grantee != ANYONE and "r" not in after:
            seen.forget(tx, seat.account_id, seat.box.id, grantee)
        if grantee != ANYONE and "l" not in after:
            metadata.forget(tx, seat.account_id, seat.box.id, grantee)
        facts = {"owner": seat.account_id, "mailbox": seat.inner, "for": address, "before": before, "after": after}
        audit.record(tx, who.address, "share.rights", facts, now)

    def all_rights(self, tx: Tx, who: Who, name: str) -> tuple[Seat, list[tuple[str, str]]]:
        """GETACL: identifier and rights, the owner first."""
        seat = self.need(tx, who, name, "a")
        entries = rights.entries(tx, seat.account_id, seat.box.id)
        known = {a.id: a.address for a in people.some(tx, [seat.account_id, *entries])}
        known[ANYONE] = EVERYBODY
        found = [(known[grantee], letters) for grantee, letters in entries.items() if grantee in known]
        return seat, [(known.get(seat.account_id, who.address), ALL), *sorted(found)]

    def grantable(self, tx: Tx, who: Who, name: str, identifier: str) -> tuple[Seat, str, str]:
        """LISTRIGHTS: the rights that this identifier always has on a mailbox, and those that it may be given."""
        seat = self.need(tx, who, name, "a")
        grantee, _ = self._grantee(tx, identifier)
        return (seat, ALL, "") if grantee == seat.account_id else (seat, "", ALL)

    def own_rights(self, tx: Tx, who: Who, name: str) -> Seat:
        """MYRIGHTS. Raises `Refused("no-such-mailbox")`."""
        seat = self.find(tx, who, name)
        if seat is None or not {*seat.rights} & {*"lrikxa"}:  # rfc4314 4
            raise Refused("no-such-mailbox", name=name[:100])
        return seat

    # quota and notes

    def quota_root(self, tx: Tx, who: Who, name: str) -> tuple[int, str]:
        """Whose quota counts for a mailbox, and its root's name: "" is one's own, another's is the owner's address.

        Raises `Refused`: no-such-mailbox, no-permission (rfc9208 6)."""
        if not self.elsewhere(name):
            return who.account_id, ""  # it need not exist
        seat = self.need(tx, who, name, "r")
        if seat.account_id == who.account_id:
            return who.account_id, ""
        (owner,) = people.some(tx, [seat.account_id])
        return owner.id, owner.address

    def quota_of(self, tx: Tx, who: Who, root: str) -> int:
        """The account of a root. Raises `Refused("no-such-quota-root")`, also where nothing of it may be read."""
        if not root:
            return who.account_id
        held = addresses.exact(tx, root)
        owner = self._owner(tx, who, held.account_id) if held is not None else None
        opened = rights.held_of(tx, [owner.id], self._grantees(who)) if owner is not None else {}
        if owner is None or not any("r" in letters for letters in opened.values()):
            raise Refused("no-such-quota-root")
        return owner.id

    def notes_of(self, tx: Tx, who: Who, name: str, *, shared: bool = False) -> Place:
        """Where the notes of a mailbox are kept, for who may read and write them (rfc5464 3.3); those for all
        (`shared`) may be written by who may write flags. Raises `Refused`: no-such-mailbox, no-permission."""
        seat = self.need(tx, who, name, "l")
        if not {*seat.rights} & {*"rswip"} or (shared and "w" not in seat.rights):
            raise Refused("no-permission", right="w" if shared else "rswip")
        return Place(seat.account_id, seat.box.id)

    def _grantee(self, tx: Tx, identifier: str) -> tuple[int, str]:
        """Whom an identifier means. Raises `Refused("no-such-identifier")`: also for "-…", which takes rights away from
        people and is not offered."""
        if identifier == EVERYBODY and self._anyone:
            return ANYONE, EVERYBODY
        text = identifier if "@" in identifier else f"{identifier}@{self._config.domains[0]}"
        held = None if identifier.startswith("-") or identifier == EVERYBODY else addresses.exact(tx, text)
        if held is None or not lifecycle.may(held.state, Act.RECEIVE):
            raise Refused("no-such-identifier", identifier=identifier)
        return held.account_id, held.address

    # letters

    def store(
        self,
        tx: Tx,
        who: Who,
        place: Place,
        uids: Sequence[int],
        op: Op,
        flags: int,
        keywords: tuple[str, ...],
        unchanged_since: int | None,
    ) -> Stored:
        """STORE in another's mailbox. Flags that this person may not change stay; when that is all that was asked for,
        it is refused (rfc4314 4). Raises `Refused`: no-permission, too-many-keywords."""
        changes.hold(tx, [place.account_id])
        may = self.standing(tx, who, place.account_id, place.mailbox_id)
        if op is Op.SET:
            some = bool({*may.rights} & {*"stw"})
        else:
            some = bool(across.allowed(flags, may.rights) or (keywords and "w" in may.rights))
        if not some and (flags or keywords or op is Op.SET):
            raise Refused("no-permission", right="stw")
        now_place = replace(place, reader=may.reader)
        return across.store(tx, now_place, uids, op, flags, keywords, may.rights, unchanged_since)

    def expunge(self, tx: Tx, who: Who, place: Place, uids: Sequence[int], now: float) -> list[int]:
        """EXPUNGE in another's mailbox. Raises `Refused("no-permission")`."""
        changes.hold(tx, [place.account_id])
        if "e" not in self.standing(tx, who, place.account_id, place.mailbox_id).rights:
            raise Refused("no-permission", right="e")
        return message.expunge(tx, place.account_id, place.mailbox_id, uids, now)

    def copy(
        self, tx: Tx, who: Who, source: Place, uids: Sequence[int], target_name: str, moving: bool, now: float
    ) -> tuple[Place, Copied]:
        """COPY and MOVE where source or target is another's. Raises `Refused`: no-permission, and as `across.copy`."""
        target = self.target(tx, who, target_name)
        changes.hold(tx, sorted({source.account_id, target.account_id}))
        target = self.target(tx, who, target_name)
        if source.account_id != who.account_id:
            standing = self.standing(tx, who, source.account_id, source.mailbox_id)
            for right in "rte" if moving else "r":  # rfc6851 4.4: as COPY, STORE and EXPUNGE
                if right not in standing.rights:
                    raise Refused("no-permission", right=right)
            source = replace(source, reader=standing.reader)
        copied = across.copy(tx, source, uids, target.place, target.rights, now, moving=moving)
        # rfc9051 6.4.7: its numbers would tell something of a mailbox that this person may not select
        return target.place, copied if "r" in target.rights else replace(copied, uid_validity=0)

    def target(self, tx: Tx, who: Who, name: str) -> Seat:
        """A mailbox that letters may be put into ("i"). Raises `Refused`: no-such-mailbox, no-permission."""
        try:
            return self.need(tx, who, name, "i")
        except Refused as refused:
            raise Refused(refused.code, target=refused.code == "no-such-mailbox", **refused.facts) from None

    def append(self, tx: Tx, who: Who, wanted: Adding, now: float, source: Place | None = None) -> Added | Refused:
        """APPEND to another's mailbox, and REPLACE where its target or the mailbox of what it replaces (`source`) is
        another's; flags that this person may not set are left out (rfc4314 4)."""
        try:
            held = {self.target(tx, who, wanted.mailbox).account_id, *([source.account_id] if source else ())}
            changes.hold(tx, sorted(held))
            seat = self.target(tx, who, wanted.mailbox)
            if source is not None and source.account_id != who.account_id:
                standing = self.standing(tx, who, source.account_id, source.mailbox_id)
                for right in "rte":  # rfc8508 4.1
                    if right not in standing.rights:
                        raise Refused("no-permission", right=right)
            within = source is not None and source.account_id == seat.account_id
            if wanted.replaces is not None and source is not None and not within:
                append.size_of(tx, source.account_id, wanted.replaces)  # is it there?
        except Refused as refused:
            return refused
        arrivals = []
        for each in wanted.arrivals:
            flags = across.allowed(each.flags, seat.rights)
            words = each.keywords if "w" in seat.rights else ()
            arrivals.append(replace(each, flags=flags & ~message.SEEN if seat.reader else flags, keywords=words))
        adding = Adding(seat.inner, tuple(arrivals), wanted.replaces if within else None)
        (answer,) = append.append(tx, seat.account_id, [adding], now)
        if isinstance(answer, Refused):
            return answer
        if wanted.replaces is not None and source is not None and not within:
            message.take_out(tx, source.account_id, *wanted.replaces)
        if seat.reader and "s" in seat.rights:
            pairs = zip(answer.uids, wanted.arrivals, strict=True)
            across.arrived(tx, seat.place, [uid for uid, each in pairs if each.flags & message.SEEN])
        # rfc9051 6.3.12: its numbers would tell something of a mailbox that this person may not select
        return answer if "r" in seat.rights else replace(answer, uid_validity=0)


def _space(kind: Kind) -> str:
    return OTHERS if kind is Kind.PERSON else COMMON
