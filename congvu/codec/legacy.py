"""Old codes of Vietnamese: TCVN3, VNI, VISCII, VPS, windows-1258, told apart and read; and charsets that lie.

For reading, search and forwarding only: what is stored stays as it came. Never raises; an unreadable byte becomes
U+FFFD. Only charsets named here are tried: Python's registry also holds codecs that are slow or no charsets at all.
"""

import re
import unicodedata

from congvu.base.vietnamese import nfc

# The upper halves, and the few capitals put into the control range (TCVN 5712:1993 VN1, which contains TCVN3 (VN3);
# RFC 1456 for VISCII; the Vietnamese Professionals Society's code).
_TCVN3 = (
    "ÀẢÃÁẠẶẬÈẺẼÉẸỆÌỈĨÍỊÒỎÕÓỌỘỜỞỠỚỢÙỦŨ"
    "\xa0ĂÂÊÔƠƯĐăâêôơưđẰ\u0300\u0309\u0303\u0301\u0323àảãáạẲằẳẵắẴ"
    "ẮẦẨẪẤỀặầẩẫấậèỂẻẽéẹềểễếệìỉỄẾỒĩíịò"
    "ỔỏõóọồổỗốộờởỡớợùỖủũúụừửữứựỳỷỹýỵỐ"
)
_TCVN3_LOW = {1: "Ú", 2: "Ụ", 4: "Ừ", 5: "Ử", 6: "Ữ", 17: "Ứ", 18: "Ự", 19: "Ỳ", 20: "Ỷ", 21: "Ỹ", 22: "Ý", 23: "Ỵ"}
_VISCII = (
    "ẠẮẰẶẤẦẨẬẼẸẾỀỂỄỆỐỒỔỖỘỢỚỜỞỊỎỌỈỦŨỤỲ"
    "ÕắằặấầẩậẽẹếềểễệốồổỗỠƠộờởịỰỨỪỬơớƯ"
    "ÀÁÂÃẢĂẳẵÈÉÊẺÌÍĨỳĐứÒÓÔạỷừửÙÚỹỵÝỡư"
    "àáâãảăữẫèéêẻìíĩỉđựòóôõỏọụùúũủýợỮ"
)
_VISCII_LOW = {2: "Ẳ", 5: "Ẵ", 6: "Ẫ", 20: "Ỷ", 25: "Ỹ", 30: "Ỵ"}
_VPS = (
    "ÀẢÃẤẦẨọỗĂếềểệẮẰẲẾ\ufffd\ufffdỀỂỄỐỒỔỖýỷỵỚỜỞ"
    "\xa0ắằẳẵặỠớÙờởỡŨỨợỪổỬỲỸÍÌộỈĨÓửữÒỎÕự"
    "ầÁÂấẩẫậđẻÉÊẹỉễịỹƯỦồốÔỏơÈừứÚũưÝẺ\ufffd"
    "àáâãảạă\ufffdèéêẽìí\ufffdĩẴĐòóôõ\ufffdƠụùúủ\ufffdỶẼỳ"
)
_VPS_LOW = {
    2: "Ạ", 3: "Ậ", 4: "Ặ", 5: "Ẹ", 6: "Ệ", 16: "Ị", 17: "Ọ", 18: "Ộ", 19: "Ợ", 20: "Ụ", 21: "Ự", 25: "Ỵ", 28: "Ẫ",
    29: "Ữ",
}  # fmt: skip


def _table(high: str, low: dict[int, str]) -> dict[int, str]:
    return {**low, **dict(enumerate(high, 0x80))}


_TABLES = {"tcvn3": _table(_TCVN3, _TCVN3_LOW), "viscii": _table(_VISCII, _VISCII_LOW), "vps": _table(_VPS, _VPS_LOW)}


def _vni_table() -> dict[str, str]:
    """VNI for Windows: a vowel, then one byte for all its marks; shown here as windows-1252 shows those bytes."""
    tones = "\u0301\u0300\u0309\u0303\u0323"
    found = {}
    for vowels, bare, marks in (
        ({"a": "a", "e": "e", "o": "o", "u": "u", "y": "y", "ô": "ơ", "ö": "ư"}, "", "ùøûõï"),
        ({"a": "a", "e": "e", "o": "o"}, "\u0302", "âáàåãä"),
        ({"a": "a"}, "\u0306", "êéèúüë"),
    ):
        for written, vowel in vowels.items():
            spelt = [bare + tone for tone in tones]
            if bare:
                spelt.insert(0, bare)
            for mark, marks_of in zip(marks, spelt, strict=True):
                letter = nfc(vowel + marks_of)
                for pair in (written + mark, written + mark.upper()):
                    found[pair] = letter
                for pair in (written.upper() + mark.upper(), written.upper() + mark):
                    found[pair] = letter.upper()
    for written, letter in zip("íìæóòîñôö", "íìỉĩịỵđơư", strict=True):
        found[written] = letter
        found[written.upper()] = letter.upper()
    return found


_VNI = _vni_table()
_VNI_UNIT = re.compile("|".join(sorted(map(re.escape, _VNI), key=len, reverse=True)))

# The codes in the order in which they win when they read a text equally well: what is most common in Vietnam first.
OLD_CODES = ("tcvn3", "vni", "windows-1258", "viscii", "vps")

_ALIASES = {
    "tcvn": "tcvn3", "tcvn3": "tcvn3", "abc": "tcvn3", "x-abc": "tcvn3", "tcvn-5712": "tcvn3", "tcvn5712": "tcvn3",
    "tcvn5712-1": "tcvn3", "x-viet-tcvn": "tcvn3", "x-viet-tcvn3": "tcvn3", "x-viet-tcvn5712": "tcvn3",
    "vscii": "tcvn3", "vni": "vni", "x-viet-vni": "vni", "x-vni": "vni", "vni-win": "vni", "x-viet-vni-email": "vni",
    "viscii": "viscii", "csviscii": "viscii", "viscii1.1-1": "viscii", "x-viet-viscii": "viscii",
    "vps": "vps", "x-viet-vps": "vps", "x-vps": "vps",
    "windows-1258": "windows-1258", "cp1258": "windows-1258", "x-cp1258": "windows-1258",
    "utf8": "utf-8", "utf-8": "utf-8", "unicode-1-1-utf-8": "utf-8", "x-utf-8": "utf-8", "utf-8-sig": "utf-8",
    "utf-8-mac": "utf-8", "cp65001": "utf-8",
}  # fmt: skip
# Charsets so often declared by programs that do not know better that the bytes have more to say.
_LATIN = frozenset(
    ["us-ascii", "ascii", "iso-8859-1", "iso8859-1", "latin1", "latin-1", "iso-8859-15", "windows-1252", "cp1252"]
)
_UNKNOWN = frozenset(
    ["", "unknown", "unknown-8bit", "x-unknown", "default", "default_charset", "x-user-defined", "none"]
)
# Charsets whose letters are written with ASCII bytes: "all ASCII" does not mean that nothing is to be done.
_SEVEN_BIT = frozenset(
    ["iso-2022-jp", "iso-2022-jp-1", "iso-2022-jp-2", "iso-2022-jp-3", "iso-2022-jp-ext", "iso-2022-kr", "hz-gb-2312",
     "hz", "utf-7", "unicode-1-1-utf-7", "utf-16", "utf-16le", "utf-16be", "utf-32", "utf-32le", "utf-32be"]
)  # fmt: skip
_OTHERS = (
    frozenset(f"iso-8859-{n}" for n in (*range(1, 12), *range(13, 17)))
    | frozenset(f"windows-{n}" for n in (874, *range(1250, 1259)))
    | frozenset(f"cp{n}" for n in (437, 850, 852, 855, 857, 858, 866, 874, 932, 936, 949, 950, *range(1250, 1259)))
    | frozenset(
        ["koi8-r", "koi8-u", "gb2312", "gbk", "gb18030", "big5", "big5-hkscs", "euc-kr", "ks_c_5601-1987", "euc-jp"]
    )
    | frozenset(["shift_jis", "shift-jis", "sjis", "tis-620", "macintosh", "mac-roman", "johab"])
)
_PYTHON_NAMES = {"hz-gb-2312": "hz", "windows-874": "cp874", "unicode-1-1-utf-7": "utf-7", "gb2312": "gb18030"}


def decode(raw: bytes, charset: str, *, cut: bool = False) -> str:
    """The text, NFC where an old Vietnamese code was read. `charset` is what was declared, "" for nothing; `cut`: the
    end of `raw` may lie within a character, which is then left out."""
    name = charset.strip(" \"'").lower()
    name = _ALIASES.get(name, name)
    if name in _SEVEN_BIT:
        # UTF-7 can spell half of a surrogate pair, which no database keeps.
        return raw.decode(_PYTHON_NAMES.get(name, name), "replace").encode("utf-8", "replace").decode()
    if name in _TABLES:
        return _read(raw, name)  # before the look for ASCII: some of their capitals are control bytes
    if raw.isascii():
        return raw.decode("ascii")
    if name == "utf-8" or name in _LATIN or name in _UNKNOWN or name not in (*OLD_CODES, *_OTHERS):
        whole = _without_half(raw) if cut else raw
        try:
            return whole.decode("utf-8")
        except UnicodeDecodeError:
            pass
        if name == "utf-8" and _mostly_utf8(whole):
            return whole.decode("utf-8", "replace")
        return _guess(raw, sure=name in _LATIN)
    if name in OLD_CODES:
        return _read(raw, name)
    return raw.decode(_PYTHON_NAMES.get(name, name), "replace")


def guess(raw: bytes) -> str:
    """The text when nothing is known of its charset: UTF-8, an old Vietnamese code, or windows-1252."""
    return decode(raw, "")


def recognise(raw: bytes, *, sure: bool = False) -> str:
    """Which old code these bytes are in, "" for none. `sure`: one syllable is not enough to say so."""
    sample = raw[:8192]
    best, best_score = "", 0
    for code in OLD_CODES:
        right, wrong = _syllables(_read(sample, code))
        if right >= (3 if sure else 1) and wrong * 4 <= right and right - 2 * wrong > best_score:
            best, best_score = code, right - 2 * wrong
    return best


def spelt(text: str) -> bool:
    """Is every word with marks a syllable as Vietnamese spells them? What an old code looks like, read as another, is
    not."""
    return not _syllables(text)[1]


def _guess(raw: bytes, *, sure: bool) -> str:
    code = recognise(raw, sure=sure)
    return _read(raw, code) if code else raw.decode("cp1252", "replace")


def _read(raw: bytes, code: str) -> str:
    if code == "windows-1258":
        return nfc(raw.decode("cp1258", "replace"))
    if code == "vni":
        return _VNI_UNIT.sub(lambda match: _VNI[match[0]], raw.decode("cp1252", "replace"))
    return nfc(raw.decode("latin-1").translate(_TABLES[code]))


def _without_half(raw: bytes) -> bytes:
    """Without the first bytes of a UTF-8 character at the end."""
    for back in range(1, min(4, len(raw) + 1)):
        byte = raw[-back]
        if byte >= 0xC0:
            size = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return raw[:-back] if size > back else raw
        if byte < 0x80:
            break
    return raw


_UTF8_LETTER = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")


def _mostly_utf8(raw: bytes) -> bool:
    """UTF-8 with a fault here and there, not another code by that name."""
    sample = raw[:8192]
    within = sum(map(len, _UTF8_LETTER.findall(sample)))
    high = len(sample) - len(sample.translate(None, bytes(range(0x80, 0x100))))
    return within * 2 > high


# The vowels of a Vietnamese syllable with its tone taken off.
_NUCLEI_TEXT = (
    "a ă â e ê i o ô ơ u ư y ai ao au ay âu ây eo êu ia iê iu oa oă oe oi oo ôi ơi ua uâ uê ui uô uơ uy ưa ưi ươ ưu "
    "yê iêu yêu oai oay oao oeo uao uây uôi ươi ươu uya uyê uyu uêu"
)
_NUCLEI = frozenset(_NUCLEI_TEXT.split())
_SYLLABLE = re.compile(
    "(ngh|gh|gi|kh|nh|ng|ph|qu|th|tr|ch|[bcdđghklmnpqrstvx])?([aăâeêioôơuưy\u0300\u0309\u0303\u0301\u0323]+)(ng|nh|ch|[cmnpt])?"
)
_TONE = re.compile("[\u0300\u0309\u0303\u0301\u0323]")
_LETTERS = re.compile(r"[^\W\d_]+")
_ODD = re.compile("[\x80-\x9f\ufffd¡-©«-¶¸-º¼-¿×÷]")


def _syllables(text: str) -> tuple[int, int]:
    """How many words with Vietnamese letters are syllables as Vietnamese spells them, and how many are not."""
    right = 0
    wrong = len(_ODD.findall(text))
    for word in _LETTERS.findall(text):
        if word.isascii():
            continue
        if _is_syllable(word):
            right += 1
        else:
            wrong += 1
    return right, wrong


def _is_syllable(word: str) -> bool:
    if len(word) > 7 or not (word[1:].islower() or word.isupper() or len(word) == 1):  # "ViÖt" has a capital inside
        return False
    # The tone apart from the letter, the letter with its hat, breve or horn whole.
    spelt = "".join(
        nfc("".join(c for c in unicodedata.normalize("NFD", letter) if not _TONE.match(c)))
        + "".join(c for c in unicodedata.normalize("NFD", letter) if _TONE.match(c))
        for letter in word.lower()
    )
    match = _SYLLABLE.fullmatch(spelt)
    if match is None:
        return False
    tones = _TONE.findall(match[2])
    nucleus = _TONE.sub("", match[2])
    if match[3] in ("c", "ch", "p", "t") and tones and tones[0] not in "\u0301\u0323":
        return False  # a stopped syllable has only the sharp and the heavy tone
    return len(tones) <= 1 and (nucleus in _NUCLEI or (match[1] == "gi" and nucleus == ""))
