"""The server is killed at every step of *keep*: whatever got `250` or `OK` is there, bit by bit, exactly once."""

import contextlib
import imaplib
import re
import smtplib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.house.running import DOMAIN, PATIENCE, EndedError, House

CODE = Path(__file__).parents[2] / "congvu"
STEPS = sorted({s for p in CODE.rglob("*.py") for s in re.findall(r'\bstep\("([\w-]+)"\)', p.read_text("utf-8"))})
PEOPLE = 50
MARK = re.compile(rb"^X-Mark: ([\w-]+)\r$", re.MULTILINE)


@dataclass
class Sent:
    """What was handed over: each letter tried, by its mark; those acknowledged, with the people who must have them."""

    tried: dict[str, bytes] = field(default_factory=dict)
    acknowledged: dict[str, list[int]] = field(default_factory=dict)
    lost: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)


def letter(mark: str, size: int) -> bytes:
    """Lines that begin with dots, 8-bit text, a line of 900 bytes: everything that transport could spoil."""
    head = f"From: <thu@xa.test>\r\nTo: <u00@{DOMAIN}>\r\nSubject: Công văn {mark}\r\nX-Mark: {mark}\r\n"
    line = f".{mark} Ủy ban nhân dân tỉnh đề nghị các đơn vị.\r\n..\r\n" + "x" * 900 + "\r\n"
    body = line * max(1, size // len(line.encode()))
    return f"{head}MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{body}".encode()


def send(house: House, sent: Sent, kind: str, recipients: list[int], size: int, end: float) -> None:
    """Over one connection, letter after letter, until the connection is lost."""
    number = 0
    try:
        with house.smtp() as client:
            client.ehlo()
            while not sent.lost.is_set() and time.monotonic() < end:
                mark = f"{kind}-{number}"
                number += 1
                content = letter(mark, size)
                with sent.lock:
                    sent.tried[mark] = content
                refused = client.sendmail("thu@xa.test", [house.address(n) for n in recipients], content)
                assert not refused
                with sent.lock:
                    sent.acknowledged[mark] = recipients
    except (OSError, smtplib.SMTPServerDisconnected):
        sent.lost.set()
    except smtplib.SMTPResponseException as failure:
        assert failure.smtp_code in {421, 451}, failure
        sent.lost.set()


def append(house: House, sent: Sent, person: int, end: float) -> None:
    number = 0
    with contextlib.ExitStack() as stack:
        try:
            client = house.imap(person)
            stack.callback(close, client)
            while not sent.lost.is_set() and time.monotonic() < end:
                mark = f"append-{number}"
                number += 1
                content = letter(mark, 5000)
                with sent.lock:
                    sent.tried[mark] = content
                typ, answer = client.append("INBOX", r"(\Seen)", None, content)  # type: ignore[arg-type]  # no date is fine
                assert typ == "OK", answer
                with sent.lock:
                    sent.acknowledged[mark] = [person]
        except (OSError, imaplib.IMAP4.abort):
            sent.lost.set()


def close(client: imaplib.IMAP4) -> None:
    with contextlib.suppress(OSError):
        client.shutdown()


def load(house: House, seconds: float) -> Sent:
    """Single letters, a letter to fifty, 3 MB letters and APPENDs at once, until a connection is lost or time is up."""
    sent = Sent()
    end = time.monotonic() + seconds
    work: list[tuple[Callable[..., None], tuple[object, ...]]] = [
        (send, (house, sent, "one", [1], 2000, end)),
        (send, (house, sent, "two", [2], 20_000, end)),
        (send, (house, sent, "all", list(range(PEOPLE)), 8000, end)),
        (send, (house, sent, "large", [3], 3_000_000, end)),
        (append, (house, sent, 4, end)),
    ]
    threads = [threading.Thread(target=f, args=arguments) for f, arguments in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE + seconds)
    return sent


def verify(house: House, sent: Sent) -> None:
    for person in range(6):
        found: Counter[str] = Counter()
        for content in house.letters(person):
            match = MARK.search(content[:4000])
            assert match, content[:300]
            mark = match[1].decode()
            found[mark] += 1
            assert content.endswith(sent.tried[mark]), f"{mark} is not what was sent"
            if mark.startswith("append"):
                assert content == sent.tried[mark]
        due = {mark for mark, people in sent.acknowledged.items() if person in people}
        assert not due - set(found), f"acknowledged and lost for {person}"
        assert all(count == 1 for count in found.values()), f"twice: {found}"


@pytest.fixture
def house(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[House]:
    database = request.getfixturevalue("postgres_url") if getattr(request, "param", "") == "postgres" else ""
    house = House(tmp_path / "data", people=PEOPLE, database=database)
    house.set_up()
    yield house
    house.kill()


def start_to_die(house: House, step: str) -> None:
    """Dies at one of the next times this step is passed; not so soon that it never opens its doors."""
    for count in (5, 15, 45, 135):
        try:
            return house.start(kill_at=f"{step}:{count}")
        except EndedError:
            house.kill()
    pytest.fail(f"{step} is passed more than a hundred times before the doors open")


def kill_and_look(house: House, step: str, seconds: float) -> None:
    start_to_die(house, step)
    sent = load(house, seconds)
    house.kill()
    house.start()
    verify(house, sent)
    assert house.stop() == 0
    house.check()


def test_the_steps_of_keep_are_named() -> None:
    assert {"rows-written", "committed"} <= set(STEPS)


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_a_step(house: House, step: str) -> None:
    kill_and_look(house, step, 5)


def test_killed_again_and_again(house: House) -> None:
    """The same store survives one death after another."""
    for step in STEPS[::2]:
        start_to_die(house, step)
        load(house, 2)
        house.kill()
        house.start()
        house.stop()
        house.check()


def test_all_killed_at_any_time(house: House) -> None:
    house.start()
    killer = threading.Timer(1.3, house.kill)
    killer.start()
    sent = load(house, 10)
    killer.join()
    assert sent.acknowledged
    house.start()
    verify(house, sent)
    house.stop()
    house.check()


@pytest.mark.parametrize("house", ["postgres"], indirect=True)
@pytest.mark.parametrize("step", ["rows-written", "committed"])
def test_killed_at_a_step_with_a_database_server(house: House, step: str) -> None:
    kill_and_look(house, step, 4)
