"""QUOTA (RFC 9208): what an account may hold and holds. One root, "", for all mailboxes of an account.

Limits are set by whoever administers accounts, never over IMAP: SETQUOTA is refused and QUOTASET is not announced.
"""

from congvu.base.failure import Refused
from congvu.codec.imap import Named, astring
from congvu.codec.imap_resources import GetQuota, SetQuota
from congvu.mailstore import mailbox, message
from congvu.servers.imap.session import Done, Session


async def get_quota(session: Session, command: GetQuota) -> Done:
    if command.root:
        raise Refused("no-such-quota-root")
    await _tell(session)
    return Done()


async def get_quota_root(session: Session, command: Named) -> Done:
    """rfc9208 4.1.2: the mailbox need not exist, its root is told for when it is created."""
    name = mailbox.valid_name(command.mailbox)
    session.send(b"* QUOTAROOT %b %b\r\n" % (session.name(name), astring("")))
    await _tell(session)
    return Done()


async def set_quota(_session: Session, _: SetQuota) -> Done:
    raise Refused("quota-not-yours")


async def _tell(session: Session) -> None:
    quota = await session.services.db.look(mailbox.quota, session.account_id)
    found = [f"MESSAGE {quota.messages} {message.MAX_MESSAGES}"]
    if quota.limit:  # in units of 1,024 bytes (rfc9208 5.1), what is begun counts
        found.insert(0, f"STORAGE {-(-quota.used // 1024)} {quota.limit // 1024}")
    session.send(b"* QUOTA %b (%b)\r\n" % (astring(""), " ".join(found).encode()))
