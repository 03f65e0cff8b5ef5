"""What a regulation profile can say: every key with its meaning, its kind of value and which of two values is stricter.

Promises that each value names the row and the article it comes from, that the national floor lies under every province
(the stricter value is applied, both can be shown), and that what a text says in months compares with what another says
in days. Must never hold a value of a regulation itself: those stand in `profiles/*.toml`.
"""

# ruff: noqa: RUF009  (`_key` is dataclasses.field with an explanation)

import calendar
import re
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import Enum
from functools import total_ordering
from typing import Any, Generic, TypeVar

from congvu.base.texts import say_in
from congvu.directory.people import Kind

T = TypeVar("T")


# ---- kinds of values


@total_ordering
@dataclass(frozen=True, slots=True, eq=False)
class Period:
    """A time as a text gives it: `6 months`, `45 days`, `2 hours`, `10 minutes`. Ordered by its mean length."""

    months: int = 0
    days: int = 0
    minutes: int = 0

    @property
    def seconds(self) -> int:
        """Its mean length; a month has 30 days and ten and a half hours."""
        return (self.months * 43_830 + self.days * 1440 + self.minutes) * 60

    def after(self, day: date) -> date:
        """The day that lies so much later; the last of the month where it has no such day. Hours round up to days."""
        months = day.year * 12 + day.month - 1 + self.months
        year, month = min(months // 12, date.max.year), months % 12 + 1
        begun = date(year, month, min(day.day, calendar.monthrange(year, month)[1]))
        days = self.days - (-self.minutes // 1440)
        return begun + timedelta(days=min(days, (date.max - begun).days))

    def before(self, day: date) -> date:
        """The latest day from which the period is over on `day`."""
        found = day - timedelta(days=min(self.seconds // 86_400 + 3, (day - date.min).days))
        while found < day and self.after(found + timedelta(days=1)) <= day:
            found += timedelta(days=1)
        return found

    def __lt__(self, other: "Period") -> bool:
        return self.seconds < other.seconds

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Period) and self.seconds == other.seconds

    def __hash__(self) -> int:
        return hash(self.seconds)

    def __str__(self) -> str:
        """In Vietnamese: "6 tháng", "45 ngày", "12 giờ"."""
        hours, minutes = divmod(self.minutes, 60)
        parts = ((self.months, "tháng"), (self.days, "ngày"), (hours, "giờ"), (minutes, "phút"))
        return " ".join(f"{number} {word}" for number, word in parts if number) or "0 ngày"

    @classmethod
    def read(cls, text: str) -> "Period | None":
        """From `6 months`, or None."""
        found = re.fullmatch(r"([1-9]\d{0,3}) (minute|hour|day|month|year)s?", text)
        if found is None:
            return None
        number = int(found[1])
        match found[2]:
            case "year":
                return cls(months=12 * number)
            case "month":
                return cls(months=number)
            case "day":
                return cls(days=number)
            case "hour":
                return cls(minutes=60 * number)
            case _:
                return cls(minutes=number)


class Size(int):
    """Octets, written `500 MB` or `2 GB` (1 MB = 1024 × 1024)."""

    __slots__ = ()

    def __str__(self) -> str:
        for unit, word in ((2**30, "GB"), (2**20, "MB"), (2**10, "KB")):
            if self and self % unit == 0:
                return f"{int(self) // unit} {word}"
        return f"{int(self)} B"

    @classmethod
    def read(cls, text: str) -> "Size | None":
        found = re.fullmatch(r"(\d{1,5}) (KB|MB|GB|TB)", text)
        return cls(int(found[1]) << {"KB": 10, "MB": 20, "GB": 30, "TB": 40}[found[2]]) if found else None


class Days(tuple[str, ...]):
    """Days of the year, `MM-DD`, in the order of the year."""

    __slots__ = ()


# ---- values with their source


@dataclass(frozen=True, slots=True)
class Cited(Generic[T]):
    """A value, the row of the requirements and the article it comes from. `only_if_silent`: of the national floor, no
    command but what is usual where the province's text says nothing."""

    value: T
    row: str
    source: str
    only_if_silent: bool = False

    def __str__(self) -> str:
        return f"{shown(self.value)} ({self.source}; {self.row})"


def shown(value: object) -> str:
    """A value as people read it."""
    match value:
        case bool():
            return "có" if value else "không"
        case tuple():
            return ", ".join(map(str, value)) or "–"
    return str(value)


class Stricter(Enum):
    """Which of two values binds more."""

    LESS = "less"
    MORE = "more"
    BOTH = "both"  # lists: what either names
    YES = "yes"
    NO = "no"
    OWN = "own"  # nothing to compare: the province decides


@dataclass(frozen=True, slots=True)
class Rule(Generic[T]):
    """One key under one profile: what the province's text says, what lies under it, what is applied."""

    key: str
    own: Cited[T] | None = None
    floor: Cited[T] | None = None
    applied: Cited[T] | None = None

    @property
    def value(self) -> T:
        """What is applied. A key that may be silent is asked by `or_none`."""
        if self.applied is None:
            raise LookupError(self.key)
        return self.applied.value

    @property
    def or_none(self) -> T | None:
        return self.applied.value if self.applied else None

    @property
    def row(self) -> str:
        """The row of what is applied, "" where all texts are silent."""
        return self.applied.row if self.applied else ""

    def explain(self, language: str = "vi") -> str:
        """quy chế: 12 (NB Đ7.2a; 4.2) · sàn quốc gia: 5 (TCVN x.5.2.2a; 5.9) → áp dụng 5"""
        applied = shown(self.applied.value) if self.applied else "–"
        return say_in(language, "profile-rule", own=self.own or "–", floor=self.floor or "–", applied=applied)


def combine(key: str, stricter: Stricter, own: Cited[Any] | None, floor: Cited[Any] | None) -> Rule[Any]:
    """The stricter of two; the province's own where they are alike."""
    if own is None or floor is None:
        return Rule(key, own, floor, own or floor)
    if floor.only_if_silent or own.value == floor.value:
        return Rule(key, own, floor, own)
    match stricter:
        case Stricter.LESS:
            applied = floor if floor.value < own.value else own
        case Stricter.MORE:
            applied = floor if floor.value > own.value else own
        case Stricter.YES:
            applied = floor if floor.value else own
        case Stricter.NO:
            applied = own if floor.value else floor
        case Stricter.BOTH:
            more = tuple(word for word in floor.value if word not in own.value)
            applied = own
            if more:
                source = " + ".join(word for word in (own.source, floor.source) if word)
                applied = Cited((*own.value, *more), own.row, source)
        case Stricter.OWN:
            applied = own
    return Rule(key, own, floor, applied)


# ---- the keys


@dataclass(frozen=True, slots=True)
class Key:
    """What is known about a key besides its type."""

    doc: str
    stricter: Stricter
    words: tuple[str, ...] = ()  # the only ones allowed, where there are such
    low: int = 0
    high: int = 10**6
    silent: bool = False  # may stay without a value


def _key(
    doc: str, stricter: Stricter, *words: str, low: int = 0, high: int = 10**6, silent: bool = False
) -> Any:  # dataclasses.field, typed as its value
    return field(metadata={"key": Key(doc, stricter, words, low, high, silent)})


_LESS, _MORE, _BOTH, _YES, _NO, _OWN = Stricter


@dataclass(frozen=True, slots=True)
class Deadline:
    """Thời hạn giải quyết / how fast a request is settled (rows 3.4, 3.8, 3.11, 3.12, 4.11, 14.8)."""

    issue: Rule[int] = _key("Cấp mới, ngày làm việc / working days to issue", _LESS, low=1, high=100)
    change: Rule[int] = _key("Thay đổi thông tin, ngày làm việc / to change", _LESS, low=1, high=100)
    revoke: Rule[int] = _key("Thu hồi, ngày làm việc / to revoke", _LESS, low=1, high=100)
    lock: Rule[int] = _key("Khóa tạm thời, ngày làm việc / to lock", _LESS, low=1, high=100)
    restore: Rule[int] = _key("Khôi phục, ngày làm việc / to restore", _LESS, low=1, high=100)
    transfer: Rule[int] = _key("Điều chuyển, ngày làm việc / to transfer", _LESS, low=1, high=100)
    handover: Rule[int] = _key("Bàn giao, ngày làm việc / to hand over", _LESS, low=1, high=100)
    password: Rule[Period] = _key("Cấp lại mật khẩu / to issue a password again", _LESS)
    leave_request: Rule[Period] = _key(
        "Cơ quan phải đề nghị thu hồi trong thời gian này kể từ quyết định nghỉ, chuyển"
        " / the agency must ask to revoke so soon after somebody's leaving was decided",
        _LESS,
    )
    delete_request: Rule[Period] = _key(
        "Cơ quan phải đề nghị xóa trong thời gian này kể từ khi khóa / … to delete, after the lock", _LESS, silent=True
    )
    support: Rule[Period] = _key("Hỗ trợ kỹ thuật kể từ khi được báo / technical help after notice", _LESS)


@dataclass(frozen=True, slots=True)
class Lock:
    """Khóa tạm thời / temporary lock (section 4, row 5.9)."""

    wrong_passwords: Rule[int] = _key(
        "Khóa khi sai mật khẩu liên tiếp quá số lần này / locked beyond so many wrong passwords in a row",
        _LESS,
        low=1,
        high=1000,
    )
    wrong_passwords_for: Rule[Period] = _key("… khóa ít nhất bao lâu / … for at least so long", _MORE)
    burst_messages: Rule[int] = _key(
        "Khóa khi gửi ra ngoài quá số thư này / locked beyond so many letters to outside …", _LESS, low=1
    )
    burst_within: Rule[Period] = _key("… trong khoảng thời gian này / … within this time", _OWN)
    burst_counts: Rule[str] = _key("… đếm thư hay người nhận / … what is counted", _OWN, "messages", "recipients")
    default_password: Rule[Period] = _key("Không đổi mật khẩu ban đầu / first password not changed", _LESS)
    inactive: Rule[Period] = _key("Không sử dụng / not used", _LESS)
    on_leaving: Rule[bool] = _key("Khóa khi nghỉ hưu, chuyển đi / locked when somebody leaves", _YES)
    too_long: Rule[Period] = _key(
        "Khóa quá lâu mà không đề nghị khôi phục / locked so long without a request to restore …", _LESS, silent=True
    )
    too_long_then: Rule[str] = _key("… thì / … then", _OWN, "revoke", "delete", silent=True)
    list_every: Rule[Period] = _key(
        "Gửi danh sách hộp thư bị khóa cho cơ quan, mỗi / agencies get the list of locked boxes every", _LESS
    )
    tell_each: Rule[bool] = _key("Báo cơ quan từng lần khóa / agencies are told each lock", _YES)


@dataclass(frozen=True, slots=True)
class Revoke:
    """Thu hồi / revoking (rows 3.10, 3.13, 13.6)."""

    grace: Rule[Period] = _key("Giữ dữ liệu sau khi thu hồi / data is kept after revoking", _OWN)
    quarantine: Rule[Period] = _key(
        "Địa chỉ đã xóa không cấp lại trong / a freed address is given to nobody for", _MORE
    )
    emergency_persons: Rule[int] = _key(
        "Thu hồi, xóa khẩn cấp cần mấy người xác nhận / persons who confirm an emergency", _MORE, low=1, high=5
    )


@dataclass(frozen=True, slots=True)
class Address:
    """Địa chỉ / addresses, besides their forms (rows 2.1, 2.20, 2.21, 2.24, 3.7, 13.5)."""

    one_per_subject: Rule[bool] = _key("Mỗi cơ quan, cá nhân một địa chỉ / one address for each", _YES)
    alias: Rule[Period] = _key("Địa chỉ cũ còn nhận thư trong / an old address still receives for", _OWN)
    embeds_agency: Rule[bool] = _key(
        "Địa chỉ cá nhân có tên cơ quan: điều chuyển thì đổi địa chỉ / a transfer changes the address", _OWN
    )
    grandfather: Rule[bool] = _key("Địa chỉ đã cấp vẫn dùng khi quy tắc đổi / old ones stay when forms change", _YES)
    warn_identity_digits: Rule[bool] = _key(
        "Cảnh báo khi địa chỉ chứa số CCCD / warn of identity numbers in addresses", _YES
    )
    local_sign_in: Rule[bool] = _key("Đăng nhập không cần tên miền / signing in without the domain", _OWN)


@dataclass(frozen=True, slots=True)
class Quota:
    """Dung lượng tối thiểu / least room of a mailbox (row 6.1)."""

    organisation: Rule[Size] = _key("Cơ quan / organisation", _MORE)
    unit: Rule[Size] = _key("Đơn vị / unit", _MORE)
    person: Rule[Size] = _key("Cá nhân / person", _MORE)
    functional: Rule[Size] = _key("Hộp thư chức năng / functional", _MORE)
    warn_at: Rule[tuple[int, ...]] = _key("Cảnh báo khi đầy, phần trăm / warned at, per cent", _BOTH, high=100)


@dataclass(frozen=True, slots=True)
class Attachments:
    """Tệp đính kèm / attachments (rows 6.2, 6.8, 6.9)."""

    most: Rule[Size] = _key("Tổng dung lượng một thư / all of one letter", _LESS)
    deny: Rule[tuple[str, ...]] = _key("Không được gửi / refused, by extension", _BOTH)
    restrict: Rule[tuple[str, ...]] = _key("Hạn chế / flagged", _BOTH)
    listed_only: Rule[bool] = _key("Chỉ cho loại tệp có trong danh sách / only listed types", _YES)


@dataclass(frozen=True, slots=True)
class Password:
    """Mật khẩu / passwords (rows 3.9, 5.1 to 5.5)."""

    user: Rule[int] = _key("Ký tự, người dùng có xác thực hai lớp / characters, with a second factor", _MORE, high=128)
    user_alone: Rule[int] = _key("Ký tự, chỉ có mật khẩu / … without", _MORE, high=128)
    admin: Rule[int] = _key("Ký tự, quản trị có hai lớp / administrators, with a second factor", _MORE, high=128)
    admin_alone: Rule[int] = _key("Ký tự, quản trị chỉ có mật khẩu / … without", _MORE, high=128)
    classes: Rule[int] = _key("Số loại ký tự (hoa, thường, số, đặc biệt) / kinds of characters", _MORE, high=4)
    forbid: Rule[tuple[str, ...]] = _key(
        "Không được chứa / must not contain", _BOTH, "login", "full_name", "birth_date"
    )
    max_age_user: Rule[Period] = _key("Đổi mật khẩu, người dùng, mỗi / users change it every", _LESS, silent=True)
    max_age_admin: Rule[Period] = _key("Đổi mật khẩu, quản trị, mỗi / administrators change it every", _LESS)
    history_user: Rule[int] = _key("Không dùng lại mấy mật khẩu, người dùng / last ones refused", _MORE, high=50)
    history_admin: Rule[int] = _key("… quản trị / … administrators", _MORE, high=50)
    change_first: Rule[bool] = _key("Phải đổi ở lần đăng nhập đầu / changed at first sign-in", _YES)


@dataclass(frozen=True, slots=True)
class SignIn:
    """Đăng nhập / signing in (rows 5.6, 5.7, 5.9)."""

    second_factor: Rule[tuple[str, ...]] = _key(
        "Ai cần xác thực hai lớp / who needs a second factor", _BOTH, "everyone", "internet", "third_party", "admin"
    )
    factors: Rule[tuple[str, ...]] = _key("Cách xác thực / which factors", _BOTH, "sms", "totp", "passkey")
    idle: Rule[Period] = _key("Tự thoát khi không thao tác / signed out when idle", _LESS)
    idle_admin: Rule[Period] = _key("… quản trị / … administrators", _LESS)


@dataclass(frozen=True, slots=True)
class Retention:
    """Lưu giữ nhật ký / how long logs are kept, and backups (rows 12.4, 12.10)."""

    mail_log: Rule[Period] = _key("Nhật ký thư / mail log", _MORE)
    access_log: Rule[Period] = _key("Nhật ký truy cập / access log", _MORE)
    headers: Rule[Period] = _key("Tiêu đề thư / headers", _MORE)
    backup_every: Rule[Period] = _key("Sao lưu, mỗi / a backup every", _LESS)
    restore_test_every: Rule[Period] = _key("Thử khôi phục, mỗi / a restore is tried every", _LESS)


@dataclass(frozen=True, slots=True)
class Report:
    """Báo cáo, rà soát / reports and reviews (rows 7.5, 15.1 to 15.4)."""

    agency_before: Rule[Days] = _key("Cơ quan báo cáo trước ngày / agencies report before (MM-DD)", _OWN, silent=True)
    agency_until: Rule[Days] = _key("… số liệu đến ngày / … figures up to", _OWN, silent=True)
    operator_before: Rule[Days] = _key("Đơn vị vận hành báo cáo trước ngày / the operator reports", _OWN, silent=True)
    operator_every: Rule[Period] = _key("Đơn vị vận hành báo cáo mỗi / … every", _LESS, silent=True)
    security_before: Rule[Days] = _key("Báo cáo an ninh mạng trước ngày / national security report", _OWN)
    security_until: Rule[Days] = _key("… số liệu đến ngày / … figures up to", _OWN, silent=True)
    regular_use: Rule[int] = _key(
        "“Thường xuyên”: đăng nhập ít nhất … % ngày làm việc / “regular use”: signed in on … % of working days",
        _OWN,
        low=1,
        high=100,
    )
    target_accounts: Rule[int] = _key(
        "Chỉ tiêu: % cán bộ cấp tỉnh có hộp thư / target: staff of the province with a mailbox",
        _OWN,
        high=100,
        silent=True,
    )
    target_accounts_commune: Rule[int] = _key("… cấp xã / … of communes", _OWN, high=100, silent=True)
    target_regular: Rule[int] = _key("… dùng thường xuyên / … who use it regularly", _OWN, high=100, silent=True)
    review_every: Rule[Period] = _key("Cơ quan xác nhận danh sách, mỗi / agencies confirm their list every", _LESS)
    rights_review_every: Rule[Period] = _key("Rà soát quyền, mỗi / rights are reviewed every", _LESS)


@dataclass(frozen=True, slots=True)
class Agency:
    """Quản trị của cơ quan / administrators of agencies (rows 1.5, 4.12, 8.16, 13.2)."""

    operator: Rule[str] = _key("Đơn vị vận hành / who operates the system", _OWN, silent=True)
    administrators: Rule[int] = _key("Số quản trị mỗi cơ quan / administrators of an agency", _OWN, low=1, high=100)
    rights: Rule[tuple[str, ...]] = _key("Quyền của quản trị cơ quan / their rights", _OWN, "stats", "reset", "lock")
    clerk_checks: Rule[int] = _key("Văn thư mở hộp thư, lần mỗi ngày / a clerk looks, times a day", _MORE, silent=True)
    scope: Rule[tuple[str, ...]] = _key(
        "Ai được cấp / who may have a mailbox",
        _OWN,
        *("canbo", "congchuc", "vienchuc", "nguoilaodong"),
        silent=True,
    )
    serves_also: Rule[tuple[str, ...]] = _key(
        "Phục vụ cả / bodies served besides the State's", _OWN, "party", "mass_organisations", silent=True
    )
    leave_out: Rule[tuple[str, ...]] = _key(
        "Không thuộc đối tượng / who is left out", _OWN, "teachers", "health_staff", silent=True
    )


@dataclass(frozen=True, slots=True)
class Use:
    """Sử dụng, văn bản / use and official documents (rows 6.5, 8.2, 8.6, 11.1)."""

    forward_outside: Rule[bool] = _key("Tự động chuyển tiếp ra ngoài nhà nước / forwarding outside the state", _NO)
    social_networks: Rule[bool] = _key("Dùng để đăng ký mạng xã hội / registering on social networks", _NO)
    diacritics: Rule[bool] = _key("Tiếng Việt có dấu / Vietnamese with its marks", _YES)
    charset: Rule[tuple[str, ...]] = _key("Bộ mã / character sets", _OWN)
    document_format: Rule[str] = _key("Văn bản gửi qua thư / documents sent by mail", _OWN, "pdf", silent=True)
    document_subject: Rule[str] = _key("Tiêu đề thư gửi văn bản / their subject", _OWN, "trich_yeu", silent=True)
    documents_signed: Rule[bool] = _key("Văn bản phải ký số / documents are signed", _YES)


@dataclass(frozen=True, slots=True)
class Sharing:
    """Hộp thư dùng chung / mailboxes opened to others (row 5.10)."""

    anyone: Rule[bool] = _key("Mở cho mọi người cùng lúc / opened to everybody at once", _NO)
    one_seen: Rule[tuple[Kind, ...]] = _key(
        "Loại hộp thư mà một người đọc là mọi người đã đọc / read by one is read for all", _OWN, *Kind
    )


@dataclass(frozen=True, slots=True)
class Standards:
    """Chuẩn kỹ thuật / technical standards (section 10)."""

    tls: Rule[str] = _key("TLS từ phiên bản / TLS from", _MORE, "1.2", "1.3")
    protocols: Rule[tuple[str, ...]] = _key("Giao thức bắt buộc / protocols", _BOTH)
    smime: Rule[str] = _key("S/MIME từ phiên bản / S/MIME from", _MORE, "3.2", "4.0")


SECTIONS: dict[str, type] = {
    "deadline": Deadline,
    "lock": Lock,
    "revoke": Revoke,
    "address": Address,
    "quota": Quota,
    "attachments": Attachments,
    "password": Password,
    "sign_in": SignIn,
    "retention": Retention,
    "report": Report,
    "agency": Agency,
    "use": Use,
    "sharing": Sharing,
    "standards": Standards,
}
