"""CSV files of accounts brought along: a row is good, bad with a reason, or the whole file is refused."""

from congvu.actions import roster
from congvu.base.config import Config
from congvu.base.failure import Refused
from congvu.base.texts import say

_CONFIG = Config(("angiang.gov.vn",), "mail.angiang.gov.vn")
_ROW = "nthue@angiang.gov.vn,Nguyễn Thị Huệ,,"
_HASHES = (
    "{SSHA512}gBNQ0VSDZAcqWlFnPdQGHfV+eAf5E+Hp0nbkQ0tMVuGGwXJKjIsF7dJvFuUDMi5B6D0I3fUnAsUc1ZkvFpTcnHNhbHQ=",
    "{CRYPT}$6$rounds=5000$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
    "{PBKDF2}$1$salt$4096$4b007901b765489abead49d926f721d065a429c1",
    "$pbkdf2-sha256$6400$0ZrzXitFSGltTQnBWOsdeg$Y11AchqV4b0sUisdZd0Xr97KWoymNE0LNNrnEgY4H9M",
    '"$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$Y11AchqV4b0sUisdZd0Xr97KWoymNE0LNNrnEgY4H9M"',
    "$2b$12$" + "a" * 53,
)
SEEDS = [("address,name,password,password_hash\n" + "".join(f"{_ROW}{h}\n" for h in _HASHES)).encode()]
SEEDS += ['\ufeffaddress;name;password\r\nan@angiang.gov.vn;An;"mật; khẩu"\r\n'.encode()]
WORDS = [
    b"{SSHA}",
    b"{CRYPT}",
    b"$6$",
    b"$argon2id$",
    b"m=999999999",
    b"rounds=999999999$",
    b'"',
    b"\xef\xbb\xbf",
    b"xn--",
]


def one(data: bytes) -> None:
    try:
        good, bad = roster.judge(data, "danh-sach.csv", _CONFIG)
    except Refused as refused:
        say(refused.code, True, **refused.facts)
        return
    lines = [row.line for row in good]
    assert len(set(lines)) == len(lines) == len({row.address for row in good})
    for row in bad:
        text = say(row.reason.code, True, **row.reason.facts)
        assert "\n" not in text and len(text) < 3000
