"""Any name: a refusal in one line, or addresses that may be given, the same again for the name with its marks apart."""

import unicodedata

from congvu.base.failure import Refused
from congvu.base.texts import say
from congvu.directory import addresses, naming, profile
from congvu.directory.forms import KINDS
from congvu.directory.naming import Candidate, Subject

_PROFILES = [profile.load(name) for name in profile.names() if profile.load(name).naming.forms]
SEEDS = [
    "0|so||Sở Thông tin và Truyền thông".encode(),
    "0|vanphong|soxaydung|Văn phòng Sở Xây dựng".encode(),
    "0|phuong||Phường 1".encode(),
    "1|xa|chauthanh|Ủy ban nhân dân xã Vĩnh Hạnh huyện Châu Thành".encode(),
    "2|xa||Đảng ủy xã Yên Phong".encode(),
    "3|person||H'Hen Niê".encode(),
    "4|person|snnmt|Rơ Châm H'Nhung".encode(),
]
WORDS = ["và", "&", "UBND", "Phòng", "tỉnh", "ỷ", "đ", "Ủy", "漢", "ʼ", "\u0301", "\u200d", "ﬁ", "ß", "٣", "½"]
WORDS = [word.encode() for word in WORDS]


def _proposed(number: int, subject: Subject) -> list[Candidate] | str:
    try:
        return naming.propose(_PROFILES[number % len(_PROFILES)], subject)
    except Refused as refused:
        text = say(refused.code, True, **refused.facts)
        assert "\n" not in text and (refused.code.startswith("naming-") or refused.code == "bad-name")
        return refused.code


def one(data: bytes) -> None:
    number, kind, parent, name = (*data.decode("utf-8", "replace").split("|", 3), "", "", "", "")[:4]
    kind = kind if kind in KINDS else KINDS[len(kind) % len(KINDS)]
    which = ord(number[0]) if number else 0
    subject = Subject(kind, name, parent, identity="001234")
    found = _proposed(which, subject)
    naming.matches(_PROFILES[which % len(_PROFILES)], name, parent)
    naming.accepts(_PROFILES[which % len(_PROFILES)], subject, parent)
    if isinstance(found, str):
        return
    assert len({each.address for each in found}) == len(found) > 0
    for each in found:
        assert each.address.isascii() and addresses.checked(each.address) == each.address and each.why and each.clause
    if len(name) < 100:  # apart, a name near the bound would be beyond it
        apart = Subject(kind, unicodedata.normalize("NFD", name), parent, identity="001234")
        assert _proposed(which, apart) == found
    holding = {found[0].address}
    try:
        later = naming.propose(_PROFILES[which % len(_PROFILES)], subject, lambda asked: holding & set(asked))
    except Refused as refused:
        assert refused.code == "naming-all-taken"
    else:
        assert later and found[0].address not in {each.address for each in later}
