"""IMAP commands: assembled and parsed as the server does, with and without UTF-8 enabled; names and patterns too."""

from contextlib import suppress

from congvu.codec import imap_append, imap_url
from congvu.codec.imap_names import Pattern, decode_utf7, encode_utf7
from congvu.codec.imap_words import Assembly, Bad, Words
from congvu.servers.imap.commands import TABLE

SEEDS: list[bytes] = [
    b"a1 LOGIN {5+}\r\nan@ag {3+}\r\nabc\r\n",
    b"a AUTHENTICATE PLAIN AGEAYg==\r\n",
    b'a ID ("name" "x" "v" NIL)\r\n',
    b"a ENABLE IMAP4rev2 CONDSTORE\r\n",
    b"a SELECT &AZA- (CONDSTORE)\r\n",
    b'a CREATE "x/y" (USE (\\Sent))\r\n',
    b"a RENAME x {1+}\r\ny\r\n",
    b'a LIST (SUBSCRIBED RECURSIVEMATCH) "" ("*" %/%) RETURN (CHILDREN STATUS (MESSAGES SIZE))\r\n',
    b'a LSUB "" *\r\n',
    b"a STATUS INBOX (MESSAGES UIDNEXT HIGHESTMODSEQ)\r\n",
    b'a APPEND INBOX (\\Seen $x) "22-Nov-2026 07:05:00 +0700" {5+}\r\nhello\r\n',
    b"a APPEND INBOX UTF8 (~{5+}\r\nhello)\r\n",
    b" {5+}\r\nINBOX (\\Seen $x) {1+}\r\na (x) ~{1+}\r\nb\r\n",
    b' 5 INBOX CATENATE (URL "/INBOX;UIDVALIDITY=5/;UID=3/;SECTION=1.MIME" TEXT {1+}\r\nb UTF8 (~{1+}\r\nc))\r\n',
    b"imap://an;AUTH=*@mail.x/Th%C6%B0/;UID=9/;SECTION=HEADER.FIELDS%20(To)/;PARTIAL=0.100",
    b"a SEARCH RETURN (MIN MAX) CHARSET UTF-8 OR (SUBJECT {3+}\r\nabc UNSEEN) NOT 1:*,5 SINCE 1-Jan-2026\r\n",
    b'a SEARCH MODSEQ "/flags/\\\\draft" all 620162338 HEADER X-Y "" KEYWORD $z LARGER 10\r\n',
    b"a SELECT x (QRESYNC (67890007 20050715194045000 41,43:211 (1,5 2,9)) CONDSTORE)\r\n",
    b"a UID FETCH 1:* (FLAGS PREVIEW (LAZY)) (CHANGEDSINCE 5 VANISHED PARTIAL -1:-30)\r\n",
    b"a NOTIFY SET STATUS (SELECTED (MessageNew (UID BODY.PEEK[HEADER.FIELDS (To)]) MessageExpunge FlagChange))"
    b" (SUBTREE (x {1+}\r\ny) (MailboxName SubscriptionChange)) (PERSONAL NONE)\r\n",
    b"a UID SEARCH RETURN (PARTIAL -1:-100 COUNT) ALL\r\n",
    b"a UID SORT RETURN (MIN ALL) (REVERSE DATE DISPLAYFROM) UTF-8 SUBJECT {3+}\r\nabc\r\n",
    b"a THREAD REFERENCES UTF-8 SINCE 1-Jan-2026 UNSEEN\r\n",
    b"a FETCH 1:5,7 (FLAGS BODY.PEEK[1.2.HEADER.FIELDS (From To)]<0.100> BINARY[1] BINARY.SIZE[2])"
    b" (CHANGEDSINCE 12)\r\n",
    b"a UID FETCH $ FULL\r\n",
    b"a UID STORE 1:* (UNCHANGEDSINCE 5) +FLAGS.SILENT (\\Deleted $a)\r\n",
    b"a STORE 2 FLAGS \\Seen \\Flagged\r\n",
    b"a UID MOVE 1,3:4 Trash\r\n",
    b"a UID EXPUNGE 5\r\n",
    b'a SETQUOTA "" (STORAGE 5 MESSAGE 6)\r\n',
    b'a GETMETADATA (DEPTH infinity MAXSIZE 9) "" (/private/comment /shared/vendor/x)\r\n',
    b"a SETMETADATA INBOX (/private/comment NIL /shared/comment ~{3+}\r\na\0b)\r\n",
    b'a LIST "" % RETURN (METADATA (/private/comment) STATUS (DELETED-STORAGE))\r\n',
    b"a COMPRESS DEFLATE\r\n",
    b'a SETACL "Ng&AbAe3Q-i kh&AOE-c/an/INBOX" binh@angiang.gov.vn +lrswid\r\n',
    b"a DELETEACL INBOX {6+}\r\nanyone\r\n",
    b"a LISTRIGHTS INBOX an\r\n",
    b'a LIST "" % RETURN (MYRIGHTS)\r\n',
]
WORDS = [name.encode() for name in TABLE] + [b"(", b")", b"NOT ", b"OR ", b"BODY[", b"<0.5>", b"{3+}\r\n", b"&", b"1:*"]


def one(data: bytes) -> None:
    for utf8 in (False, True):
        _conversation(data, utf8)
        for replacing in (False, True):
            _letters(data, utf8, replacing)
    with suppress(ValueError):
        imap_url.parse(data[:4000].decode("latin-1"))
    text = data[:2000].decode("utf-8", "replace")
    decoded = decode_utf7(text)
    if text.isprintable() and text.isascii():
        assert decode_utf7(encode_utf7(decoded)) == decoded
    Pattern(text[:500]).matches(decoded[:500])


run = one


def _letters(data: bytes, utf8: bool, replacing: bool) -> None:
    """As one APPEND or REPLACE, read to its end or its first error."""
    line, _, rest = data.partition(b"\n")
    reading = imap_append.read(line.removesuffix(b"\r"), 0, utf8, replacing)
    try:
        event = next(reading)
        while True:
            answer = b""
            if isinstance(event, imap_append.Held | imap_append.Text):
                size = event.literal.size
                held, rest = rest[:size], rest[size:]
                line, _, rest = rest.partition(b"\n")
                line = line.removesuffix(b"\r")
                answer = line if isinstance(event, imap_append.Text) else held + line
            event = reading.send(answer)
    except (StopIteration, Bad):
        pass


def _conversation(data: bytes, utf8: bool) -> None:
    at = 0
    while at < len(data):
        assembly = Assembly(65_536)
        try:
            while True:
                end = data.find(b"\n", at)
                line = data[at:] if end < 0 else data[at:end].removesuffix(b"\r")
                at = len(data) if end < 0 else end + 1
                literal = assembly.line(line)
                if literal is None:
                    break
                assembly.literal(data[at : at + literal.size])
                at += literal.size
            words = Words(assembly.command(), utf8)
            words.tag()
            words.space()
            name = words.word()
            if name == "UID":
                words.space()
                name = f"UID {words.word()}"
            if name in TABLE:
                TABLE[name].parse(words)
        except Bad:
            pass
