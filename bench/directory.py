"""The directory of a large province: searching it, and drawing the plan that merges two of them.

    python -m bench.directory [--people 30000] [--units 3000] [--out FILE]

Two provinces of half the size each, in a fresh data folder. Prints one line of JSON: milliseconds of the 50th and 95th
percentile of a search by beginnings of words (inside the server: one read), and the seconds of a plan with its parts.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path

from congvu.actions import accounts, directory, merging
from congvu.actions.accounts import NewAccount
from congvu.base.clock import Identifiers, SystemClock
from congvu.base.vietnamese import fold
from congvu.db import open_database
from congvu.db.engine import Database, Tx
from congvu.directory import profile, units
from congvu.directory.entries import Contact
from congvu.directory.merging import read_order
from congvu.directory.people import Kind
from congvu.directory.roles import Actor
from congvu.directory.units import Unit

NAMES = {
    "family": "Nguyễn Trần Lê Phạm Huỳnh Phan Vũ Võ Đặng Bùi Đỗ Hồ Ngô Dương Lý",
    "middle": "Văn Thị Hữu Minh Thanh Ngọc Đức Quốc Kim Hoàng Xuân Công",
    "given": "An Bình Châu Dũng Đường Giang Hà Hải Hiếu Hoa Huệ Hùng Hương Khánh Lan Linh Long Mai Nam Nga Ngọc Phúc"
    " Phương Quân Quang Sơn Tâm Thảo Thành Thúy Tiên Toàn Trang Trung Tuấn Tùng Uyên Vân Việt Vinh Yến",
}
FAMILY, MIDDLE, GIVEN = (names.split() for names in NAMES.values())
TITLES = ("Chuyên viên", "Phó Trưởng phòng", "Trưởng phòng", "Văn thư", "Kế toán", "Giám đốc", "Phó Giám đốc")
QUESTIONS = (
    "hue",
    "ng",
    "nguyen",
    "nguyen thi",
    "tran v",
    "duong",
    "hoa ng",
    "lvan",
    "an chuyen",
    "giam doc",
    "zz",
    "h",
)
WHO = Actor("bench")
ORDER = """title = "Hợp nhất"
basis = "bench"
day = 2025-07-01
domain = "angiang.gov.vn"
aliases_until = 2026-07-01
profile = "angiang_2025"
[[province]]
unit = "Tỉnh Kiên Giang"
into = "Tỉnh An Giang"
"""


def fill(db: Database, people: int, count: int, ids: Identifiers) -> None:
    chance = random.Random(7)
    rules = profile.load("angiang_2016")
    for name, domain in (("An Giang", "angiang.gov.vn"), ("Kiên Giang", "kiengiang.gov.vn")):
        taken: set[str] = set()

        def local(text: str, taken: set[str] = taken) -> str:
            number, free = 1, text
            while free in taken:
                number += 1
                free = f"{text}{number:02}"
            taken.add(free)
            return free

        def one(tx: Tx, name: str = name, domain: str = domain) -> None:
            root = ids.draw()
            units.add(tx, Unit(root, None, f"Tỉnh {name}", "tinh"))
            above = [Unit(ids.draw(), root, f"Sở {number:03}", "so") for number in range(count // 40)]
            units.add_children(tx, root, above)
            places = list(above)
            for unit in above:
                below = [Unit(ids.draw(), unit.id, f"Phòng {number:02}", "phong") for number in range(19)]
                units.add_children(tx, unit.id, below)
                places += below
            new = [NewAccount(f"{local('hop')}@{domain}", u.name, None, Kind.UNIT, u.id) for u in places]
            for _ in range(people // 2):
                words = chance.choice(FAMILY), chance.choice(MIDDLE), chance.choice(GIVEN)
                plain = "".join(word[0] for word in fold(" ".join(words[:2])).split()) + fold(words[2])
                contact = Contact(0, chance.choice(TITLES), "0296 3852 999")
                unit = chance.choice(places)
                new.append(
                    NewAccount(f"{local(plain)}@{domain}", " ".join(words), None, Kind.PERSON, unit.id, contact=contact)
                )
            for start in range(0, len(new), 2000):
                accounts.add_accounts(tx, "bench", new[start : start + 2000], rules, ids, 0.0)

        db.write_now(one)


def searches(db: Database, repeat: int) -> dict[str, float]:
    """Milliseconds of one search for completing an address, over questions short and long, common and rare."""
    taken = []
    for text in QUESTIONS * repeat:
        begun = time.perf_counter()
        db.read_now(directory.suggest, WHO, text)
        taken.append(1000 * (time.perf_counter() - begun))
    cuts = statistics.quantiles(taken, n=20)
    return {
        "p50_ms": round(statistics.median(taken), 2),
        "p95_ms": round(cuts[18], 2),
        "worst_ms": round(max(taken), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=30_000)
    parser.add_argument("--units", type=int, default=3_000)
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    ids = Identifiers(SystemClock())
    with tempfile.TemporaryDirectory(prefix="congvu-bench-") as folder:
        db = open_database("sqlite:///congvu.db", data=Path(folder))
        db.migrate()
        begun = time.perf_counter()
        fill(db, options.people, options.units, ids)
        filled = time.perf_counter() - begun
        row: dict[str, object] = {"people": options.people, "units": options.units, "fill_s": round(filled, 1)}
        row["search"] = searches(db, options.repeat)
        begun, cpu = time.perf_counter(), time.process_time()
        order = read_order(ORDER.encode())
        rules = profile.load("angiang_2025")
        number = merging.draw(db, WHO, order, rules, ids, 0.0, ("angiang.gov.vn", "kiengiang.gov.vn"))
        row["plan"] = {
            "seconds": round(time.perf_counter() - begun, 2),
            "processor_s": round(time.process_time() - cpu, 2),
            "steps": db.read_now(merging.plan, WHO, number).steps,
        }
        db.close()
    line = json.dumps(row)
    print(line)
    if options.out:
        options.out.write_text(line + "\n")


if __name__ == "__main__":
    main()
