"""Proposals with a database behind them, on both engines, and `congvu address propose` as other programs call it."""

import json
from pathlib import Path

import pytest

from congvu.actions import accounts
from congvu.actions import naming as proposals
from congvu.actions.accounts import NewAccount
from congvu.base.clock import Identifiers, ManualClock, day_of
from congvu.db.engine import Database, Tx
from congvu.directory import addresses, profile, units
from congvu.directory.naming import Subject
from congvu.directory.people import Kind
from congvu.directory.units import Unit
from tests.test_cli import run

AG = profile.load("angiang_2016")
NOW = 1_790_000_000.0


@pytest.fixture
def province(db: Database) -> Database:
    """The old city of Long Xuyên, a commune, an office, two persons."""
    ids = Identifiers(ManualClock())

    def make(tx: Tx) -> None:
        root = ids.draw()
        units.add(tx, Unit(root, None, "Tỉnh An Giang", "tinh"))
        new = []
        for local, name, category in (
            ("longxuyen", "UBND thành phố Long Xuyên", "thanhpho"),
            ("binhthanh", "UBND xã Bình Thạnh", "xa"),
            ("sonoivu", "Sở Nội vụ", "so"),
        ):
            unit = ids.draw()
            units.add(tx, Unit(unit, root, name, category))
            new.append(NewAccount(f"{local}@angiang.gov.vn", name, None, Kind.ORGANISATION, unit))
        new.append(NewAccount("lvan@angiang.gov.vn", "Lê Văn An", None))
        new.append(NewAccount("hatien@angiang.gov.vn", "Thành phố Hà Tiên", None, Kind.ORGANISATION))
        new.append(NewAccount("chuaro@angiang.gov.vn", "Không rõ", None, Kind.ORGANISATION))
        accounts.add_accounts(tx, "test", new, AG, ids, NOW)
        addresses.lay_to_rest(tx, ["lvan@angiang.gov.vn"], NOW + 1000)

    db.write_now(make)
    return db


@pytest.mark.parametrize(
    ("subject", "local", "clause"),
    [
        (Subject("phuong", "Phường Long Xuyên"), "plongxuyen", "2.12"),
        (Subject("xa", "Xã Bình Thạnh", "chauthanh"), "binhthanhchauthanh", "2.11"),
        (Subject("phuong", "Phường Hà Tiên"), "phatien", "2.12"),  # no unit: by the holder's name
        (Subject("xa", "Xã Chừa Rọ"), "xachuaro", "2.12"),  # nothing tells
        (Subject("person", "Lê Vĩnh An"), "lvan02", "2.16"),  # the first one rests
        (Subject("phong", "Phòng Văn hóa", "sonoivu"), "vanhoa.sonoivu", "2.9"),
        (Subject("phong", "Phòng Văn hóa", "longxuyen@angiang.gov.vn"), "vanhoa.longxuyen", "2.8"),
        (Subject("xa", "Xã Vĩnh Gia"), "vinhgia", "2.10"),
    ],
)
def test_who_holds_what_decides(province: Database, subject: Subject, local: str, clause: str) -> None:
    found = province.read_now(proposals.propose, AG, subject, ("angiang.gov.vn",))
    assert (found[0].address, found[0].clause) == (f"{local}@angiang.gov.vn", clause)
    assert "đang nghỉ" in found[0].why if subject.name == "Lê Vĩnh An" else "đang nghỉ" not in found[0].why
    assert not province.read_now(addresses.taken, [each.address for each in found])


def test_the_domain_is_one_that_is_served(province: Database) -> None:
    def domain(subject: Subject, *served: str) -> str:
        return province.read_now(proposals.propose, AG, subject, served)[0].address.partition("@")[2]

    person = Subject("person", "Lê Văn An")
    assert domain(person, "x.vn", "angiang.gov.vn") == domain(person) == "angiang.gov.vn"
    assert domain(person, "x.vn", "y.vn") == "x.vn"
    assert domain(Subject("person", "Lê Văn An", domain="z.vn"), "x.vn") == "z.vn"


def test_the_day_is_that_of_vietnam() -> None:
    midnight = 1_782_838_800.0  # 2026-07-01 00:00 in Vietnam
    assert [day_of(midnight - 1).isoformat(), day_of(midnight).isoformat()] == ["2026-06-30", "2026-07-01"]


# ---- the command


def proposed(*words: str | Path) -> list[dict[str, str]]:
    found = json.loads(run("address", "propose", "--json", *words).stdout)
    assert found and all(list(each) == ["address", "clause", "why"] for each in found)
    assert all(isinstance(value, str) and value for each in found for value in each.values())
    return found


def test_the_command_without_a_database() -> None:
    found = proposed("--profile", "angiang_2016", "--kind", "phong", "--name", "Phòng Nội vụ", "--parent", "chauphu")
    assert found[0]["address"] == "noivu.chauphu@angiang.gov.vn" and found[0]["clause"] == "2.8"
    words = ("--profile", "dongthap_2025", "--kind", "person", "--name", "Lê Văn An", "--birth", "1980-05-07")
    assert [each["address"].partition("@")[0] for each in proposed(*words, "--domain", "x.vn")] == [
        "levanan", "levanan1980", "lvanan", "lvan", "lvan1980", "lvan051980",
    ]  # fmt: skip
    words = ("--profile", "gialai_2022", "--kind", "person", "--name", "Lê Văn An", "--parent", "snnmt")
    assert proposed(*words, "--on", "2023-01-01")[0]["address"] == "anlv@gialai.gov.vn"
    assert proposed(*words)[0]["address"] == "anlv@snnmt.gialai.gov.vn"
    words = ("--profile", "bacninh_2025", "--kind", "person", "--name", "Lê Văn An", "--identity", "027080001234")
    assert proposed(*words)[0]["address"] == "anlv234@bacninh.gov.vn"


def test_the_command_asks_the_database(tmp_path: Path) -> None:
    data = tmp_path / "d"
    run("init", "--data", data, "--domain", "angiang.gov.vn", "--profile", "angiang_2016", "--base-port", "26000")
    run("account", "add", "lvan@angiang.gov.vn", "--name", "Lê Văn An", "--data", data)
    found = proposed("--data", data, "--kind", "person", "--name", "Lê Vũ An")
    assert found[0] == {
        "address": "lvan02@angiang.gov.vn",
        "clause": "2.16",
        "why": "lvan đã có người dùng (2.16): thêm số thứ tự 02",
    }
    table = run("address", "propose", "--data", data, "--kind", "person", "--name", "Lê Vũ An").stdout
    assert "lvan02@angiang.gov.vn" in table and "2.16" in table


@pytest.mark.parametrize(
    "words",
    [
        ("--kind", "so", "--name", "Sở Ngoại vụ"),
        ("--kind", "so", "--name", "Sở Ngoại vụ", "--profile", "nowhere"),
        ("--kind", "so", "--name", "Sở Ngoại vụ", "--profile", "/nowhere.toml"),
        ("--kind", "bo", "--name", "Bộ Ngoại giao", "--profile", "angiang_2016"),
        ("--kind", "person", "--name", "王小明", "--profile", "angiang_2016"),
        ("--kind", "person", "--name", "An", "--profile", "angiang_2016", "--birth", "hôm qua"),
        ("--kind", "phong", "--name", "Phòng Nội vụ", "--profile", "angiang_2016"),
        ("--kind", "so", "--name", "Sở Ngoại vụ", "--profile", "angiang_2016", "--on", "2016-09-23"),
    ],
)
def test_a_mistake_is_one_line(words: tuple[str, ...]) -> None:
    run("address", "propose", *words, "--json", code=2)


def test_a_wrong_profile_stops_the_server_and_the_making_of_one(tmp_path: Path) -> None:
    own = tmp_path / "tinh.toml"
    good = (profile.folder() / "angiang_2016.toml").read_text("utf-8")
    own.write_text(good, "utf-8")
    data = tmp_path / "d"
    run("init", "--data", data, "--domain", "angiang.gov.vn", "--profile", own, "--base-port", "26000")
    assert "soxaydung" in run("address", "propose", "--data", data, "--kind", "so", "--name", "Xây dựng").stdout
    own.write_text(good.replace('gives = "soxaydung"', 'gives = "sxd"', 1), "utf-8")
    for words in (
        ("serve", "--data", data),
        ("init", "--data", tmp_path / "e", "--domain", "x.vn", "--profile", own),
        ("profile", "show", own),
    ):
        told = run(*words, code=2).stderr
        line = next(n for n, text in enumerate(good.splitlines(), 1) if 'gives = "soxaydung"' in text)
        assert f"tinh.toml:{line} " in told and "phải ra sxd" in told and "should give sxd" in told
    assert not (tmp_path / "e").exists()


def test_a_profile_is_shown_with_its_sources() -> None:
    text = run("profile", "show", "ninhbinh_2025").stdout
    assert "lock.wrong_passwords\t" in text and "áp dụng 5" in text
    shown = json.loads(run("profile", "show", "ninhbinh_2025", "--json").stdout)
    assert shown["lock.wrong_passwords"]["own"] == {"value": "12", "row": "4.2", "source": "NB Đ7.2a"}
    assert shown["lock.wrong_passwords"]["applied"]["row"] == "5.9" and shown["lock.too_long"]["applied"] is None
