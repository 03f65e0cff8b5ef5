"""Profiles: every one that comes along is whole, what is wrong is refused with its line, the stricter value wins."""

import re
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from congvu.base import tomlplace
from congvu.base.failure import Refused
from congvu.base.texts import say
from congvu.directory import profile
from congvu.directory.people import Kind
from congvu.directory.rules import SECTIONS, Cited, Key, Period, Rule, Size, Stricter, combine

NAMES = profile.names()
HEAD = '[profile]\ntitle = "Thử"\ntext = "QĐ 1/2026"\ndomains = ["x.vn"]\nrow = "2.2"\n'


def test_the_profiles_that_come_along() -> None:
    assert set(NAMES) == {
        "angiang_2016", "angiang_2025", "gialai_2022", "kiengiang", "ninhbinh_2025", "nghean_2025", "dongthap_2025",
        "bacninh_2025", "national_floor_2026",
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_profile_is_whole_and_its_examples_come_true(name: str) -> None:
    found = profile.load(name)  # refuses an example that does not come true
    assert found.name == name and found.title and found.text
    assert name == profile.FLOOR or len(found.examples) >= 6
    assert set(found.quota) == set(Kind) and all(found.quota.values())
    for key, known, rule in found.every():
        assert known.doc and rule.key == key and rule is found.rule(key)
        if not known.silent:
            assert rule.value is not None and re.fullmatch(r"\d+\.\d+", rule.row), key
        for cited in (rule.own, rule.floor):
            assert cited is None or (cited.row and cited.source), key


def test_every_clause_of_the_naming_rules_has_an_example() -> None:
    shown: dict[str, set[str]] = {}
    for name in NAMES:
        for example in profile.load(name).examples:
            for row in (example.clause, *example.shows):
                shown.setdefault(row, set()).add(name)
    for row in range(1, 18):
        assert "angiang_2016" in shown[f"2.{row}"], row
    assert not {f"2.{row}" for row in range(18, 28)} - set(shown)


@pytest.mark.parametrize(
    ("name", "key", "own", "value"),
    [
        ("ninhbinh_2025", "lock.wrong_passwords", 12, 5),  # conflict 17.4
        ("nghean_2025", "lock.inactive", Period(months=6), Period(days=45)),  # conflict 17.3
        ("bacninh_2025", "lock.inactive", Period(months=3), Period(days=45)),
        ("dongthap_2025", "lock.inactive", Period(days=45), Period(days=45)),
        ("dongthap_2025", "lock.default_password", Period(days=5), Period(days=5)),
        ("dongthap_2025", "deadline.issue", 5, 5),  # the floor's 3 is usual, not commanded
        ("bacninh_2025", "deadline.revoke", 2, 2),
        ("bacninh_2025", "deadline.password", Period(minutes=120), Period(minutes=120)),
        ("angiang_2016", "deadline.issue", None, 3),
        ("dongthap_2025", "quota.person", Size(500 << 20), Size(500 << 20)),
        ("nghean_2025", "quota.organisation", Size(10 << 30), Size(10 << 30)),
        ("ninhbinh_2025", "password.user_alone", 9, 14),
        ("ninhbinh_2025", "password.user", 9, 9),
        ("bacninh_2025", "password.max_age_admin", Period(months=3), Period(months=2)),
        ("bacninh_2025", "password.history_admin", 3, 10),
        ("nghean_2025", "retention.mail_log", Period(months=6), Period(months=12)),
        ("nghean_2025", "sign_in.second_factor", ("everyone",), ("everyone", "internet", "third_party", "admin")),
        ("nghean_2025", "report.agency_before", ("12-11",), ("12-11",)),
        ("kiengiang", "report.agency_before", None, None),
        ("kiengiang", "password.max_age_user", None, None),
    ],
)
def test_what_is_applied(name: str, key: str, own: object, value: object) -> None:
    rule = profile.load(name).rule(key)
    assert (rule.own.value if rule.own else None) == own
    assert rule.or_none == value


def test_both_values_are_told() -> None:
    text = profile.load("ninhbinh_2025").lock.wrong_passwords.explain()
    assert text.startswith("quy chế: 12 (NB Đ7.2a; 4.2) · sàn quốc gia: 5 (") and text.endswith("; 5.9) → áp dụng 5")
    assert "45 ngày" in profile.load("nghean_2025").lock.inactive.explain()
    assert profile.load("kiengiang").report.agency_before.explain().startswith("quy chế: –")


def test_a_silent_rule_is_a_mistake_of_who_asks() -> None:
    with pytest.raises(LookupError):
        _ = profile.load("kiengiang").report.agency_before.value
    with pytest.raises(KeyError):
        profile.load("kiengiang").rule("lock.no_such_key")
    made_by_hand = profile.Profile("test", dict.fromkeys(Kind, 1))
    assert made_by_hand.lock.inactive.or_none is None and made_by_hand.naming.forms == {}


LINES = len(HEAD.splitlines())
SO = '[naming.forms]\nso = [{ form = "so{ten}", row = "2.3", why = "x" }]\n'
TAKEN_BY = '{ form = "{ten}", row = "2.3", why = "x", if_taken_by = ["x"] }'
TWO = '[[naming.forms.so]]\nform = "so{ten}"\nrow = "2.3"\nwhy = "x"\n[[naming.forms.so]]\nform = "{x}"\nrow = "2.3"'
FIXED = '{ kind = "so", name = "X", local = "X", row = "2.3", why = "x" }'
BAD = [
    ("[locks]", "profile-unknown-key", 1, "lock"),
    ("[lock]\ninactiv = { value = 1 }", "profile-unknown-key", 2, "inactive"),
    ('[lock]\ninactive = { value = "45", row = "4.7", source = "x" }', "profile-wrong-type", 2, "45 days"),
    ('[lock]\n\ninactive = { value = 45, row = "4.7", source = "x" }', "profile-wrong-type", 3, "45"),
    ('[lock]\ninactive = "45 days"', "profile-wrong-type", 2, "{ … }"),
    ('[lock]\ninactive = { value = "45 days", source = "x" }', "profile-missing", 2, "row"),
    ('[lock]\ninactive = { value = "45 days", row = "4.7" }', "profile-missing", 2, "source"),
    ('[lock]\ninactive = { value = "45 days", row = "Đ7", source = "x" }', "profile-wrong-type", 2, "Đ7"),
    ('[lock]\ninactive = { value = "45 days", row = "4.7", sources = "x" }', "profile-unknown-key", 2, "source"),
    ('[lock]\nwrong_passwords = { value = 0, row = "4.2", source = "x" }', "profile-wrong-type", 2, "1–1000"),
    ('[lock]\nwrong_passwords = { value = true, row = "4.2", source = "x" }', "profile-wrong-type", 2, "True"),
    ('[lock]\ntoo_long_then = { value = "burn", row = "4.9", source = "x" }', "profile-wrong-type", 2, "revoke"),
    ('[report]\nagency_before = { value = ["31-12"], row = "15.1", source = "x" }', "profile-wrong-type", 2, "12-15"),
    ('[quota]\nperson = { value = "2 gigs", row = "6.1", source = "x" }', "profile-wrong-type", 2, "2 GB"),
    ('[naming.forms]\nsoo = []', "profile-unknown-key", 2, "so"),
    ('[naming.forms]\nso = [\n  { form = "so{tan}", row = "2.3", why = "x" },\n]', "profile-form", 3, "tan"),
    ('[naming.forms]\nso = [\n  { form = "so{dau_ho}", row = "2.3", why = "x" },\n]', "profile-form", 3, "dau_ho"),
    ('[naming.forms]\nso = [\n  { form = "Sở{ten}", row = "2.3", why = "x" },\n]', "profile-form", 3, "Sở"),
    ('[naming.forms]\nso = [\n  { form = "so", row = "2.3", why = "x" },\n]', "profile-form", 3, "so"),
    ('[naming.forms]\nso = [\n  { form = "so{ten", row = "2.3", why = "x" },\n]', "profile-form", 3, "so{ten"),
    ('[naming.forms]\nso = [\n  { form = "so{ten!r}", row = "2.3", why = "x" },\n]', "profile-form", 3, "ten"),
    ('[naming.forms]\nso = [\n  { form = "a@{ten}@x", row = "2.3", why = "x" },\n]', "profile-form", 3, "@"),
    ('[naming.forms]\nso = [\n  { form = "so{ten}", row = "2.3" },\n]', "profile-missing", 3, "why"),
    (f"[naming.forms]\nxa = [\n  {TAKEN_BY},\n]", "profile-wrong-type", 3, "huyen"),
    (TWO, "profile-form", 6, "x"),
    ('[naming]\nlike = "hue_1802"', "profile-wrong-type", 2, "angiang_2016"),
    ('[naming]\ndropped = [5]', "profile-wrong-type", 2, "5"),
    ('[naming.shortened]\n"Ủy ban" = "UB"', "profile-wrong-type", 2, "UB"),
    (f"[naming]\nexceptions = [\n  {FIXED},\n]", "profile-wrong-type", 3, "X"),
    (SO + '[examples]\na = [\n  { kind = "so", name = "Y tế", gives = "syt" },\n]',
     "profile-example", 5, "soyte"),
    (SO + '[examples]\na = [\n  { kind = "so", name = "Y tế", gives = "soyte", clause = "2.4" },\n]',
     "profile-example", 5, "2.3"),
    ('[examples]\na = [\n  { kind = "so", name = "Y tế" },\n]', "profile-missing", 3, "gives"),
    ("[lock", "profile-not-toml", 0, "line 6"),
    ("lock = 0x" + "f" * 5000, "profile-unknown-key", 1, "lock"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "code", "line", "word"), BAD, ids=range(len(BAD)))
def test_what_is_wrong_is_refused_with_its_line(text: str, code: str, line: int, word: str) -> None:
    with pytest.raises(Refused) as caught:
        profile.parse((HEAD + text + "\n").encode(), "tinh.toml")
    assert caught.value.code == code, say(caught.value.code, True, **caught.value.facts)
    told = say(code, True, **caught.value.facts)
    assert word in told and "tinh.toml" in told and " / " in told
    if line:
        assert f"tinh.toml:{LINES + line}" in told


def test_bytes_that_are_no_text_and_files_that_are_none(tmp_path: Path) -> None:
    for data in (b"\xff\xfe", b"a = " + b"[" * 5000, b"#" * (profile.MAX_FILE + 1)):
        with pytest.raises(Refused, match="profile-not-toml"):
            profile.parse(data, "tinh.toml")
    for name in ("nowhere", str(tmp_path / "nowhere.toml"), str(tmp_path)):
        with pytest.raises(Refused, match="no-such-profile"):
            profile.load(name)
    own = tmp_path / "tinh.toml"
    own.write_text(HEAD)
    assert profile.load(str(own)).lock.inactive.value == Period(days=45)


def test_a_province_may_be_stricter_than_the_floor_and_not_laxer() -> None:
    text = HEAD + '[lock]\ninactive = {{ value = "{}", row = "4.7", source = "QĐ 1" }}\n'
    for written, applied in (("30 days", Period(days=30)), ("1 month", Period(months=1)), ("1 year", Period(days=45))):
        assert profile.parse(text.format(written).encode(), "tinh.toml").lock.inactive.value == applied


def test_the_profile_of_the_paper_is_one() -> None:
    text = (profile.folder().parent / "docs/naming.md").read_text("utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    found = profile.parse(example.encode(), "x.toml")
    assert found.lock.wrong_passwords.own and found.naming.forms["person"][1].numbered and len(found.examples) == 1


# ---- values


@pytest.mark.parametrize(
    ("period", "day", "after"),
    [
        (Period(months=1), date(2026, 1, 31), date(2026, 2, 28)),
        (Period(months=6), date(2025, 8, 31), date(2026, 2, 28)),
        (Period(days=45), date(2026, 1, 1), date(2026, 2, 15)),
        (Period(minutes=120), date(2026, 1, 1), date(2026, 1, 2)),
        (Period(months=12), date(2024, 2, 29), date(2025, 2, 28)),
    ],
)
def test_periods_from_a_day(period: Period, day: date, after: date) -> None:
    assert period.after(day) == after
    assert period.after(period.before(after)) <= after


@given(st.integers(0, 400), st.integers(0, 3000), st.dates(date(1990, 1, 1), date(2100, 1, 1)))
def test_before_is_the_latest_day_that_is_over(months: int, days: int, day: date) -> None:
    period = Period(months=months, days=days + 1)
    found = period.before(day)
    assert period.after(found) <= day < period.after(date.fromordinal(found.toordinal() + 1))


def test_months_and_days_compare() -> None:
    ordered = [
        "10 minutes",
        "2 hours",
        "5 days",
        "30 days",
        "1 month",
        "45 days",
        "3 months",
        "180 days",
        "6 months",
        "1 year",
    ]
    read = [Period.read(text) for text in ordered]
    assert all(read) and read == sorted(read)  # type: ignore[type-var]
    assert Period.read("12 months") == Period.read("1 year") and hash(Period(months=12)) == hash(Period.read("1 year"))
    assert (
        str(Period(months=6)) == "6 tháng"
        and str(Period(minutes=720)) == "12 giờ"
        and str(Period(minutes=10)) == "10 phút"
    )
    assert not any(Period.read(text) for text in ("", "days", "0 days", "-1 days", "1.5 days", "99999 days", "6 tháng"))


def test_which_is_stricter() -> None:
    def applied(stricter: Stricter, own: object, floor: object, silent: bool = False) -> object:
        rule = combine("k", stricter, Cited(own, "1.1", "a"), Cited(floor, "1.2", "b", silent))
        return rule.value

    assert applied(Stricter.LESS, 5, 3) == 3 and applied(Stricter.LESS, 5, 3, silent=True) == 5
    assert applied(Stricter.MORE, 5, 8) == 8 and applied(Stricter.MORE, 9, 8) == 9
    assert applied(Stricter.YES, False, True) is True and applied(Stricter.NO, True, False) is False
    assert applied(Stricter.BOTH, ("a",), ("b", "a")) == ("a", "b") and applied(Stricter.OWN, 1, 2) == 1
    assert combine("k", Stricter.LESS, None, None) == Rule("k")


def test_every_key_is_explained_in_both_languages() -> None:
    from dataclasses import fields

    for section, kind in SECTIONS.items():
        assert kind.__doc__ and " / " in kind.__doc__, section
        for each in fields(kind):
            key = each.metadata["key"]
            assert isinstance(key, Key) and " / " in key.doc, (section, each.name)


# ---- lines of a file


def test_lines() -> None:
    text = '# x\na.b = 1\n[t]\nx = [\n # c\n {a=1},\n\n {a=2},\n]\ny = """\nz = 1\n"""\nz = 2\n'
    text += '[[u.v]]\nk=1\n[[u.v]]\n"k l"=1\n'
    found = tomlplace.lines(text)
    assert (
        found[("a", "b")] == 2 and found[("t", "x", 0)] == 6 and found[("t", "x", 1)] == 8 and found[("t", "z")] == 13
    )
    assert found[("u", "v", 1)] == 16 and found[("u", "v", 1, "k l")] == 17
    assert tomlplace.line_of(found, ("u", "v", 1, "k l", "deeper")) == 17 and tomlplace.line_of(found, ("no",)) == 0


@given(st.text(max_size=300))
def test_lines_never_fail(text: str) -> None:
    assert all(number >= 1 for number in tomlplace.lines(text).values())
