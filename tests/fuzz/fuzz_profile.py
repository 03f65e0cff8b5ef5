"""A regulation profile from a stranger: loaded, or refused with one line that names the file. Nothing else."""

from congvu.base.failure import Refused
from congvu.base.texts import say
from congvu.directory import naming, profile
from congvu.directory.profile import folder

_HEAD = b'[profile]\ntitle = "T"\ntext = "Q"\ndomains = ["x.vn"]\nrow = "2.2"\n'
SEEDS = [
    *((folder() / f"{name}.toml").read_bytes() for name in ("angiang_2025", "bacninh_2025")),
    _HEAD
    + b'[lock]\ninactive = { value = "45 days", row = "4.7", source = "x" }\n'
    + b'[naming.forms]\nso = [\n  { form = "so{ten}", row = "2.3", why = "x" },\n]\n'
    + b'[examples]\na = [\n  { kind = "so", name = "X", gives = "sox" },\n]\n',
    _HEAD + b'[[naming.forms.xa]]\nform = "{ten_day_du}{stt}"\nrow = "2.1"\nwhy = "x"\nif_taken_by = ["xa"]\n',
]
WORDS = [
    b"[naming.forms]", b"[[examples.a]]", b"value = ", b'row = "2.3"', b"{ten}", b"{stt}", b"{cha}", b"if_parent",
    b"0xffffffff",
    b"1979-05-27T07:32:00Z", b"inf", b'"""', b"'''", b"[[", b"like = ", b'"months"', b"dropped", b"shortened",
]  # fmt: skip


def one(data: bytes) -> None:
    try:
        found = profile.parse(data, "la.toml")
    except Refused as refused:
        text = say(refused.code, True, **refused.facts)
        assert refused.code.startswith("profile-")
        assert "la.toml" in text or "angiang_2016.toml" in text
        assert "\n" not in text
        return
    for _, _, rule in found.every():
        assert "\n" not in rule.explain()
    for kind in found.naming.forms:
        try:
            naming.propose(found, naming.Subject(kind, "Lê Văn An", "soxaydung", domain="x.vn"))
        except Refused as refused:
            assert refused.code.startswith("naming-")
