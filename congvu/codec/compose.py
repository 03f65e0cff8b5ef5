"""Letters the program writes itself: plain text in UTF-8, RFC 5322 and MIME, as bytes with CRLF.

The standard library does the work: what is composed here is rare and small. A value with a line end in it is refused,
so that no caller can smuggle in a header.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from congvu.base.vietnamese import nfc

Person = tuple[str, str]  # display name ("" for none), address


def compose(
    sender: Person,
    recipients: Sequence[Person],
    subject: str,
    text: str,
    *,
    now: float,
    message_id: str,
    in_reply_to: str = "",
    automatic: bool = False,
) -> bytes:
    """A letter of plain text. `message_id` and `in_reply_to` without angle brackets. `automatic` marks what no person
    wrote (RFC 3834), so that no robot answers it. ValueError for a value that cannot stand in a header."""
    letter = EmailMessage(policy=SMTP)
    try:
        letter["From"] = _address(sender)
        letter["To"] = tuple(map(_address, recipients))
        letter["Subject"] = nfc(subject)
        letter["Date"] = format_datetime(datetime.fromtimestamp(int(now), UTC))
        letter["Message-ID"] = f"<{message_id}>"
        if in_reply_to:
            letter["In-Reply-To"] = letter["References"] = f"<{in_reply_to}>"
        if automatic:
            letter["Auto-Submitted"] = "auto-generated"
        letter.set_content(nfc(text), charset="utf-8")
        return letter.as_bytes()
    except (MessageError, IndexError) as wrong:
        raise ValueError(str(wrong)) from wrong


def _address(person: Person) -> Address:
    name, address = person
    local, _, host = address.rpartition("@")
    return Address(nfc(name), local, host)
