"""The table of IMAP commands: a row says when a command is allowed, how it is read, what runs it, what it announces.

CAPABILITY is computed from the rows. A new command is a row here, its run function in the file of its kind, and a
dialog in `tests/talk/imap/`.
"""

from congvu.codec import imap_acl, imap_notify, imap_search
from congvu.codec import imap_parse as parse
from congvu.codec import imap_resources as resources
from congvu.codec.imap import Fetch, Search
from congvu.codec.imap_words import Bad
from congvu.servers.imap import (
    acl,
    append,
    fetch,
    mailboxes,
    messages,
    metadata,
    notify,
    quota,
    resync,
    search,
    signin,
    sort,
)
from congvu.servers.imap.services import Services
from congvu.servers.imap.session import (
    ANY,
    KNOWN,
    SELECTED,
    STRANGER,
    UNSELECTED,
    Done,
    Session,
    Tell,
    row,
    table,
    taking,
)
from congvu.servers.listen import Manners
from congvu.servers.stream import Stream, Tls

# What is said where no session sees the situation; English ASCII first, as nothing is enabled yet.
MANNERS = Manners(
    too_many=b"* BYE [UNAVAILABLE] Too many connections, try later\r\n",
    stopping=b"* BYE [UNAVAILABLE] Server is shutting down\r\n",
    too_slow=b"* BYE Idle for too long\r\n",
    trouble=b"* BYE [SERVERBUG] Internal error\r\n",
)


async def _fetch(session: Session, command: Fetch) -> Done:
    return await _run_fetch(session, command, by_uid=False)


async def _uid_fetch(session: Session, command: Fetch) -> Done:
    return await _run_fetch(session, command, by_uid=True)


async def _run_fetch(session: Session, command: Fetch, by_uid: bool) -> Done:
    if command.partial is not None and not by_uid:
        raise Bad("UID FETCH with PARTIAL")  # rfc9394 3.3
    view = session.view()
    uids = view.resolve(command.set, by_uid)
    if command.vanished:
        if not by_uid or command.changed_since is None or "QRESYNC" not in session.enabled:
            raise Bad("UID FETCH with CHANGEDSINCE after ENABLE QRESYNC expected")  # rfc7162 3.2.6
        await resync.tell_vanished(session, resync.ranges(command.set, view.uids), command.changed_since)
    return await fetch.run(session, uids, command.items, command.changed_since, by_uid, command.partial)


async def _search(session: Session, command: Search) -> Done:
    return await search.run(session, command, False)


async def _uid_search(session: Session, command: Search) -> Done:
    return await search.run(session, command, True)


_AUTH = ("AUTH=SCRAM-SHA-256-PLUS", "AUTH=SCRAM-SHA-256", "AUTH=PLAIN", "AUTH=LOGIN", "AUTH=OAUTHBEARER")
_QUOTA = ("QUOTA", "QUOTA=RES-STORAGE", "QUOTA=RES-MESSAGE")
_METADATA = ("METADATA", "METADATA-SERVER", "LIST-METADATA")
_SEARCH = ("ESEARCH", "SEARCHRES", "WITHIN", "PARTIAL", "INPROGRESS")
_FETCH = ("BINARY", "OBJECTID", "SAVEDATE", "PREVIEW")
_ENABLE = ("ENABLE", "UTF8=ACCEPT", "UIDONLY")
_THREAD = ("THREAD=ORDEREDSUBJECT", "THREAD=REFERENCES")
_LIST = ("CHILDREN", "LIST-EXTENDED", "LIST-STATUS", "SPECIAL-USE", "LIST-MYRIGHTS")

TABLE = {
    each.name: each
    for each in (
        row("CAPABILITY", ANY, parse.nothing, signin.capability),
        row("NOOP", ANY, parse.nothing, signin.noop, Tell.NOW),
        row("LOGOUT", ANY, parse.nothing, signin.logout, Tell.NOTHING),
        row("ID", ANY, parse.identity, signin.identity, capabilities=("ID",)),
        row("STARTTLS", STRANGER, parse.nothing, signin.starttls, Tell.NOTHING, capabilities=("STARTTLS",)),
        row("LOGIN", STRANGER, parse.login, signin.login, Tell.NOTHING, capabilities=("LOGINDISABLED",)),
        row(
            "AUTHENTICATE",
            STRANGER,
            parse.authenticate,
            signin.authenticate,
            Tell.NOTHING,
            capabilities=("SASL-IR", *_AUTH),
        ),
        row(
            "UNAUTHENTICATE",
            KNOWN,
            parse.nothing,
            signin.unauthenticate,
            Tell.NOTHING,
            capabilities=("UNAUTHENTICATE",),
        ),
        row("COMPRESS", KNOWN, parse.compress, signin.compress, Tell.NOTHING, capabilities=("COMPRESS=DEFLATE",)),
        row("ENABLE", UNSELECTED, parse.enable, signin.enable, capabilities=_ENABLE),
        row("SELECT", KNOWN, parse.select, mailboxes.select, Tell.NOTHING, capabilities=("CONDSTORE", "QRESYNC")),
        row("EXAMINE", KNOWN, parse.select, mailboxes.examine, Tell.NOTHING),
        row("CREATE", KNOWN, parse.create, mailboxes.create, capabilities=("CREATE-SPECIAL-USE",)),
        row("DELETE", KNOWN, parse.named, mailboxes.delete),
        row("RENAME", KNOWN, parse.rename, mailboxes.rename),
        row("SUBSCRIBE", KNOWN, parse.named, mailboxes.subscribe),
        row("UNSUBSCRIBE", KNOWN, parse.named, mailboxes.unsubscribe),
        row("LIST", KNOWN, parse.listing, mailboxes.listing, capabilities=_LIST),
        row("LSUB", KNOWN, parse.lsub, mailboxes.lsub),
        row("NAMESPACE", KNOWN, parse.nothing, mailboxes.namespace, capabilities=("NAMESPACE",)),
        row("STATUS", KNOWN, parse.status, mailboxes.status, capabilities=("STATUS=SIZE",)),
        taking("APPEND", KNOWN, append.append, capabilities=("MULTIAPPEND", "CATENATE", "APPENDLIMIT")),
        row("GETQUOTA", KNOWN, resources.get_quota, quota.get_quota, capabilities=_QUOTA),
        row("GETQUOTAROOT", KNOWN, parse.named, quota.get_quota_root),
        row("SETQUOTA", KNOWN, resources.set_quota, quota.set_quota),
        row("GETMETADATA", KNOWN, resources.get_metadata, metadata.get, capabilities=_METADATA),
        row("SETMETADATA", KNOWN, resources.set_metadata, metadata.put),
        row("IDLE", KNOWN, parse.nothing, mailboxes.idle, capabilities=("IDLE",)),
        row("NOTIFY", KNOWN, imap_notify.notify, notify.notify, Tell.NOW, capabilities=("NOTIFY",)),
        row("SETACL", KNOWN, imap_acl.set_acl, acl.set_acl, capabilities=("ACL", f"RIGHTS={imap_acl.NEW}")),
        row("DELETEACL", KNOWN, imap_acl.identified, acl.delete_acl),
        row("GETACL", KNOWN, parse.named, acl.get_acl),
        row("LISTRIGHTS", KNOWN, imap_acl.identified, acl.list_rights),
        row("MYRIGHTS", KNOWN, parse.named, acl.my_rights),
        row("CHECK", SELECTED, parse.nothing, signin.noop, Tell.NOW, rights=""),
        row("CLOSE", SELECTED, parse.nothing, messages.close, Tell.NOTHING, rights=""),
        row(
            "UNSELECT", SELECTED, parse.nothing, mailboxes.unselect, Tell.NOTHING, capabilities=("UNSELECT",), rights=""
        ),
        row("EXPUNGE", SELECTED, parse.nothing, messages.expunge, rights="re"),
        row("UID EXPUNGE", SELECTED, parse.uids, messages.uid_expunge, capabilities=("UIDPLUS",), rights="re"),
        taking("REPLACE", SELECTED, append.replace, capabilities=("REPLACE",), rights="rte"),
        taking("UID REPLACE", SELECTED, append.uid_replace, rights="rte"),
        row("SEARCH", SELECTED, imap_search.search, _search, Tell.HELD, capabilities=_SEARCH, rights="r"),
        row("UID SEARCH", SELECTED, imap_search.search, _uid_search, rights="r"),
        row(
            "SORT",
            SELECTED,
            imap_search.sort,
            sort.sort,
            Tell.HELD,
            capabilities=("SORT", "SORT=DISPLAY", "ESORT"),
            rights="r",
        ),
        row("UID SORT", SELECTED, imap_search.sort, sort.uid_sort, rights="r"),
        row("THREAD", SELECTED, imap_search.thread, sort.thread, Tell.HELD, capabilities=_THREAD, rights="r"),
        row("UID THREAD", SELECTED, imap_search.thread, sort.uid_thread, rights="r"),
        row("FETCH", SELECTED, parse.fetch, _fetch, Tell.HELD, capabilities=_FETCH, rights="r"),
        row("UID FETCH", SELECTED, parse.fetch, _uid_fetch, rights="r"),
        row("STORE", SELECTED, parse.store, messages.store, Tell.HELD, rights="r"),
        row("UID STORE", SELECTED, parse.store, messages.uid_store, rights="r"),
        row("COPY", SELECTED, parse.copy, messages.copy, rights="r"),
        row("UID COPY", SELECTED, parse.copy, messages.uid_copy, rights="r"),
        row("MOVE", SELECTED, parse.copy, messages.move, capabilities=("MOVE",), rights="rte"),
        row("UID MOVE", SELECTED, parse.copy, messages.uid_move, rights="rte"),
    )
}


_TABLE = table(TABLE)


async def run(stream: Stream, services: Services, starttls: Tls | None = None) -> None:
    """One connection from greeting to goodbye. `starttls`: the certificate, where STARTTLS is offered."""
    await Session(stream, services, _TABLE, starttls).serve()
