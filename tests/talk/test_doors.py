"""servers.doors: an exchange to its end, and how many connections an account holds."""

import asyncio
import logging

import pytest

from congvu.base.failure import NotNow, Refused
from congvu.codec import sasl
from congvu.servers.doors import no_place, prove, take_place
from tests.talk.fakes import PASSWORD, FakeDoors, Person


def test_places_of_an_account() -> None:
    async def main() -> None:
        first, second = take_place(1, 2), take_place(1, 2)
        with pytest.raises(NotNow, match="too-many-connections"):
            take_place(1, 2)
        take_place(2, 2)  # another's
        first()
        first()
        third = take_place(1, 2)
        with pytest.raises(NotNow):
            take_place(1, 2)
        second()
        third()
        no_place()
        take_place(1, 1)

    asyncio.run(main())


def play(exchange: sasl.Exchange, initial: bytes | None, *answers: bytes | None) -> tuple[Person | None, list[bytes]]:
    asked: list[bytes] = []
    said = iter(answers)
    doors = FakeDoors()

    async def ask(challenge: bytes) -> bytes | None:
        asked.append(challenge)
        return next(said)

    return asyncio.run(prove(exchange, initial, doors, "192.0.2.1", ask)), asked


def test_an_exchange_to_its_end() -> None:
    assert play(sasl.Plain(), f"\0an@xa.test\0{PASSWORD}".encode()) == (Person(), [])
    assert play(sasl.Plain(), None, f"\0an@xa.test\0{PASSWORD}".encode()) == (Person(), [b""])
    assert play(sasl.Login(), None, b"an@xa.test", PASSWORD.encode()) == (Person(), [b"Username:", b"Password:"])
    assert play(sasl.Login(), None, b"an@xa.test", None) == (None, [b"Username:", b"Password:"])  # gave up


@pytest.mark.parametrize(
    ("initial", "code"), [(b"\0an@xa.test\0wrong", "bad-credentials"), (b"nonsense", "bad-auth-message")]
)
def test_a_failure_is_written_down_without_the_password(
    initial: bytes, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), pytest.raises(Refused, match=code):
        play(sasl.Plain(), initial)
    assert code in caplog.text and "wrong" not in caplog.text.replace("wrong attempts", "")
