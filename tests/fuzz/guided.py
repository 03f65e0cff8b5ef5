"""The coverage-guided half of `make fuzz`: one harness under atheris (libFuzzer), in a process of its own.

    python -m tests.fuzz.guided NAME SECONDS

Begins with the harness's seeds, the small files of `tests/fuzz/corpus/NAME/` and what earlier runs found worth keeping
in `dist/fuzz/corpus/NAME/`, where new finds go. Ends with 1 at the first failure, which lies in `dist/fuzz/` then.
"""

import hashlib
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from tests.fuzz.driver import COMMON, FOUND, LARGEST, harness_name, seeds_of

SLOW = 20  # seconds of processor time for one input: instrumented code takes several times as long
HANGS = 3600  # seconds by the clock, for what hangs outside of Python; a busy machine or a frozen process is no finding
MEMORY_MIB = 4096
BYTE = r"\\x\1"  # of a dictionary's entry


def prepare(name: str, seeds: list[bytes], words: list[bytes]) -> tuple[Path, Path]:
    """The folder that grows, with the seeds in it, and the dictionary."""
    corpus = FOUND / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        (corpus / hashlib.sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)
    dictionary = FOUND / f"{name}.dict"
    entries = sorted({word[:64].hex() for word in words})
    dictionary.write_text("".join(f'"{re.sub("(..)", BYTE, entry)}"\n' for entry in entries))
    return corpus, dictionary


def watched(one: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """`one`, which fails when an input takes more than `SLOW`."""

    def too_slow(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"more than {SLOW} s of processor time")

    def timed(data: bytes) -> None:
        signal.setitimer(signal.ITIMER_PROF, SLOW)
        one(data)
        signal.setitimer(signal.ITIMER_PROF, 0)

    signal.signal(signal.SIGPROF, too_slow)
    return timed


def main() -> None:
    import atheris

    name, seconds = sys.argv[1], sys.argv[2]
    with atheris.instrument_imports(include=["congvu"]):
        module = __import__(f"tests.fuzz.{harness_name(name)}", fromlist=["one"])
    corpus, dictionary = prepare(name, seeds_of(module), [*COMMON, *getattr(module, "WORDS", [])])
    options = [
        f"-max_total_time={seconds}",
        f"-artifact_prefix={FOUND}/{name}-",
        f"-timeout={HANGS}",
        f"-rss_limit_mb={MEMORY_MIB}",
        f"-max_len={LARGEST // 10}",
        f"-dict={dictionary}",
        "-print_final_stats=1",
        "-verbosity=0",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], watched(module.one))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
