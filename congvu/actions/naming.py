"""Addresses proposed with what the database knows: who holds what, of which kind the unit above is.

Promises that nothing is written: a proposal binds nobody until an account is made with it. Must never decide by itself
what the rules leave to people (row 2.13).
"""

from collections.abc import Sequence
from dataclasses import replace

from congvu.db.engine import Tx
from congvu.directory import addresses, naming
from congvu.directory.forms import KINDS, PERSON
from congvu.directory.naming import Candidate, Subject
from congvu.directory.profile import Profile


def propose(tx: Tx, profile: Profile, subject: Subject, served: Sequence[str] = ()) -> list[Candidate]:
    """Those of the rule's candidates that are free. `served`: the domains here, the main one first. Raises `Refused`:
    naming-…, bad-name."""
    subject = replace(subject, domain=naming.domain_for(profile, subject, served))
    if subject.parent and not subject.parent_kind:
        above = subject.parent if "@" in subject.parent else f"{subject.parent}@{subject.domain}"
        kind = taken(tx, profile, [addresses.normalise(above)])
        subject = replace(subject, parent_kind=next(iter(kind.values()), ""))
    return naming.propose(profile, subject, lambda asked: taken(tx, profile, asked))


def taken(tx: Tx, profile: Profile, asked: Sequence[str]) -> dict[str, str]:
    """Which of these addresses are not free, each with what holds it: the kind of place or unit, else what the holder's
    name says ("Thành phố Long Xuyên"), `naming.RESTING` when nobody holds it any more, "" when nothing tells."""
    found = addresses.taken(tx, asked)
    unclear = [address for address, kind in found.items() if kind not in KINDS or kind == PERSON]
    held = addresses.holders(tx, unclear) if unclear else {}
    for address in unclear:
        if address not in held:
            found[address] = naming.RESTING
        elif found[address] != PERSON:
            found[address] = naming.kind_of_name(profile, held[address].name)
    return found
