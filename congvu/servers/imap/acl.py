"""IMAP commands of access control (RFC 4314): SETACL, DELETEACL, GETACL, LISTRIGHTS, MYRIGHTS.

Who may do what is decided in `actions.sharing`; here it is put into words.
"""

from congvu.codec.imap import Named, astring
from congvu.codec.imap_acl import Change, Identified, SetAcl, shown
from congvu.servers.imap.session import Done, Session, pieces


async def set_acl(session: Session, command: SetAcl) -> Done:
    services = session.services
    await services.db.write(
        services.sharing.set_rights,
        session.who,
        command.mailbox,
        command.identifier,
        command.change,
        command.rights,
        services.clock.now(),
    )
    return Done()


async def delete_acl(session: Session, command: Identified) -> Done:
    """As a SETACL that leaves no right (rfc4314 3.2)."""
    return await set_acl(session, SetAcl(command.mailbox, command.identifier, Change.SET, ""))


async def get_acl(session: Session, command: Named) -> Done:
    services = session.services
    seat, entries = await services.db.read(services.sharing.all_rights, session.who, command.mailbox)
    lines = [b"* ACL ", session.name(seat.box.name)]
    lines += [b" %b %b" % (_identifier(session, who), shown(rights).encode()) for who, rights in entries]
    for piece in pieces([*lines, b"\r\n"]):
        session.send(piece)
    return Done()


async def list_rights(session: Session, command: Identified) -> Done:
    """What the identifier always has, then each right that it may be given by itself (rfc4314 3.7)."""
    services = session.services
    seat, always, others = await services.db.read(
        services.sharing.grantable, session.who, command.mailbox, command.identifier
    )
    # The identifier comes back in the form in which it was asked for (rfc4314 3.4).
    words = [session.name(seat.box.name), _identifier(session, command.identifier)]
    words += [shown(always).encode() or b'""', *(letter.encode() for letter in shown(others))]
    session.send(b"* LISTRIGHTS %b\r\n" % b" ".join(words))
    return Done()


async def my_rights(session: Session, command: Named) -> Done:
    services = session.services
    seat = await services.db.look(services.sharing.own_rights, session.who, command.mailbox)
    session.send(b"* MYRIGHTS %b %b\r\n" % (session.name(seat.box.name), shown(seat.rights).encode()))
    return Done()


def _identifier(session: Session, identifier: str) -> bytes:
    return astring(identifier, utf8=session.utf8)
