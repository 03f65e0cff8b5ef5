"""QUOTA (RFC 9208): what an account may hold and holds. One root for all mailboxes of an account: "" for one's own,
the owner's address for those that somebody else has opened to this person.

Limits are set by whoever administers accounts, never over IMAP: SETQUOTA is refused and QUOTASET is not announced.
"""

from congvu.base.failure import Refused
from congvu.codec.imap import Named, astring
from congvu.codec.imap_resources import GetQuota, SetQuota
from congvu.mailstore import mailbox, message
from congvu.servers.imap.session import Done, Session


async def get_quota(session: Session, command: GetQuota) -> Done:
    services = session.services
    account_id = await services.db.look(services.sharing.quota_of, session.who, command.root)
    _tell(session, command.root, await services.db.look(mailbox.quota, account_id))
    return Done()


async def get_quota_root(session: Session, command: Named) -> Done:
    """rfc9208 4.1.2: one's own mailbox need not exist, its root is told for when it is created."""
    services = session.services
    name = mailbox.valid_name(command.mailbox)
    account_id, root = await services.db.look(services.sharing.quota_root, session.who, name)
    quota = await services.db.look(mailbox.quota, account_id)
    session.send(b"* QUOTAROOT %b %b\r\n" % (session.name(name), astring(root)))
    _tell(session, root, quota)
    return Done()


async def set_quota(_session: Session, _: SetQuota) -> Done:
    raise Refused("quota-not-yours")


def _tell(session: Session, root: str, quota: mailbox.Quota) -> None:
    found = [f"MESSAGE {quota.messages} {message.MAX_MESSAGES}"]
    if quota.limit:  # in units of 1,024 bytes (rfc9208 5.1), what is begun counts
        found.insert(0, f"STORAGE {-(-quota.used // 1024)} {quota.limit // 1024}")
    session.send(b"* QUOTA %b (%b)\r\n" % (astring(root), " ".join(found).encode()))
