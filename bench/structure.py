"""ENVELOPE and BODYSTRUCTURE of ugly letters beside Dovecot's: `python -m bench.structure [--all]`.

Every letter of `bench.ugly` is appended to a private Dovecot (its imap program, signed in beforehand, over a pipe) and
to a private Công Vụ, fetched from both, parsed, and compared field by field. Prints how many agree and the differences
by class, each with an example; docs/conformance.md explains the classes.
"""

import argparse
import imaplib
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from bench.servers import PASSWORD, Ours, login
from bench.ugly import letters

Value = Any  # None, bytes, int, or a list of them
_TOKEN = re.compile(rb'\s*(?:([()])|"((?:[^"\\]|\\.)*)"|\{(\d+)\}\r\n|([^\s()"{]+))', re.S)
FIELDS = ("date", "subject", "from", "sender", "reply-to", "to", "cc", "bcc", "in-reply-to", "message-id")


def parse(answer: bytes) -> list[Value]:
    """A parenthesised answer as lists."""
    stack: list[list[Value]] = [[]]
    at = 0
    while at < len(answer):
        found = _TOKEN.match(answer, at)
        if found is None:
            if answer[at:].strip():
                raise ValueError(answer[at : at + 50])
            break
        at = found.end()
        bracket, quoted, literal, atom = found.groups()
        if bracket == b"(":
            stack.append([])
        elif bracket == b")":
            done = stack.pop()
            stack[-1].append(done)
        elif quoted is not None:
            stack[-1].append(re.sub(rb"\\(.)", rb"\1", quoted))
        elif literal is not None:
            stack[-1].append(answer[at : at + int(literal)])
            at += int(literal)
        else:
            stack[-1].append(None if atom.upper() == b"NIL" else int(atom) if atom.isdigit() else atom)
    (whole,) = stack
    return whole


def fetched(client: imaplib.IMAP4, corpus: list[bytes]) -> list[dict[bytes, Value]]:
    """What a server says of the letters, put into a new mailbox."""
    client.create("ugly")
    for number, letter in enumerate(corpus):
        client.literal = letter
        typ, said = client._simple_command("APPEND", "ugly")  # imaplib's append() would mend line ends
        if typ != "OK":
            raise RuntimeError(f"letter {number}: {said!r}")
    client.select("ugly")
    typ, answer = client.fetch("1:*", "(ENVELOPE BODYSTRUCTURE RFC822.SIZE)")
    lines: list[bytes] = []
    for part in answer:  # literals come apart: put the text of each message together again
        if isinstance(part, tuple):
            piece = part[0] + b"\r\n" + part[1]
            if lines and not re.match(rb"\d+ \(", part[0]):
                lines[-1] += piece
            else:
                lines.append(piece)
        elif lines and not re.match(rb"\d+ \(", part):
            lines[-1] += part
        else:
            lines.append(part)
    found = []
    for line in lines:
        pairs = parse(line)[1]
        found.append(dict(zip(pairs[::2], pairs[1::2], strict=True)))
    return found


def dovecot(folder: Path, corpus: list[bytes]) -> list[dict[bytes, Value]]:
    config = folder / "dovecot.conf"
    config.write_text(
        f"base_dir = {folder}/run\nlog_path = {folder}/log\nmail_location = sdbox:{folder}/mail\nssl = no\n"
        "first_valid_uid = 1\nfirst_valid_gid = 1\n"
    )
    (folder / "run").mkdir()
    for path in (folder, folder / "run"):
        shutil.chown(path, "mail", "mail")
    for upper in folder.parents[:1]:
        upper.chmod(0o755)
    words = "setpriv --reuid=mail --regid=mail --clear-groups env USER=u HOME=" + str(folder)
    client = imaplib.IMAP4_stream(f"{words} /usr/lib/dovecot/imap -c {config}")
    try:
        return fetched(client, corpus)
    finally:
        client.logout()


def ours(folder: Path, base_port: int, corpus: list[bytes]) -> list[dict[bytes, Value]]:
    server = Ours(folder, base_port, users=1)
    server.set_up()
    server.start()
    try:
        client = imaplib.IMAP4("127.0.0.1", server.imap)
        client.login(login(0), PASSWORD)
        found = fetched(client, corpus)
        client.logout()
    finally:
        server.stop()
    return found


def differences(theirs: Value, own: Value, path: str) -> list[tuple[str, Value, Value]]:
    """Where two structures part: by the place in BODYSTRUCTURE, numbers of parts left out."""
    if theirs == own:
        return []
    if not (isinstance(theirs, list) and isinstance(own, list)):
        if isinstance(theirs, bytes) and isinstance(own, bytes) and theirs.lower() == own.lower():
            return []  # the case of types and parameter names is nobody's business
        return [(path, theirs, own)]
    many = [bool(value) and isinstance(value[0], list) for value in (theirs, own)]
    if many[0] != many[1]:
        return [(f"{path}: one is multipart", theirs, own)]
    if many[0]:
        parts = [[each for each in value if isinstance(each, list)] for value in (theirs, own)]
        counts = [next((i for i, each in enumerate(v) if not isinstance(each, list)), len(v)) for v in (theirs, own)]
        if counts[0] != counts[1]:
            return [(f"{path}: number of parts", theirs, own)]
        found = []
        for one, other in zip(parts[0][: counts[0]], parts[1][: counts[1]], strict=True):
            found += differences(one, other, path)
        for place, one, other in zip(MULTIPART, theirs[counts[0] :], own[counts[1] :], strict=False):
            if one != other and str(one).lower() != str(other).lower():
                found.append((f"{path} multipart {place}", one, other))
        return found
    kind = theirs[0].lower() if isinstance(theirs[0], bytes) else b""
    subtype = theirs[1].lower() if len(theirs) > 1 and isinstance(theirs[1], bytes) else b""
    if (str(theirs[:2]).lower()) != str(own[:2]).lower():
        return [(f"{path} type", theirs[:2], own[:2])]
    names = list(PART)
    if kind == b"message" and subtype in {b"rfc822", b"global"}:
        names[7:7] = ["envelope", "body", "lines"]
    elif kind == b"text":
        names[7:7] = ["lines"]
    found = []
    if len(theirs) != len(own):
        found.append((f"{path}: length of the answer", theirs, own))
    for place, one, other in zip(names, theirs, own, strict=False):
        if place == "body":
            found += differences(one, other, path)
        elif place == "envelope":
            found += envelopes(one, other, "inner envelope")
        elif one != other and str(one).lower() != str(other).lower():
            found.append((f"{path} {place}", one, other))
    return found


PART = (
    "type",
    "subtype",
    "params",
    "id",
    "description",
    "encoding",
    "octets",
    "md5",
    "disposition",
    "language",
    "location",
)
MULTIPART = ("subtype", "params", "disposition", "language", "location")


def envelopes(theirs: Value, own: Value, path: str) -> list[tuple[str, Value, Value]]:
    return [
        (f"{path} {name}", one, other) for name, one, other in zip(FIELDS, theirs, own, strict=True) if one != other
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-port", type=int, default=44_500)
    parser.add_argument("--all", action="store_true", help="every difference, not one of each class")
    options = parser.parse_args()
    corpus = letters()
    version = subprocess.run(["dovecot", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    with tempfile.TemporaryDirectory(prefix="congvu-bench-") as place:
        (Path(place) / "theirs").mkdir()
        (Path(place) / "ours").mkdir()
        theirs = dovecot(Path(place) / "theirs", corpus)
        own = ours(Path(place) / "ours", options.base_port, corpus)
    classes: Counter[str] = Counter()
    letters_with = 0
    for number, (letter, one, other) in enumerate(zip(corpus, theirs, own, strict=True)):
        found = envelopes(one[b"ENVELOPE"], other[b"ENVELOPE"], "envelope")
        found += differences(one[b"BODYSTRUCTURE"], other[b"BODYSTRUCTURE"], "structure")
        letters_with += bool(found)
        rest = letter.replace(b"\r\n", b"")
        bare = b"\r" in rest or b"\n" in rest
        for place, left, right in found:
            name = f"{place}, bare CR or LF in the letter" if bare else place
            classes[name] += 1
            if options.all or classes[name] == 1:
                print(f"\n{name} (letter {number})\n  {letter[-300:]!r}\n  theirs {left!r}\n  ours   {right!r}")
    print(
        f"\n{len(corpus)} letters, {len(corpus) - letters_with} answered alike as Dovecot {version} does; differences:"
    )
    for name, count in classes.most_common():
        print(f"{count:5} {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
