"""Where the soak runs: a data folder with a server, a PostgreSQL cluster of its own with fsync on, what their logs say.

Everything here waits with `time.sleep`; the soak calls it in threads. Ends only what it has started itself.
"""

import contextlib
import os
import pwd
import random
import re
import signal
import socket
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from tests.house.running import EndedError, House, run
from tests.soak.disk import Disk, Faults

CODE = Path(__file__).parents[2] / "congvu"
STEPS = sorted(
    {
        step
        for path in CODE.rglob("*.py")
        if path.name != "objects.py"  # S3: not in the soak
        for step in re.findall(r'\bstep\("([\w-]+)"\)', path.read_text("utf-8"))
    }
)
DEATH = re.compile(r"worker (\S+) \(process \d+\) ended with status (\d+)")


class Cluster:
    """PostgreSQL in a folder: with fsync, and killed as hardly as our own server."""

    def __init__(self, folder: Path) -> None:
        found = sorted(
            Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(re.sub(r"\D", "", p.parent.name) or 0)
        )
        if not found:
            raise RuntimeError("PostgreSQL is missing: apt-get install postgresql")
        self._binaries = found[-1]
        self._become: list[str] = []
        folder.mkdir(parents=True, exist_ok=True)
        if os.getuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(folder, owner.pw_uid, owner.pw_gid)
            self._become = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        self._folder = folder
        self._environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        words = ["-D", folder / "data", "-A", "trust", "-U", "congvu", "-E", "UTF8", "--locale=C.UTF-8"]
        subprocess.run(
            [*self._become, self._binaries / "initdb", *words],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
            env=self._environment,
        )

    def url(self, name: str = "postgres") -> str:
        return f"postgresql://congvu@127.0.0.1:{self._port}/{name}"

    def start(self) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self._port,
            "unix_socket_directories": "",
            "max_connections": 100,
            "shared_buffers": "64MB",
            "max_wal_size": "256MB",
            "fsync": "on",
            "synchronous_commit": "on",
            "full_page_writes": "on",
            "deadlock_timeout": "200ms",
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        end = time.monotonic() + 90
        while True:
            with (self._folder / "log").open("ab") as out:
                self._process = subprocess.Popen(
                    [*self._become, self._binaries / "postgres", "-D", self._folder / "data", *words],
                    stdout=out,
                    stderr=out,
                    stdin=subprocess.DEVNULL,
                    cwd="/",
                    env=self._environment,
                    start_new_session=True,
                )
            # Until the children of a killed postmaster are gone a new one refuses to start.
            while self._process.poll() is None:
                with contextlib.suppress(psycopg.OperationalError):
                    psycopg.connect(self.url(), connect_timeout=2).close()
                    return
                if time.monotonic() > end:
                    break
                time.sleep(0.05)
            if time.monotonic() > end:
                raise RuntimeError(f"PostgreSQL does not start again: {(self._folder / 'log').read_text()[-2000:]}")
            time.sleep(0.1)

    def kill(self, whole: bool) -> None:
        """SIGKILL to the postmaster alone, or to all of its processes at once."""
        if self._process is None:
            return
        if whole:
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
            os.kill(self._process.pid, signal.SIGSTOP)  # no child is replaced meanwhile
            for child in children:  # each in a session of its own
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(child), signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        self._process = None

    def revive(self) -> None:
        """Starts it again when it ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            self.start()

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(60)
            self._process = None

    def create(self, name: str) -> str:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        return self.url(name)

    def drop(self, name: str) -> None:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@dataclass
class Log:
    """What the server's log of one life says. `deaths`: workers by SIGKILL, by name; `strange`: what no kill
    explains."""

    deaths: Counter[str] = field(default_factory=Counter)
    strange: list[str] = field(default_factory=list)


# A database server that is killed, a disk that is full or fails: the log says so, and that is right.
EXPECTED = (
    "OperationalError",
    "InterfaceError",
    "AdminShutdown",
    "CannotConnectNow",
    "CrashShutdown",
    "NotNow",
    "BrokenPipeError",
    "OSError: [Errno 5]",
    "OSError: [Errno 28]",
    "apsw.IOError",
    "apsw.FullError",
)


def traces(text: str) -> list[str]:
    """The entries of a log that have a traceback. Line by line: a pattern over megabytes of them took minutes, and all
    clients stood still."""
    entries: list[list[str]] = [[]]
    for line in text.splitlines():
        if re.match(r"\d{4}-", line):
            entries.append([])
        entries[-1].append(line)
    return ["\n".join(entry) for entry in entries if any(line.startswith("Traceback ") for line in entry)]


class Site:
    """A house with what the soak does to it. With `disk` its data and its database lie there, and the disk fails."""

    def __init__(
        self, folder: Path, people: int, workers: int, cluster: Cluster | None, name: str, disk: Disk | None = None
    ) -> None:
        self.disk = disk
        self.faults: Faults | None = None
        if disk is not None:
            (disk.place / "data").mkdir()
            (folder / "data").symlink_to(disk.place / "data")
            self.faults = Faults(folder, disk.place / "data")
        self.cluster = cluster
        self._name = name
        database = cluster.create(name) if cluster else ""
        self.house = House(folder / "data", people=people, database=database)
        self.house.set_up()
        config = folder / "data" / "congvu.toml"
        text = config.read_text("utf-8")
        assert "\nworkers = 0\n" in text
        config.write_text(text.replace("\nworkers = 0\n", f"\nworkers = {workers}\n"), "utf-8")
        self._log = folder / "data.log"
        self._lives = 0
        self.deaths = Counter[str]()

    def start(self, chance: random.Random, step: str = "", count: int = 0) -> None:
        """A server that dies before its doors are open (its parent passes steps too) is started again."""
        while True:
            self._log.write_bytes(b"")
            try:
                environment = self.faults.environment if self.faults else {}
                self.house.start(kill_at=f"{step}:{count}" if step else "", environment=environment)
                return
            except EndedError:
                self.house.kill()
                if not step:
                    raise
                self.deaths[f"{step} in start-up"] += 1
                count = count * 2 + chance.randrange(5)

    def read_log(self, excused: bool) -> Log:
        """Call when the server has ended. `excused`: its disk or database failed, which explains errors."""
        text = self._log.read_text("utf-8", "replace")
        log = Log()
        for worker, status in DEATH.findall(text):
            if status == "9":
                log.deaths[worker] += 1
            elif not excused:
                log.strange.append(f"worker {worker} ended with status {status}")
        for trace in traces(text):
            if not (excused and any(word in trace for word in EXPECTED)):
                log.strange.append(trace[-3000:])
        return log

    def check(self) -> list[str]:
        done = run("check", "--data", str(self.house.data), good=False)
        return [] if done.returncode == 0 else [f"congvu check: {(done.stdout + done.stderr)[:3000]}"]

    def power_cut(self) -> None:
        """Everything that runs loses its disk at the same moment, and dies."""
        assert self.disk is not None
        self.disk.cut()
        self.house.kill()
        if self.cluster is not None:
            self.cluster.kill(whole=True)
        self.disk.again()
        if self.cluster is not None:
            self.cluster.start()

    def close(self) -> None:
        self.house.kill()
        if self.cluster is not None:
            self.cluster.drop(self._name)
