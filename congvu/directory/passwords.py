"""What a profile asks of a password: length, kinds of characters, what it must not hold, which earlier ones it may not
be (rows 5.1 to 5.5).

Pure. Promises that every objection names its fault, so that a person can mend it. Must never log or return a password.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

from congvu.base.failure import Refused
from congvu.base.observe import Secret
from congvu.base.vietnamese import fold
from congvu.directory.profile import Profile

_SHORTEST = 4  # folded letters of a forbidden word: "An" in a password says nothing


@dataclass(frozen=True, slots=True)
class Demands:
    """What is asked. `history`: how many earlier ones may not come back, beside the present one."""

    length: int = 0
    classes: int = 0
    forbid: tuple[str, ...] = ()
    history: int = 0


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose password it is. `birth`: a day of law, "" not known."""

    address: str
    name: str
    birth: str = ""


def demands_of(profile: Profile, admin: bool, second_factor: bool) -> Demands:
    """The demands on a person, or on who holds a role; with a second factor a shorter password does."""
    rules = profile.password
    if admin:
        length = rules.admin if second_factor else rules.admin_alone
    else:
        length = rules.user if second_factor else rules.user_alone
    history = rules.history_admin if admin else rules.history_user
    return Demands(length.or_none or 0, rules.classes.or_none or 0, rules.forbid.or_none or (), history.or_none or 0)


def check(password: Secret, demands: Demands, holder: Holder) -> None:
    """Raises `Refused`: password-too-short, password-too-plain, password-holds-login, password-holds-name,
    password-holds-birth. (Earlier ones: `is_reused`.)"""
    text = password.reveal()
    if len(text) < demands.length:
        raise Refused("password-too-short", length=demands.length)
    if _classes(text) < demands.classes:
        raise Refused("password-too-plain", classes=demands.classes)
    plain = _letters(text)
    local = holder.address.partition("@")[0]
    if "login" in demands.forbid and (_holds(plain, local) or _holds(plain, holder.address)):
        raise Refused("password-holds-login")
    if "full_name" in demands.forbid and _holds(plain, holder.name):
        raise Refused("password-holds-name")
    if "birth_date" in demands.forbid and holder.birth and _has_day(text, date.fromisoformat(holder.birth)):
        raise Refused("password-holds-birth")


def _classes(text: str) -> int:
    """How many of capital, small letter, digit, sign (row 5.2; any sign, not only those the texts list)."""
    return sum(
        (
            any(c.isupper() for c in text),
            any(c.islower() for c in text),
            any(c.isdigit() for c in text),
            any(not c.isalnum() for c in text),
        )
    )


def _letters(text: str) -> str:
    """Without marks, capitals, blanks and signs: "Nguyễn.Văn-An" is "nguyenvanan" (row 5.3: with marks and without)."""
    return re.sub(r"[\W_]+", "", fold(text))


def _holds(plain: str, word: str) -> bool:
    folded = _letters(word)
    return len(folded) >= _SHORTEST and folded in plain


def _has_day(text: str, day: date) -> bool:
    """In the ways people write it, whatever stands between: 19800131, 31011980, 310180, 31/1/1980 …"""
    digits = re.sub(r"[^\d]+", "", re.sub(r"[./\\\- ]", "", text))
    long, short = f"{day:%Y}", f"{day:%y}"
    forms = {f"{day:%d%m}{long}", f"{long}{day:%m%d}", f"{day.day}{day.month}{long}", f"{long}{day.month}{day.day}"}
    forms |= {f"{day:%d%m}{short}", f"{short}{day:%m%d}"}
    return any(form in digits for form in forms)


def is_reused(password: Secret, hashes: Sequence[str], history: int, fits: Callable[[str, Secret], bool]) -> bool:
    """Is it the present one (the first of `hashes`) or one of the last `history` before? Slow: an argon2 each."""
    return any(fits(stored, password) for stored in hashes[: 1 + history])
