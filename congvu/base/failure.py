"""The three kinds of failure every room speaks of.

`Refused`: the peer's or the person's doing, final. `NotNow`: our momentary inability, try later. Anything else that is
raised is a bug of ours: the server logs it with a trace and tells the peer nothing of it.
"""


class Refused(Exception):
    """A request that will never succeed as it is.

    `code` is a word of the catalogue in `base/texts` ("no-such-mailbox"); each protocol maps it to its own reply code.
    `facts` fill the placeholders of the catalogue's sentence.
    """

    def __init__(self, code: str, **facts: object) -> None:
        super().__init__(code)
        self.code = code
        self.facts = facts


class NotNow(Exception):
    """A request that may succeed later: disk full, database away, too busy. `code` as in `Refused`."""

    def __init__(self, code: str, **facts: object) -> None:
        super().__init__(code)
        self.code = code
        self.facts = facts
