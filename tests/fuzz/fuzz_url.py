"""IMAP URLs: any text is a URL of a message within its bounds, or a `ValueError`."""

import contextlib

from congvu.codec import imap_url

SEEDS = [
    b"/INBOX;UIDVALIDITY=785799047/;UID=113330/;SECTION=1.5.9",
    b"imap://an;AUTH=*@mail.xa.test:143/Th%C6%B0/;UID=20/;PARTIAL=0.1024",
    b";UID=20;SECTION=HEADER.FIELDS%20(DATE%20FROM)",
    b"/;UID=4294967295",
]
WORDS = [b";UID=", b"/;SECTION=", b";UIDVALIDITY=", b"/;PARTIAL=", b"%00", b"%C3%28", b"imap://[::1]", b"////", b"%2F"]


def one(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(ValueError):
        url = imap_url.parse(text)
        assert 0 < url.uid < 2**32
        assert url.uid_validity is None or 0 < url.uid_validity < 2**32
        assert url.mailbox is None or "\0" not in url.mailbox
