"""What SMTP and LMTP answer: from a code word to its basic and enhanced code and its sentence, in one place.

Must never hold a sentence itself: those are in `base/texts`.
"""

from functools import cache

from congvu.base.failure import NotNow, Refused
from congvu.base.texts import say
from congvu.codec import smtp
from congvu.servers.listen import Manners

# Every reply: code word → basic code, enhanced code (rfc3463, rfc5248). Words of other rooms stand here too.
REPLIES: dict[str, tuple[int, str]] = {
    "smtp-ok": (250, "2.0.0"),
    "smtp-bye": (221, "2.0.0"),
    "smtp-help": (214, "2.0.0"),
    "smtp-cannot-verify": (252, "2.0.0"),
    "smtp-sender-ok": (250, "2.1.0"),
    "smtp-recipient-ok": (250, "2.1.5"),
    "smtp-go-ahead": (354, ""),
    "smtp-kept": (250, "2.0.0"),
    "smtp-chunk-kept": (250, "2.0.0"),
    "smtp-tls-go-ahead": (220, "2.0.0"),
    "smtp-signed-in": (235, "2.7.0"),
    "smtp-auth-cancelled": (501, "5.7.0"),
    "smtp-unknown-mechanism": (504, "5.5.4"),
    "smtp-auth-needs-tls": (538, "5.7.11"),
    "smtp-auth-needed": (530, "5.7.0"),
    "smtp-starttls-first": (530, "5.7.0"),
    "smtp-already-signed-in": (503, "5.5.1"),
    "smtp-already-tls": (503, "5.5.1"),
    "smtp-not-offered": (502, "5.5.1"),
    "smtp-pipelined-after-starttls": (503, "5.5.1"),
    "smtp-unknown-command": (500, "5.5.1"),
    "smtp-not-smtp": (500, "5.5.1"),
    "smtp-bad-syntax": (501, "5.5.4"),
    "smtp-bad-chunk": (501, "5.5.4"),
    "smtp-bad-utf8": (500, "5.5.2"),
    "smtp-bad-hello-name": (501, "5.5.4"),
    "smtp-bad-sender": (501, "5.1.7"),
    "smtp-bad-recipient": (501, "5.1.3"),
    "smtp-needs-smtputf8": (553, "5.6.7"),
    "smtp-unknown-parameter": (555, "5.5.4"),
    "smtp-bad-parameter": (501, "5.5.4"),
    "smtp-bad-base64": (501, "5.5.2"),
    "smtp-line-too-long": (500, "5.5.2"),
    "smtp-bare-line-feed": (500, "5.5.2"),
    "smtp-hello-first": (503, "5.5.1"),
    "smtp-mail-first": (503, "5.5.1"),
    "smtp-mail-open": (503, "5.5.1"),
    "smtp-no-recipients": (554, "5.5.1"),
    "smtp-bdat-needed": (503, "5.5.1"),
    "smtp-bdat-begun": (503, "5.5.1"),
    "smtp-bdat-broken": (503, "5.5.1"),
    "smtp-too-many-recipients": (452, "4.5.3"),
    "smtp-too-many-messages": (421, "4.7.0"),
    "smtp-too-many-unknown": (421, "4.7.0"),
    "smtp-too-many-errors": (421, "4.7.0"),
    "smtp-too-many-sign-ins": (421, "4.7.0"),
    "smtp-session-too-long": (421, "4.4.2"),
    "smtp-too-many-connections": (421, "4.7.0"),
    "smtp-stopping": (421, "4.3.2"),
    "smtp-too-slow": (421, "4.4.2"),
    "smtp-trouble": (421, "4.3.0"),
    "smtp-message-too-big": (552, "5.3.4"),
    "smtp-bare-line-end": (550, "5.6.0"),
    "smtp-text-line-too-long": (550, "5.6.0"),
    "bad-credentials": (535, "5.7.8"),
    "bad-auth-message": (501, "5.5.2"),
    "bad-channel-binding": (535, "5.7.8"),
    "no-such-authorization": (535, "5.7.8"),
    "account-locked": (535, "5.7.13"),
    "too-many-connections": (454, "4.7.0"),
    "password-must-change": (535, "5.7.0"),
    "password-too-old": (535, "5.7.0"),
    "session-ended": (421, "4.7.0"),
    "session-locked": (421, "4.7.0"),
    "sender-locked": (550, "5.7.13"),
    "sent-too-many": (550, "5.7.1"),
    "too-many-attempts": (454, "4.7.0"),
    "too-busy": (451, "4.3.2"),
    "shutting-down": (421, "4.3.2"),
    "not-your-address": (553, "5.7.1"),
    "from-missing": (550, "5.6.0"),
    "from-unclear": (550, "5.6.0"),
    "mail-loop": (554, "5.4.6"),
    "no-such-address": (550, "5.1.1"),
    "address-revoked": (550, "5.1.6"),
    "bad-address": (553, "5.1.3"),
    "relay-denied": (550, "5.7.1"),
    "mailbox-full": (452, "4.2.2"),
    "over-quota": (452, "4.2.2"),
    "too-many-letters": (452, "4.2.2"),
    "no-such-mailbox": (550, "5.1.1"),
    "disk-full": (452, "4.3.1"),
    "storage-trouble": (451, "4.3.0"),
}
_REFUSED = (550, "5.7.1")  # any other code
_NOT_NOW = (451, "4.3.0")


def manners(hostname: str) -> Manners:
    """What SMTP says where its session cannot: in English, as nobody has spoken of SMTPUTF8."""
    words = ("smtp-too-many-connections", "smtp-stopping", "smtp-too-slow", "smtp-trouble")
    too_many, stopping, too_slow, trouble = (reply(word, False, host=hostname) for word in words)
    return Manners(too_many, stopping, too_slow, trouble)


@cache
def fixed(code: str, utf8: bool) -> bytes:
    """The reply of a code whose sentence has no facts."""
    return smtp.reply(*REPLIES[code], say(code, utf8=utf8))


def reply(code: str, utf8: bool, **facts: object) -> bytes:
    """The reply of a code of this protocol."""
    return smtp.reply(*REPLIES[code], say(code, utf8=utf8, **facts)) if facts else fixed(code, utf8)


def failed(failure: Refused | NotNow, utf8: bool) -> bytes:
    """The reply that tells a failure of any room; a code without a row gets its kind's usual reply."""
    usual = _REFUSED if isinstance(failure, Refused) else _NOT_NOW
    return smtp.reply(*REPLIES.get(failure.code, usual), say(failure.code, utf8=utf8, **failure.facts))
