"""What all tests share: both database engines, each test with a database of its own.

PostgreSQL is a throw-away cluster from Debian's binaries, started by the first test of a session that needs it and
shared by all of its processes (pytest-xdist); the session's end stops it. Where PostgreSQL is missing those tests
fail: they prove half of what is promised, so they are not skipped.
"""

import fcntl
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from congvu.db import open_database
from congvu.db.engine import Database

ENGINES = ["sqlite", "postgres"]
FOLDER = "CONGVU_TEST_POSTGRES"  # the session's folder for its cluster, handed down to worker processes
TEMPLATE = "congvu_template"


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        os.environ[FOLDER] = tempfile.mkdtemp(prefix="congvu-postgres-")


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        folder = Path(os.environ.pop(FOLDER))
        pid_file = folder / "data" / "postmaster.pid"
        if pid_file.exists():
            pid = int(pid_file.read_text().split()[0])
            os.kill(pid, signal.SIGINT)  # fast shutdown
            for _ in range(100):
                if not pid_file.exists():
                    break
                time.sleep(0.05)
            else:
                os.kill(pid, signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)


def _version(path: Path) -> int:
    return int(re.sub(r"\D", "", path.parent.name) or 0)


def _start(folder: Path) -> str:
    """Starts the cluster and returns the URL of its maintenance database."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version)
    if not found:
        pytest.fail(
            "PostgreSQL is missing: apt-get install postgresql (the tests need its server binaries)", pytrace=False
        )
    binaries = found[-1]
    become: list[str] = []
    if os.getuid() == 0:  # the server refuses to run as root
        try:
            owner = pwd.getpwnam("postgres")
        except KeyError:
            pytest.fail("there is no user postgres to run PostgreSQL as: apt-get install postgresql", pytrace=False)
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        become = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    else:
        owner = pwd.getpwuid(os.getuid())
    data = folder / "data"
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    subprocess.run(
        [
            *become,
            binaries / "initdb",
            "-D",
            data,
            "-A",
            "trust",
            "-U",
            "congvu",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "-N",
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd="/",
        env=environment,
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": folder,
        "max_connections": 200,
        "shared_buffers": "64MB",
        "fsync": "off",  # these tests do not pull the plug
        "deadlock_timeout": "200ms",
    }
    arguments = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    log = folder / "log"
    with log.open("wb") as out:
        subprocess.Popen(
            [*become, binaries / "postgres", "-D", data, *arguments],
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            cwd="/",
            env=environment,
            start_new_session=True,
        ).returncode = 0  # it outlives this process's interest: the session's end stops it by its pid file
    url = f"postgresql://congvu@127.0.0.1:{port}/postgres"
    for _ in range(200):
        try:
            psycopg.connect(url).close()
            return url
        except psycopg.OperationalError:
            time.sleep(0.05)
    pytest.fail(f"PostgreSQL does not start:\n{log.read_text()}", pytrace=False)


def _named(url: str, name: str) -> str:
    return f"{url.rpartition('/')[0]}/{name}"


@pytest.fixture(scope="session")
def postgres_cluster() -> str:
    """The URL of the session's cluster, which has a database TEMPLATE with the schema."""
    folder = Path(os.environ[FOLDER])
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ready = folder / "url"
        if not ready.exists():
            url = _start(folder)
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {TEMPLATE}")
            database = open_database(_named(url, TEMPLATE), data=folder)
            database.migrate()
            database.close()
            ready.write_text(url)
        return ready.read_text()


def _new_database(cluster: str, template: str) -> Iterator[str]:
    name = f"test_{secrets.token_hex(8)}"
    with psycopg.connect(cluster, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield _named(cluster, name)
    with psycopg.connect(cluster, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture(params=ENGINES)
def engine_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Each engine in turn: the URL of a database that only this test uses. It may have its schema already; `migrate`
    it."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/congvu.db"
    else:
        yield from _new_database(request.getfixturevalue("postgres_cluster"), TEMPLATE)


@pytest.fixture(params=ENGINES)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """As `engine_url`, but surely without a schema."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/congvu.db"
    else:
        yield from _new_database(request.getfixturevalue("postgres_cluster"), "template0")


@pytest.fixture
def postgres_url(postgres_cluster: str) -> Iterator[str]:
    """For tests of PostgreSQL alone."""
    yield from _new_database(postgres_cluster, TEMPLATE)


@pytest.fixture
def db(engine_url: str, tmp_path: Path) -> Iterator[Database]:
    """Each engine in turn: an open database with the newest schema and no rows."""
    database = open_database(engine_url, data=tmp_path)
    database.migrate()
    yield database
    database.close()
