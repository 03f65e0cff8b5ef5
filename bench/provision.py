"""Ten thousand people from a spreadsheet to accounts: `python -m bench.provision [--rows 10000] [--units 300]`.

Each step is timed by the wall and by the processor of this process: reading and judging the list, meeting the
directory, the dry run with every address proposed, the request, the decision carried out portion by portion on a SQLite
store of its own. What a password's hash costs is measured apart (argon2 is slow on purpose) and told beside it.
"""

import argparse
import asyncio
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import xlsxwriter

from congvu.actions import accounts, requests, sheets, sheets_out
from congvu.base.clock import Identifiers, SystemClock, day_of
from congvu.base.config import Config
from congvu.base.observe import Secret
from congvu.db import open_database
from congvu.db.engine import Tx
from congvu.directory import credentials, profile, units
from congvu.directory.credentials import Stored
from congvu.directory.requests import Kind, Request
from congvu.directory.roles import Actor
from congvu.directory.units import Unit

T = TypeVar("T")
WHO = Actor("bench")
_FAMILIES = "Nguyễn Trần Lê Phạm Huỳnh Hoàng Võ Vũ Đặng Bùi Đỗ Hồ Ngô Dương Lý Trương Đinh Phùng Lương Trịnh"
_MIDDLES = "Văn Thị Hữu Minh Ngọc Thanh Quốc Đức Kim Xuân Hoàng Thùy Bảo Gia Như Anh Tuấn Mỹ"
_GIVENS = (
    "An Bình Cường Dũng Giang Hà Hải Hạnh Hiếu Hòa Huệ Hùng Hương Khánh Lan Linh Long Mai Nam Nga Ngân Nhung Oanh Phúc"
    " Phương Quang Quyên Sơn Tâm Thảo Thắng Thu Trang Trung Tú Tuyết Uyên Vân Vinh Yến"
)
FAMILIES, MIDDLES, GIVENS = _FAMILIES.split(), _MIDDLES.split(), _GIVENS.split()


def roster(rows: int, names: list[str]) -> bytes:
    """A list as agencies send it; one row in ten has a fault of the usual kinds (row 7.7)."""
    luck = random.Random(7)
    out = BytesIO()
    book = xlsxwriter.Workbook(out, {"in_memory": True})
    sheet = book.add_worksheet("Danh sách")
    for column, title in enumerate(
        ("STT", "Họ và tên", "Ngày sinh", "Chức vụ", "Phòng/ban/đơn vị", "Số điện thoại", "Số hiệu", "Nội dung đề nghị")
    ):
        sheet.write_string(4, column, title)
    for n in range(rows):
        name = " ".join((luck.choice(FAMILIES), luck.choice(MIDDLES), luck.choice(GIVENS)))
        born = date(1966, 1, 1) + timedelta(days=luck.randrange(14_000))
        birth, unit, phone = born.strftime("%d/%m/%Y"), luck.choice(names), f"09{luck.randrange(10**8):08}"
        fault = luck.randrange(50)
        if fault == 0:
            name = name.upper()
        elif fault == 1:
            birth = "31/02/1980"
        elif fault == 2:
            unit = "Phòng không có"
        elif fault == 3:
            phone = "chưa có"
        elif fault == 4:
            name = ""
        for column, text in enumerate((str(n + 1), name, birth, "Chuyên viên", unit, phone, f"CB{n:06}", "Cấp mới")):
            sheet.write_string(5 + n, column, text)
    book.close()
    return out.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--units", type=int, default=300)
    parser.add_argument("--profile", default="angiang_2016")
    parser.add_argument("--hashes", type=int, default=40, help="argon2 hashes measured apart")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    steps: list[dict[str, Any]] = []

    def timed(title: str, f: Callable[[], T]) -> T:
        wall, cpu = time.perf_counter(), time.process_time()
        found = f()
        steps.append({"step": title, "wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu})
        return found

    rules = profile.load(asked.profile)
    config = Config((rules.naming.domains[0],), f"mail.{rules.naming.domains[0]}", profile=asked.profile)
    clock = SystemClock()
    names = [f"Phòng Nghiệp vụ {n}" for n in range(asked.units)]
    data = roster(asked.rows, names)
    with tempfile.TemporaryDirectory(prefix="congvu-provision-") as folder:
        database = open_database("sqlite:///congvu.db", data=Path(folder))
        database.migrate()
        office = requests.Office(config, Identifiers(clock), lambda now, n: day_of(now) + timedelta(days=n), cheap)

        def tree(tx: Tx) -> None:
            units.add(tx, Unit(1, None, "Tỉnh", "tinh"))
            units.add_children(tx, 1, [Unit(10 + n, 1, name, "phong") for n, name in enumerate(names)])

        database.write_now(tree)
        now = clock.now()
        found = timed("read and judge", lambda: sheets.read(data, Kind.ISSUE, config, rules, day_of(now)))
        timed("meet the directory", lambda: database.read_now(sheets.meet, found, 1))
        wanted = found.items()
        draft = Request(0, Kind.ISSUE, 1, "1/BENCH", day_of(now).isoformat(), "Đề nghị cấp mới")
        verdicts = timed(
            "dry run: every address",
            lambda: database.read_now(requests.judged, WHO, office, draft, wanted, {}, now),
        )
        timed("dry run's sheet", lambda: sheets_out.annotated(found, {v.item.line: v for v in verdicts}))
        number, version = timed(
            "the request", lambda: database.write_now(requests.create, WHO, office, draft, wanted, now)
        )
        database.write_now(requests.submit, WHO, office, number, version, now)
        decision = requests.Decision(True, partly=True)
        decided = timed(
            "decide and carry out",
            lambda: asyncio.run(requests.decide(database, WHO, office, clock, number, version + 1, decision)),
        )
        assert not database.read_now(lambda tx: list(accounts.check(tx)))
        database.close()
    hash_cpu = time.process_time()
    for _ in range(asked.hashes):
        credentials.make(credentials.invent_password())
    hash_cpu = (time.process_time() - hash_cpu) / asked.hashes
    for step in steps:
        print(f"{step['step']:26} {step['wall']:7.2f} s  processor {step['cpu']:7.2f} s")
    total = sum(step["wall"] for step in steps)
    granted = decided.progress.granted
    print(
        f"{granted} accounts of {asked.rows} rows: {total:.1f} s, hash cost aside; rows left behind or refused: "
        f"{asked.rows - granted}"
    )
    print(f"a hash: {1000 * hash_cpu:.0f} ms of one core, {granted * hash_cpu:.0f} s for all on one core")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"memory at most: {memory} MB")
    if asked.out:
        told = {"rows": asked.rows, "granted": granted, "steps": steps, "hash": hash_cpu, "memory_mb": memory}
        asked.out.write_text(json.dumps(told, indent=1))
    sys.exit(0 if total <= 60 else 1)


def cheap(password: Secret) -> Stored:
    """Stands for the hash, which is measured apart."""
    return Stored("$argon2id$" + "x" * 90, None)


if __name__ == "__main__":
    main()
