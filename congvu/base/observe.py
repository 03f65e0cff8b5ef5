"""Logging, secrets that do not print, and the named steps at which tests kill the program.

Standard library only. Never logs a password, the text of a letter or an unbounded string from a stranger.
"""

import logging
import os
import signal
import sys

log = logging.getLogger("congvu")


class Secret:
    """A password or key that does not show itself in a log, a trace or a `repr`. `reveal()` gives it to who needs
    it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__


def start_logging(verbose: bool = False) -> None:
    """One line an event on standard error; the time is the machine's local time."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(message)s"))
    log.handlers[:] = [handler]
    log.setLevel(logging.DEBUG if verbose else logging.INFO)
    log.propagate = False


def printable(text: str | bytes, limit: int = 200) -> str:
    """A stranger's words made fit for a log line: bounded, on one line, without control characters."""
    if isinstance(text, bytes):
        text = text[:limit].decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text[:limit])


# "step-name" or "step-name:3" (the third time it is passed). Read once: a run without it pays one comparison a step.
_name, _, _count = os.environ.get("CONGVU_KILL_AT", "").partition(":")
_left = int(_count or 1)


def step(name: str) -> None:
    """Marks a step of *keep*. The crash tests name one in CONGVU_KILL_AT and the process dies there by SIGKILL."""
    global _left  # noqa: PLW0603  one counter a process, set from its environment
    if _name == name:
        _left -= 1
        if _left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
