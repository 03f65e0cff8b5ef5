"""IMAP before sign-in and around it: CAPABILITY, ID, STARTTLS, AUTHENTICATE, LOGIN, UNAUTHENTICATE, ENABLE,
COMPRESS, LOGOUT.

Must never let a password cross an open connection, nor tell whether an address exists.
"""

import secrets
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager

from congvu import __version__
from congvu.base.failure import NotNow, Refused
from congvu.base.observe import Secret
from congvu.codec import sasl
from congvu.codec.imap import Authenticate, Compress, Enable, Identity, Login, Nothing, string
from congvu.codec.imap_parse import decode_base64
from congvu.codec.imap_words import Bad
from congvu.servers.imap.services import SignedIn
from congvu.servers.imap.session import Done, Session, State

LONGEST_RESPONSE = 8192  # bytes of one line of a SASL exchange: 4,096 bytes of base64 fit
ENABLEABLE = {word.upper(): word for word in ("IMAP4rev2", "CONDSTORE", "QRESYNC", "UTF8=ACCEPT", "UIDONLY")}


async def capability(session: Session, _: Nothing) -> Done:
    session.send(f"* CAPABILITY {session.capabilities()}\r\n".encode())
    return Done()


async def identity(session: Session, _: Identity) -> Done:
    """RFC 2971. A stranger does not learn the version."""
    known = {"name": "Cong Vu", "vendor": "Cong Vu"}
    if session.account_id:
        known["version"] = __version__
    pairs = b" ".join(string(word) for pair in known.items() for word in pair)
    session.send(b"* ID (", pairs, b")\r\n")
    return Done()


async def noop(session: Session, _: Nothing) -> Done:
    """NOOP and CHECK: their row tells all news."""
    return Done()


async def logout(session: Session, _: Nothing) -> Done:
    await session.deselect()
    session.untagged("BYE", "", "imap-bye")
    session.state = State.LOGOUT
    return Done()


async def starttls(session: Session, _: Nothing) -> None:
    """rfc9051 6.2.1. The tagged answer goes out in clear; what came before the handshake is dropped by the stream."""
    if session.starttls is None or session.stream.secure:
        raise Bad("no TLS to start here")
    session.answer(Done("", "imap-begin-tls"))
    await session.stream.start_tls(session.starttls)


async def login(session: Session, command: Login) -> Done:
    if not session.may_show_password():
        raise Refused("tls-first")
    return await _sign_in(session, command.login, command.password)


async def authenticate(session: Session, command: Authenticate) -> Done:
    """rfc9051 6.2.2, with SASL-IR."""
    mechanism = command.mechanism
    bindings = session.stream.channel_bindings()
    if mechanism in {"PLAIN", "LOGIN", "OAUTHBEARER"} and not session.may_show_password():
        raise Refused("tls-first")
    tokens = session.services.doors.takes_tokens
    exchange = sasl.begin(mechanism, bindings, lambda: secrets.token_urlsafe(18), tokens)
    if exchange is None:
        raise Refused("imap-no-mechanism")
    step = exchange.step(command.initial)
    login = ""
    while True:
        match step:
            case sasl.Challenge():
                session.send(b"+ ", b64encode(step.data), b"\r\n")
                line = await session.stream.line(LONGEST_RESPONSE, session.reading.patience())
                if line == b"*":
                    raise Bad("authentication cancelled")  # rfc9051 6.2.2: BAD is the answer
                step = exchange.step(decode_base64(line))
            case sasl.KeysWanted():
                if not isinstance(exchange, sasl.Scram):
                    raise Refused("bad-auth-message")
                login = step.login
                with _counted(session):
                    step = exchange.keys(await session.services.doors.scram_keys(step.login, session.stream.peer))
            case sasl.Token():
                if not isinstance(exchange, sasl.Bearer):
                    raise Refused("bad-auth-message")
                login = step.login
                with _counted(session):
                    good = await session.services.doors.token_good(login, Secret(step.token), session.stream.peer)
                step = exchange.judged(good)
            case sasl.Credentials():
                return await _sign_in(session, step.login, step.password)
            case sasl.Accepted():
                with _counted(session):
                    known = await session.services.doors.signed_in(step.login, session.stream.peer)
                return _welcome(session, known)
            case sasl.Rejected():
                session.failed_sign_in()
                if login:
                    session.services.doors.failed(login, session.stream.peer)
                raise Refused(step.code)


async def _sign_in(session: Session, login: str, password: str) -> Done:
    with _counted(session):
        known = await session.services.doors.sign_in(login, Secret(password), session.stream.peer)
    return _welcome(session, known)


@contextmanager
def _counted(session: Session) -> Iterator[None]:
    """A sign-in that the directory refuses or puts off counts among the session's errors."""
    try:
        yield
    except (Refused, NotNow):
        session.failed_sign_in()
        raise


def _welcome(session: Session, known: SignedIn) -> Done:
    with _counted(session):
        session.signed_in(known)
    return Done(f"CAPABILITY {session.capabilities()}", "imap-signed-in")


async def unauthenticate(session: Session, _: Nothing) -> Done:
    """RFC 8437: whoever comes next signs in anew. TLS and compression stay as they are."""
    if not session.services.config.unauthenticate:
        raise Bad("no UNAUTHENTICATE here")  # rfc8437 8
    await session.deselect()
    session.signed_out()
    return Done()


async def compress(session: Session, command: Compress) -> None:
    """RFC 4978. The tagged answer still goes out as it is."""
    if command.mechanism != "DEFLATE":
        raise Bad("DEFLATE expected")
    if session.stream.compressed:
        raise Refused("compression-active")
    session.answer(Done())
    session.stream.compress()


async def enable(session: Session, command: Enable) -> Done:
    """RFC 5161: what is not known is passed over."""
    new = [word for word in command.words if word in ENABLEABLE and word not in session.enabled]
    session.enable(*new)
    session.send(f"* ENABLED {' '.join(ENABLEABLE[word] for word in new)}".rstrip().encode(), b"\r\n")
    return Done()
