"""The bytes that an IMAP URL names (RFC 5092), for a letter that CATENATE puts together (RFC 4469).

Only mailboxes that the person may read are looked into, and only what fits below the letter's limit is copied; reading
flags nothing. Whatever a URL is not good for, it is told as BADURL with the URL itself.
"""

import asyncio
from collections.abc import Iterator
from urllib.parse import quote

from congvu.actions.sharing import Sharing, Who
from congvu.base.failure import Refused
from congvu.codec import imap_url
from congvu.codec.imap_acl import ALL
from congvu.codec.imap_url import Url
from congvu.db.blobs import Spool
from congvu.db.engine import Tx
from congvu.mailstore import mailbox, message
from congvu.mailstore.across import Place
from congvu.servers.imap import sections
from congvu.servers.imap.session import Session


async def copy(session: Session, text: str, spool: Spool, limit: int) -> None:
    """Adds the bytes to the spool. Raises `Refused`: imap-bad-url; letter-too-big beyond `limit` in all."""
    try:
        url = imap_url.parse(text)
    except ValueError:
        raise _bad(text) from None
    view = session.selected
    if url.host is not None and url.host.lower() != session.services.config.hostname.lower():
        raise _bad(text)
    if url.user is not None and url.user.lower() != session.address.lower():
        raise _bad(text)
    if url.mailbox is None and view is None:
        raise _bad(text)
    selected = view.place if view is not None else None
    body = await session.services.db.read(_find, session.services.sharing, session.who, url, selected)
    if body is None:
        raise _bad(text)
    letter = sections.Letter(body, session.services.blobs)
    try:
        await asyncio.to_thread(_pour, letter, url, spool, limit)
    except LookupError:
        raise _bad(text) from None
    except ValueError:
        raise Refused("letter-damaged") from None


def _find(tx: Tx, sharing: Sharing, who: Who, url: Url, selected: Place | None) -> message.Body | None:
    if url.mailbox is not None:
        seat = sharing.find(tx, who, url.mailbox)
        place, rights = (seat.place, seat.rights) if seat is not None else (None, "")
    else:
        place, rights = selected, ALL
        if place is not None and place.account_id != who.account_id:
            rights = sharing.standing(tx, who, place.account_id, place.mailbox_id).rights
    box = mailbox.get(tx, place.account_id, place.mailbox_id) if place is not None and "r" in rights else None
    if place is None or box is None or (url.uid_validity is not None and url.uid_validity != box.uid_validity):
        return None
    rows = message.rows(tx, place.account_id, box.id, url.uid, url.uid)
    return message.bodies(tx, [rows[0].letter_id]).get(rows[0].letter_id) if rows else None


def _pour(letter: sections.Letter, url: Url, spool: Spool, limit: int) -> None:
    partial = url.partial
    found = sections.portion(
        letter, url.section, None if partial is None else (partial[0], 2**32 if partial[1] is None else partial[1])
    )
    if found is None:
        raise LookupError("no such section")
    size: int = found[0]
    pieces: Iterator[bytes] = found[1]
    if spool.size + size > limit:
        raise Refused("letter-too-big", limit=limit)
    for piece in pieces:
        spool.write(piece)


def _bad(text: str) -> Refused:
    # Between the brackets of a response code, whose end a URL must not forge.
    return Refused("imap-bad-url", url=quote(text, safe="/:;=@?&%+,.-_~!$'()*")[:500])
