"""Rosters: accounts brought along in a CSV file, with their passwords or the hashes of an older system.

Promises that every row is judged before any is kept, that each bad row is named by its line with its reason, and that
the good ones come in one transaction or not at all (row 7.7: real rosters are 6 to 20 % dirty).
"""

import csv
import io
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from congvu.actions import accounts
from congvu.actions.accounts import NewAccount
from congvu.base.clock import Identifiers
from congvu.base.config import Config
from congvu.base.failure import Refused
from congvu.base.observe import Secret
from congvu.db.engine import Database, Duplicate, Tx
from congvu.directory import addresses, credentials
from congvu.directory.credentials import Stored
from congvu.directory.profile import Profile

MAX_FILE = 64 * 2**20  # octets: a hash takes 150, so some 300,000 rows
MAX_ROWS = 200_000
_TOGETHER = 500  # rows in one batch of statements

Progress = Callable[[int, int], None]  # rows done, rows in all


@dataclass(frozen=True, slots=True)
class Row:
    """A row that can be kept. Either `hash` or `password`."""

    line: int
    address: str
    name: str
    hash: str
    password: Secret | None


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot, and why."""

    line: int
    address: str
    reason: Refused


@dataclass(frozen=True, slots=True)
class Outcome:
    """`added` rows were kept; `bad` ones not. With bad rows and without `skip_bad`, `added` is 0."""

    added: int
    bad: tuple[BadRow, ...]


def read(path: Path, config: Config) -> tuple[list[Row], list[BadRow]]:
    """All rows of a file, judged one by one. Raises `Refused` when the file as a whole is not a roster."""
    with path.open("rb") as file:
        return judge(file.read(MAX_FILE + 1), path.name, config)


def judge(data: bytes, name: str, config: Config) -> tuple[list[Row], list[BadRow]]:
    """The same from bytes; `name` is the file's, for messages."""
    good: list[Row] = []
    bad: list[BadRow] = []
    first: dict[str, int] = {}
    for line, cells in _cells(data, name):
        try:
            row = _judge(config, line, cells)
            if row.address in first:
                raise Refused("twice-in-file", address=row.address, line=first[row.address])
        except Refused as reason:
            bad.append(BadRow(line, cells["address"], reason))
            continue
        first[row.address] = line
        good.append(row)
    return good, bad


def _judge(config: Config, line: int, cells: dict[str, str]) -> Row:
    address, name = accounts.checked(config, cells["address"], cells["name"])
    # A password keeps its spaces; a hash never has any.
    password, hash_ = cells["password"], cells["password_hash"].strip()
    if password and hash_:
        raise Refused("two-secrets")
    if hash_:
        return Row(line, address, name, credentials.checked_hash(hash_), None)
    if not password:
        raise Refused("no-secret")
    return Row(line, address, name, "", credentials.checked_password(Secret(password)))


_COLUMNS = ("address", "name", "password", "password_hash")


def _cells(data: bytes, name: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells of each row; columns by name, in any order, others ignored, empty rows left out."""
    if len(data) > MAX_FILE:
        raise Refused("csv-too-long", file=name, most=MAX_ROWS)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Refused("csv-unreadable", file=name, line=line, reason="UTF-8") from None
    head = text.partition("\n")[0]
    # Excel writes ";" where the comma is the decimal sign, as it is in Vietnam.
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=";" if ";" in head and "," not in head else ",", strict=True
    )
    try:
        names = [word.strip().lower() for word in next(reader, [])]
        missing = [word for word in _COLUMNS[:2] if word not in names]
        if not missing and "password" not in names and "password_hash" not in names:
            missing = ["password"]
        if missing:
            raise Refused("csv-columns", file=name, missing=", ".join(missing))
        end = reader.line_num
        for count, cells in enumerate(reader, 1):
            line, end = end + 1, reader.line_num
            if count > MAX_ROWS:
                raise Refused("csv-too-long", file=name, most=MAX_ROWS)
            if any(cell.strip() for cell in cells):
                found = dict(zip(names, cells, strict=False))
                yield line, {word: found.get(word, "") for word in _COLUMNS}
    except csv.Error as error:
        raise Refused("csv-unreadable", file=name, line=reader.line_num, reason=error) from None


def import_accounts(
    db: Database,
    path: Path,
    config: Config,
    profile: Profile,
    ids: Identifiers,
    now: float,
    who: str,
    skip_bad: bool = False,
    progress: Progress = lambda done, total: None,
) -> Outcome:
    """Reads, judges, hashes what is in clear, and keeps. Raises `Refused` when the file as a whole is not a roster."""
    good, bad = read(path, config)
    good, taken = _free(good, db.read_now(addresses.taken, [row.address for row in good]))
    bad += taken
    if (bad and not skip_bad) or not good:
        return Outcome(0, _by_line(bad))
    total = len(good) + sum(row.password is not None for row in good)
    secrets = _secrets(good, lambda done: progress(done, total))
    made = total - len(good)

    def keep(tx: Tx) -> tuple[int, list[BadRow]]:
        free, late = _free(good, addresses.taken(tx, [row.address for row in good]))
        if late and not skip_bad:
            return 0, late
        for start in range(0, len(free), _TOGETHER):
            some = free[start : start + _TOGETHER]
            accounts.add_accounts(
                tx, who, [NewAccount(r.address, r.name, secrets[r.line]) for r in some], profile, ids, now
            )
            progress(made + start + len(some), total)
        return len(free), late

    try:
        added, late = db.write_now(keep)
    except Duplicate:  # somebody else took an address meanwhile; asked again, it will be seen
        added, late = db.write_now(keep)
    return Outcome(added, _by_line(bad + late))


def _free(rows: Sequence[Row], taken: Collection[str]) -> tuple[list[Row], list[BadRow]]:
    free = [row for row in rows if row.address not in taken]
    late = [
        BadRow(row.line, row.address, Refused("address-taken", address=row.address))
        for row in rows
        if row.address in taken
    ]
    return free, late


def _by_line(bad: Sequence[BadRow]) -> tuple[BadRow, ...]:
    return tuple(sorted(bad, key=lambda row: row.line))


def _secrets(rows: Sequence[Row], progress: Callable[[int], None]) -> dict[int, Stored]:
    """What is kept of each row's secret, by line. Argon2 lets other threads run, so all cores work."""
    found = {row.line: Stored(row.hash, None) for row in rows if row.password is None}
    clear = [(row.line, row.password) for row in rows if row.password is not None]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for done, (line, stored) in enumerate(
            zip((line for line, _ in clear), pool.map(credentials.make, (p for _, p in clear)), strict=True), 1
        ):
            found[line] = stored
            progress(done)
    return found
