"""stub"""


def decode(raw: bytes, charset: str, *, cut: bool = False) -> str:
    try:
        return raw.decode(charset or "utf-8", "replace")
    except (LookupError, UnicodeError):
        return raw.decode("utf-8", "replace")
