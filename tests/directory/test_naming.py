"""Addresses by the rules: what people write, what is taken, what cannot be done. Provinces: test_profile.py."""

import re
import time
import unicodedata
from collections.abc import Collection, Sequence
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from congvu.base.failure import Refused
from congvu.base.texts import say
from congvu.directory import addresses, naming, profile
from congvu.directory.forms import KINDS, VOCABULARY
from congvu.directory.naming import Candidate, Subject, propose

AG = profile.load("angiang_2016")
NAMES = [name for name in profile.names() if profile.load(name).naming.forms]


def first(kind: str, name: str, parent: str = "") -> str:
    return propose(AG, Subject(kind, name, parent))[0].address.removesuffix("@angiang.gov.vn")


def holding(**held: str | None) -> naming.Taken:
    """As the database answers: only what was asked for."""
    full = {f"{local}@angiang.gov.vn": kind for local, kind in held.items()}
    return lambda asked: {each: full[each] for each in asked if each in full}


# ---- names as people write them


@pytest.mark.parametrize(
    "name",
    [
        "Sở Thông tin và Truyền thông", "SỞ THÔNG TIN VÀ TRUYỀN THÔNG", "sở thông tin và truyền thông",
        "Thông tin và Truyền thông", "Sở  Thông tin  &  Truyền thông", "Sở Thông tin - Truyền thông",
        "So Thong tin va Truyen thong", "Sở TT&TT", "Sở TTTT", "Sở Thông tin, Truyền thông tỉnh An Giang",
        "Sở Thông tin và Truyền thông tỉnh",
        unicodedata.normalize("NFD", "Sở Thông tin và Truyền thông"),
    ],
)  # fmt: skip
def test_one_office_in_many_spellings(name: str) -> None:
    assert first("so", name) == "sotttt"


@pytest.mark.parametrize(
    ("kind", "name", "local"),
    [
        ("xa", "Uỷ ban nhân dân xã Thoại Giang", "thoaigiang"),
        ("xa", "Ủy ban nhân dân xã Thoại Giang", "thoaigiang"),
        ("xa", "UBND xã Thoại Giang", "thoaigiang"),
        ("xa", "THOẠI GIANG", "thoaigiang"),
        ("xa", "Xa Mát", "xamat"),  # no type word: another tone
        ("phuong", "P. Mỹ Bình", "mybinh"),
        ("thitran", "TT. Phú Mỹ", "phumy"),
        ("thanhpho", "Tp Châu Đốc", "chaudoc"),
        ("phuong", "Phường 1", "phuong1"),
        ("phuong", "Phường Nguyễn Trung Trực", "nguyentrungtruc"),
        ("ban", "Ban Tôn giáo - Dân tộc", "bantgdt"),
        ("nganh", "Toà án", "nganhtoaan"),
        ("nganh", "Tòa án", "nganhtoaan"),
        ("vanphong", "VP UBND", "vpubnd"),
        ("vanphong", "Văn phòng Đoàn đại biểu Quốc hội và Hội đồng nhân dân tỉnh", "vpddbqhhdnd"),
        ("trungtam", "Trung tâm CNTT và Truyền thông", "ttcntttt"),
        ("benhvien", "Bệnh viện Sản - Nhi", "benhviensannhi"),
        ("benhvien", "BV Đa khoa khu vực 2", "benhviendkkv2"),
    ],
)
def test_names_of_units(kind: str, name: str, local: str) -> None:
    assert first(kind, name) == local


@pytest.mark.parametrize(
    ("kind", "name", "parent", "local"),
    [
        ("phong", "Phòng Nội vụ UBND huyện Châu Phú", "chauphu", "noivu.chauphu"),
        ("phong", "Phòng Nội vụ huyện Châu Phú", "CHAUPHU@angiang.gov.vn", "noivu.chauphu"),
        ("phong", "Phòng Tổ chức cán bộ Sở Thông tin và Truyền thông", "sotttt", "tccb.sotttt"),
        ("vanphong", "Văn phòng UBND huyện Châu Phú", "chauphu", "vpubnd.chauphu"),
        ("congan", "Công an phường Long Xuyên", "plongxuyen", "congan.plongxuyen"),
        ("trungtam", "Trung tâm Y tế Long Xuyên", "longxuyen", "ttyte.longxuyen"),
        ("chicuc", "Chi cục Chăn nuôi và Thú y", "sonnptnt", "chicuccnty.sonnptnt"),
        ("phong", "Phòng Kế hoạch", "vp.soxaydung", "kehoach.vp.soxaydung"),
    ],
)
def test_names_of_units_under_another(kind: str, name: str, parent: str, local: str) -> None:
    assert first(kind, name, parent) == local


@pytest.mark.parametrize(
    ("name", "parent", "kind", "clause"),
    [
        ("Phòng Kinh tế", "sotttt", "", "2.9"),
        ("Phòng Kinh tế", "hoian", "", "2.8"),
        ("Phòng Kinh tế xã Sơn Kiên", "sonkien", "", "2.8"),
        ("Phòng Kinh tế", "sonkien", "xa", "2.8"),
        ("Phòng Kinh tế", "vinhgia", "", "2.8"),
        ("Phòng Kinh tế Sở Nội vụ", "sonoivu", "", "2.9"),
    ],
)
def test_offices_of_districts_and_of_departments(name: str, parent: str, kind: str, clause: str) -> None:
    found = propose(AG, Subject("phong", name, parent, kind))[0]
    assert (found.address, found.clause) == (f"kinhte.{parent}@angiang.gov.vn", clause)


@pytest.mark.parametrize(
    ("name", "local"),
    [
        ("Nguyễn Thị Huệ", "nthue"),
        ("NGUYỄN  THỊ  HUỆ", "nthue"),
        ("Ðặng Ðình Ðức", "ddduc"),  # eth for đ
        ("Tôn Nữ Thị Ngọc Ánh", "tntnanh"),
        ("Néang Chanh Đa Ty", "ncdty"),
        ("H'Hen Niê", "hnie"),
        ("HʼHen Niê", "hnie"),
        ("Nguyễn Thị Ánh-Tuyết", "ntanhtuyet"),
        ("K' Brừi", "kbrui"),
        ("Kha", "kha"),
        ("Jean-Pierre Müller", "jmuller"),
    ],
)
def test_names_of_persons(name: str, local: str) -> None:
    assert first("person", name) == local


def test_the_parts_of_a_name_can_be_told() -> None:
    assert propose(AG, Subject("person", "Y Moan Êban", given="Moan Êban"))[0].address == "ymoaneban@angiang.gov.vn"
    assert propose(AG, Subject("person", "Lê Văn An", given="An"))[0].address == "lvan@angiang.gov.vn"
    assert propose(AG, Subject("person", "Kha", given="Kha"))[0].address == "kha@angiang.gov.vn"


# ---- what is taken


def test_persons_of_the_same_form_are_numbered_in_order() -> None:
    found = propose(AG, Subject("person", "Lê Văn An"), holding(lvan="person"))
    assert found == [Candidate("lvan02@angiang.gov.vn", "2.16", "lvan đã có người dùng (2.16): thêm số thứ tự 02")]
    assert [each.address[:6] for each in propose(AG, Subject("person", "Lê Văn An"), holding())] == ["lvan@a", "lvan02"]


def test_many_of_a_form_cost_few_questions() -> None:
    held = {"lvan@angiang.gov.vn", *(f"lvan{n:02}@angiang.gov.vn" for n in range(2, 700))}
    questions: list[int] = []

    def taken(asked: Sequence[str]) -> Collection[str]:
        questions.append(len(asked))
        return held.intersection(asked)

    assert propose(AG, Subject("person", "Lê Văn An"), taken)[0].address == "lvan700@angiang.gov.vn"
    assert len(questions) <= 6


def test_a_gap_is_filled_only_where_nobody_was() -> None:
    taken = holding(lvan="person", lvan02=naming.RESTING, lvan03="person")
    assert propose(AG, Subject("person", "Lê Văn An"), taken)[0].address == "lvan04@angiang.gov.vn"


def test_communes_and_districts_are_told_apart() -> None:
    subject = Subject("xa", "Xã Bình Thạnh", "chauthanh")
    among_communes = propose(AG, subject, holding(binhthanh="xa"))
    assert (among_communes[0].address, among_communes[0].clause) == ("binhthanhchauthanh@angiang.gov.vn", "2.11")
    assert among_communes[0].why.startswith("binhthanh đã là địa chỉ của xã (2.11): ")
    district = propose(AG, subject, holding(binhthanh="huyen"))
    assert (district[0].address, district[0].clause) == ("xabinhthanh@angiang.gov.vn", "2.12")
    both = propose(AG, subject, holding(binhthanh="huyen", xabinhthanh="xa"))
    assert both[0].address == "xabinhthanhchauthanh@angiang.gov.vn"
    plain_set = propose(AG, subject, {"binhthanh@angiang.gov.vn"})
    assert plain_set == propose(AG, subject, lambda asked: {"binhthanh@angiang.gov.vn"} & set(asked))
    assert {each.clause for each in plain_set} == {"2.11", "2.12"}


def test_what_rests_is_given_to_nobody() -> None:
    found = propose(AG, Subject("phuong", "Phường Long Xuyên"), holding(longxuyen=naming.RESTING))
    assert found[0].address == "plongxuyen@angiang.gov.vn" and "đang nghỉ, chưa được cấp lại (13.6)" in found[0].why


def test_when_everything_is_taken_people_have_to_decide() -> None:
    with pytest.raises(Refused, match="naming-all-taken"):
        propose(AG, Subject("xa", "Xã Vĩnh Gia"), list)
    with pytest.raises(Refused, match="naming-all-taken"):
        propose(AG, Subject("person", "Lê Văn An"), list)


# ---- what cannot be done


@pytest.mark.parametrize(
    ("subject", "code"),
    [
        (Subject("person", ""), "bad-name"),
        (Subject("person", "a\0b"), "bad-name"),
        (Subject("person", "…"), "naming-no-name"),
        (Subject("other", "&"), "naming-no-name"),
        (Subject("person", "王小明"), "naming-unwritable"),
        (Subject("so", "Sở Иванов"), "naming-unwritable"),
        (Subject("person", "Nguyễn Văn An 2"), "naming-digits"),
        (Subject("other", "Postmaster"), "naming-reserved"),
        (Subject("phong", "Phòng Nội vụ"), "naming-needs"),
        (Subject("phong", "Phòng", "soxaydung"), "naming-needs"),
        (Subject("other", "12"), "naming-only-digits"),
        (Subject("xa", " ".join(["Nghiêng"] * 20)), "naming-too-long"),
        (Subject("tinh", "Tỉnh An Giang"), "naming-no-kind"),
        (Subject("phong", "Phòng Nội vụ", "so xay dung"), "naming-bad-parent"),
        (Subject("phong", "Phòng Nội vụ", "a" * 65), "naming-bad-parent"),
        (Subject("so", "Sở Ngoại vụ", domain="-"), "naming-no-domain"),
        (Subject("person", "Lê Văn An", identity="12"), "naming-bad-identity"),
    ],
)
def test_what_is_refused(subject: Subject, code: str) -> None:
    with pytest.raises(Refused) as caught:
        propose(AG, subject)
    assert caught.value.code == code
    assert "?" not in say(code, True, **caught.value.facts)


def test_a_profile_without_forms_says_so() -> None:
    with pytest.raises(Refused, match="naming-no-rule"):
        propose(profile.load(profile.FLOOR), Subject("so", "Sở Ngoại vụ", domain="x.vn"))
    with pytest.raises(Refused, match="naming-no-domain"):
        propose(profile.load(profile.FLOOR), Subject("so", "Sở Ngoại vụ"))


def test_reserved_names_are_skipped_where_there_is_another_form() -> None:
    assert propose(AG, Subject("xa", "Xã A Bú Sê", "tinhbien"))[0].address == "xaabuse@angiang.gov.vn"
    assert propose(AG, Subject("person", "Root"))[0].address == "root02@angiang.gov.vn"


# ---- dates and domains


def test_forms_have_their_time() -> None:
    gialai = profile.load("gialai_2022")
    person = Subject("person", "Lê Văn An", "snnmt")

    def on(day: date | None) -> str:
        return propose(gialai, Subject(person.kind, person.name, person.parent, on=day))[0].address

    assert on(date(2025, 6, 30)) == "anlv@gialai.gov.vn"
    assert on(date(2025, 7, 1)) == on(None) == "anlv@snnmt.gialai.gov.vn"
    other = Subject("person", "Lê Văn An", "snnmt", domain="Quynhon.Gialai.gov.vn")
    assert propose(gialai, other)[0].address == "anlv@snnmt.quynhon.gialai.gov.vn"


# ---- addresses chosen by hand (row 2.13)


@pytest.mark.parametrize(
    ("subject", "local", "codes"),
    [
        (Subject("person", "Lê Văn An"), "lvan", []),
        (Subject("person", "Lê Văn An"), "lvan17", []),
        (Subject("person", "Lê Văn An"), "lvan2", ["naming-not-the-rule"]),
        (Subject("person", "Lê Văn An"), "anle", ["naming-not-the-rule"]),
        (Subject("person", "Lê Văn An"), "Lê.An", ["naming-bad-local"]),
        (Subject("person", "Lê Văn An"), "abuse", ["naming-reserved"]),
        (Subject("person", "Lê Văn An", identity="089080001234"), "lvan234", ["naming-identity"]),
        (Subject("other", "Một cửa"), "thutuchanhchinh", ["naming-not-the-rule"]),
        (Subject("person", "王小明"), "vtminh", ["naming-unwritable"]),
        (Subject("so", "Sở Xây dựng"), "a" * 65, ["naming-too-long"]),
    ],
)
def test_what_speaks_against_an_address(subject: Subject, local: str, codes: list[str]) -> None:
    found = naming.accepts(AG, subject, local)
    assert [each.reason.code for each in found] == codes
    assert all(
        each.final == (each.reason.code in {"naming-bad-local", "naming-reserved", "naming-too-long"}) for each in found
    )


# ---- whose row is it (row 7.7)


def test_swapped_rows_of_a_roster_are_seen() -> None:
    roster = {
        "Nguyễn Thị Huệ": "nthue", "Lê Văn An": "lvan02", "Trần Quốc Bảo": "tqbao", "Lý Minh Kỳ": "lmki",
        "Đặng Mỹ Linh": "linhdm.skhcn", "Chau Sóc Kha": "chausockha1980", "Phạm Ngọc Ánh": "phạm.ngọc.ánh",
    }  # fmt: skip
    for name, local in roster.items():
        scores = {each: naming.matches(AG, each, local) for each in roster}
        assert max(scores, key=lambda each: scores[each]) == name and scores[name] >= 0.9, (name, local, scores)
        assert all(score < 0.6 for each, score in scores.items() if each != name)
    assert naming.matches(AG, "Lê Văn An", "anlevan2@x.vn") == 0.9 and naming.matches(AG, "王", "lvan") == 0.0


# ---- properties

kinds = st.sampled_from(KINDS)
SOME = ("Sở", "Phòng", "Ủy", "ban", "nhân", "dân", "và", "&", "-", ",", "xã", "1", "Vĩnh", "Gia", "UBND", "H'Hen", "đ")
words = st.lists(st.sampled_from(SOME), max_size=12)
names = st.one_of(st.text(max_size=60), words.map(" ".join))


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(NAMES), kinds, names, st.sampled_from(["", "soxaydung", "vinhgia"]))
def test_any_name_gives_valid_addresses_or_a_reason(province: str, kind: str, name: str, parent: str) -> None:
    rules = profile.load(province)
    subject = Subject(kind, name, parent, identity="089080001234", birth=date(1980, 5, 7))

    def outcome(one: Subject) -> list[Candidate] | str:
        try:
            return propose(rules, one)
        except Refused as refused:
            assert "\n" not in say(refused.code, True, **refused.facts)
            return refused.code

    found = outcome(subject)
    assert found == outcome(subject)
    apart = unicodedata.normalize("NFD", name)
    assert found == outcome(Subject(kind, apart, parent, identity="089080001234", birth=date(1980, 5, 7)))
    if isinstance(found, str):
        assert found.startswith("naming-") or found == "bad-name"
        return
    assert len({each.address for each in found}) == len(found) >= 1
    for each in found:
        local, _, domain = each.address.partition("@")
        assert re.fullmatch(r"[a-z0-9]+(\.[a-z0-9]+)*", local) and len(local) <= 64 and re.search("[a-z]", local)
        assert addresses.checked(each.address) == each.address and domain.endswith(rules.naming.domains[0])
        assert re.fullmatch(r"\d+\.\d+", each.clause) and each.why.isprintable()
        assert not any(objection.final for objection in naming.accepts(rules, subject, local))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(NAMES), names, st.sets(st.integers(0, 12)))
def test_what_is_held_is_never_proposed(province: str, name: str, which: set[int]) -> None:
    rules = profile.load(province)
    subject = Subject("person", name, "soxaydung", identity="089080001234", birth=date(1980, 5, 7))
    try:
        free = propose(rules, subject)
        held = {each.address for n, each in enumerate(free) if n in which}
        found = propose(rules, subject, held.intersection)
    except Refused:
        return
    assert not held & {each.address for each in found}
    assert [e.address for e in found][:1] == [e.address for e in free if e.address not in held][:1] or held


def test_bulk_is_fast_enough_to_be_no_matter() -> None:
    """A bound far above what it takes (10,000 persons in half a second): only a loop gone wrong fails."""
    names = [f"{family} Thị {given}" for family in ("Nguyễn", "Trần", "Lê") for given in ("An", "Huệ", "Đức", "Ngọc")]
    subjects = [Subject("person", name) for name in names]
    begun = time.process_time()
    for _ in range(80):
        for subject in subjects:
            propose(AG, subject)
    assert time.process_time() - begun < 10


def test_the_vocabulary_is_documented() -> None:
    from pathlib import Path

    text = (Path(__file__).parents[2] / "docs/naming.md").read_text("utf-8")
    assert not [word for word in VOCABULARY if f"`{{{word}}}`" not in text]
