"""One server for the tests with real clients, with the rules of the open network: passwords only under TLS."""

from collections.abc import Iterator

import pytest

from tests.house.running import House


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("house") / "data", people=8, insecure=False)
    house.set_up()
    house.start()
    yield house
    log = house.log()
    assert house.stop() == 0
    house.check()
    assert "Traceback" not in log, log
