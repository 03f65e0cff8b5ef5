"""`make fuzz [T=name] [SECONDS=60]`: broken input for every reader of bytes from strangers.

Coverage-guided by atheris (`tests/fuzz/guided.py`) where it is installed, else by chance as told below.

A harness is a module beside this one with `SEEDS: Sequence[bytes]` and `one(data: bytes) -> None`, which lets only
failures through that nobody documented. The driver bends seeds by chance; what raises, or takes more than `SLOW`
seconds, is written to `dist/fuzz/` and told with the words that repeat it. `WORDS` (optional) are byte strings worth
inserting.
"""

import argparse
import hashlib
import importlib
import importlib.util
import random
import resource
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
FOUND = HERE.parents[1] / "dist/fuzz"
SLOW = 2.0  # seconds of CPU for one input; readers are bounded
LARGEST = 200_000  # bytes of one input
MEMORY = 4 << 30
COMMON = [b"\r\n", b"\r", b"\n", b"\0", b"\xff", b"\xc3", b"{5}", b"{999999999999}", b"=?utf-8?q?", b"?=", b"--", b"&-"]
COMMON += [bytes([c]) for c in b' "\\()*:<>=;+&%,.@0'] + [b"4294967296"]


def bend(chance: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """One seed, bent one to six times."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, 6)):
        at = chance.randint(0, len(data))
        to = min(len(data), at + chance.choice([1, 2, 8, 64, 512]))
        match chance.randrange(9):
            case 0 if data:
                data[at % len(data)] ^= 1 << chance.randrange(8)
            case 1:
                del data[at:to]
            case 2:
                data[at:at] = chance.choice(words)
            case 3:
                data[at:at] = data[at:to] * chance.choice([2, 3, 50, 1000])
            case 4:
                other = chance.choice(seeds)
                cut = chance.randint(0, len(other))
                data[at:] = other[cut:]
            case 5:
                data[at:at] = chance.randbytes(chance.choice([1, 4, 32]))
            case 6:
                del data[at:]
            case 7:
                data[at:at] = chance.choice(words) * chance.choice([10, 200, 5000])
            case _:
                data[at:to] = chance.choice(words)
    return bytes(data[:LARGEST])


def harness_name(name: str) -> str:
    """The module's name; `name` with or without its "fuzz_"."""
    return f"fuzz_{name.removeprefix('fuzz_')}"


def harness_names(only: str) -> list[str]:
    names = sorted(path.stem for path in HERE.glob("fuzz_*.py") if only in {"", path.stem, path.stem[5:]})
    if not names:
        raise SystemExit(f"no harness {only!r} in {HERE.name}/")
    return names


def harnesses(only: str) -> list[ModuleType]:
    return [importlib.import_module(f"tests.fuzz.{name}") for name in harness_names(only)]


def seeds_of(module: ModuleType) -> list[bytes]:
    """The harness's own and the small files of `corpus/NAME/`."""
    folder = HERE / "corpus" / module.__name__.rpartition("fuzz_")[2]
    return [*module.SEEDS, *(path.read_bytes() for path in sorted(folder.glob("*")))]


def attempt(one: Callable[[bytes], None], data: bytes) -> str:
    """Empty, or what went wrong."""
    begun = time.process_time()  # a busy machine is no finding
    try:
        one(data)
    except Exception:  # whatever comes out is what is looked for
        return traceback.format_exc()
    taken = time.process_time() - begun
    return f"took {taken:.1f} s\n" if taken > SLOW else ""


def fuzz(module: ModuleType, seconds: float, seed: int) -> int:
    """Tries until time is up or three failures are found; returns how many were found."""
    name = module.__name__.rpartition(".")[2]
    seeds = seeds_of(module)
    words = [*COMMON, *getattr(module, "WORDS", [])]
    chance = random.Random(seed)
    end = time.monotonic() + seconds
    tried, found = 0, 0
    while time.monotonic() < end and found < 3:
        data = seeds[tried] if tried < len(seeds) else bend(chance, seeds, words)
        tried += 1
        if wrong := attempt(module.one, data):
            found += 1
            FOUND.mkdir(parents=True, exist_ok=True)
            path = FOUND / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}"
            path.write_bytes(data)
            print(f"{name}: {wrong}again by: python -m tests.fuzz.driver --only {name} --input {path}", flush=True)
    print(f"{name}: {tried} inputs, {found} failures (seed {seed})", flush=True)
    return found


def guided(names: list[str], seconds: float) -> int:
    """One harness after the other, each in a process of its own; 1 when any of them failed."""
    failed = 0
    for name in names:
        words = [sys.executable, "-m", "tests.fuzz.guided", name.removeprefix("fuzz_"), str(int(seconds / len(names)))]
        failed += subprocess.run(words, check=False).returncode != 0
    return int(failed > 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="one harness")
    parser.add_argument("--seconds", type=float, default=60, help="for all of them together")
    parser.add_argument("--seed", type=int, default=time.time_ns() & 0xFFFFFFFF)
    parser.add_argument("--input", type=Path, help="one file again")
    parser.add_argument("--random", action="store_true", help="by chance even where atheris is installed")
    options = parser.parse_args()
    if not options.input and not options.random:
        if importlib.util.find_spec("atheris"):
            return guided(harness_names(options.only), options.seconds)
        print("atheris is not installed (see requirements-dev.lock): by chance instead of by coverage", flush=True)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))  # what grows without bound fails here and not the machine
    modules = harnesses(options.only)
    if options.input:
        wrong = "".join(attempt(module.one, options.input.read_bytes()) for module in modules)
        print(wrong or "no failure")
        return int(bool(wrong))
    return int(sum(fuzz(module, options.seconds / len(modules), options.seed) for module in modules) > 0)


if __name__ == "__main__":
    sys.exit(main())
