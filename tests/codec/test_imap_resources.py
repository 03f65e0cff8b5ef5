"""The arguments of QUOTA and METADATA."""

from collections.abc import Callable
from typing import Any

import pytest

from congvu.codec import imap_parse, imap_resources
from congvu.codec.imap import Listing
from congvu.codec.imap_resources import GetMetadata, GetQuota, SetMetadata, SetQuota
from congvu.codec.imap_words import Bad, TooBig, Words

A, B = "/private/comment", "/shared/vendor/x/y"


@pytest.mark.parametrize(
    ("read", "text", "wanted"),
    [
        (imap_resources.get_quota, b' ""', GetQuota("")),
        (imap_resources.get_quota, b" {1}\r\nx", GetQuota("x")),
        (imap_resources.set_quota, b' "" ()', SetQuota("", ())),
        (imap_resources.set_quota, b' "" (storage 5 X-y 0)', SetQuota("", (("STORAGE", 5), ("X-Y", 0)))),
        (imap_resources.get_metadata, b' "" /private/comment', GetMetadata("", (A,), None, 0)),
        (imap_resources.get_metadata, b" (DEPTH 1) x (/private/comment)", GetMetadata("x", (A,), None, 1)),
        (
            imap_resources.get_metadata,
            b" INBOX (depth infinity maxsize 9) (/private/comment /shared/vendor/x/y /private/comment)",
            GetMetadata("INBOX", (A, B), 9, 2),
        ),
        (
            imap_resources.set_metadata,
            b" x (/private/comment nil /shared/vendor/x/y ~{3}\r\na\0b)",
            SetMetadata("x", ((A, None), (B, b"a\0b"))),
        ),
        (
            imap_parse.listing,
            b' "" % RETURN (METADATA (/private/comment) CHILDREN)',
            Listing("", ("%",), returns=frozenset({"METADATA", "CHILDREN"}), metadata=(A,), extended=True),
        ),
    ],
)
def test_arguments(read: Callable[[Words], Any], text: bytes, wanted: object) -> None:
    assert read(Words(text)) == wanted


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (imap_resources.set_quota, b' "" (STORAGE -1)'),
        (imap_resources.set_quota, b' "" STORAGE 1'),
        (imap_resources.get_metadata, b" x"),
        (imap_resources.get_metadata, b" x ()"),
        (imap_resources.get_metadata, b" (DEPTH 1 DEPTH 1) x /private/comment"),
        (imap_resources.get_metadata, b" (DEPTH 9) x /private/comment"),
        (imap_resources.get_metadata, b" (SIZE 9) x /private/comment"),
        (imap_resources.get_metadata, b" x /private"),
        (imap_resources.get_metadata, b" x /private/"),
        (imap_resources.get_metadata, b" x /other/comment"),
        (imap_resources.get_metadata, b' x "/private/a b"'),
        (imap_resources.get_metadata, b' x "/private/a%b"'),
        (imap_resources.get_metadata, b' x "/private/\xc3\xa1"'),
        (imap_resources.get_metadata, b" x /private/" + b"a" * 255),
        (imap_resources.set_metadata, b" x (/private/comment)"),
        (imap_resources.set_metadata, b" x (/private/comment atom)"),
        (imap_parse.listing, b' "" % RETURN (METADATA)'),
        (imap_parse.listing, b' "" % RETURN (METADATA ())'),
    ],
)
def test_what_is_none(read: Callable[[Words], Any], text: bytes) -> None:
    with pytest.raises(Bad):
        read(Words(text))


def test_bounds() -> None:
    many = b" ".join(b"/private/vendor/%d" % n for n in range(imap_resources.MAX_ENTRIES + 1))
    with pytest.raises(TooBig):
        imap_resources.get_metadata(Words(b" x (%b)" % many))
    with pytest.raises(TooBig):
        imap_resources.set_metadata(Words(b" x (%b)" % many.replace(b" /", b" NIL /")))
    with pytest.raises(TooBig):
        imap_resources.set_quota(Words(b' "" (%b)' % b" ".join([b"A 1"] * 101)))
