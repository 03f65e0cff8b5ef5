"""The servers that are measured, each in a folder of its own on loopback ports: ours; Postfix + Dovecot from Debian.

Every server has `set_up`, `start`, `stop` and tells its ports and the roots of its process trees. Nothing outside the
folder is written (but for a limit of the kernel's while a peer with thousands of processes runs, put back at its end);
what was started is ended by its process id.
"""

import base64
import csv
import hashlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

DOMAIN = "bench.test"
PASSWORD = "mat-khau-do-toc-do"
PATIENCE = 30  # seconds for a server to answer or to stop
_WATCHES = Path("/proc/sys/fs/inotify/max_user_instances")  # each IDLE process of the plain peer takes one


def login(user: int) -> str:
    return f"u{user:04d}@{DOMAIN}"


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as probe:
            return bool(probe.recv(1))
    except OSError:
        return False


def wait_for(*ports: int) -> None:
    end = time.monotonic() + PATIENCE
    while not all(answers(port) for port in ports):
        if time.monotonic() > end:
            raise RuntimeError(f"no answer on ports {ports}")
        time.sleep(0.01)


def wait_gone(pid: int) -> None:
    end = time.monotonic() + PATIENCE
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        time.sleep(0.1)


@dataclass
class Server:
    """What both kinds have in common."""

    folder: Path
    base_port: int
    users: int
    name: str = ""
    smtp: int = 0
    imap: int = 0
    mail: Path = field(default_factory=Path)
    roots: list[int] = field(default_factory=list)
    variant: bool = False  # of another one: only measured where the difference counts
    _sizes: dict[int, int] = field(default_factory=dict)

    def cpu(self) -> float:
        """Seconds of processor time of the whole process trees, children that ended included."""
        return sum(_cpu(pid) for root in self.roots for pid in _tree(root))

    def written(self) -> int:
        """Bytes that the process trees gave to the disk, by the kernel's count: without its journal, and what was
        changed twice before it left memory counts once."""
        return sum(_field(pid, "io", "write_bytes") for root in self.roots for pid in _tree(root))

    def device_written(self) -> int:
        """Bytes written to the disk under the folder by whomever; waits until what is under way is there."""
        os.sync()
        device = self.folder.stat().st_dev
        try:
            words = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat").read_text().split()
        except OSError:  # no disk of its own, as in some containers
            return 0
        return int(words[6]) * 512

    def disk(self) -> int:
        """What the mail takes, a file with several names once."""
        sizes: dict[int, int] = {}
        for upper, folders, names in os.walk(self.mail):
            for name in (*folders, *names):
                try:
                    found = os.lstat(os.path.join(upper, name))
                except FileNotFoundError:  # gone meanwhile
                    continue
                sizes[found.st_ino] = found.st_blocks * 512
        return sum(sizes.values())

    def settle(self) -> None:
        """Lets the server finish what it does behind its answers, so that `disk` is the same for the same mail."""
        os.sync()
        time.sleep(1)

    def indexer_cpu(self) -> float:
        """Seconds of processor time that went into a text index beside the work."""
        return 0.0

    def await_index(self) -> None:
        """Waits until the text index holds everything."""

    def forget_peak(self) -> None:
        """From now on `peak` counts."""
        self._sizes = {}
        for root in self.roots:
            for pid in _tree(root):
                try:
                    Path(f"/proc/{pid}/clear_refs").write_text("5")
                except OSError:  # it has just ended
                    continue
                self._sizes[pid] = _field(pid, "status", "VmRSS") * 1024

    def peak(self) -> int:
        """By how many bytes the processes' highest resident sizes exceed what they were, summed over them."""
        return sum(
            max(0, _field(pid, "status", "VmHWM") * 1024 - self._sizes.get(pid, 0))
            for root in self.roots
            for pid in _tree(root)
        )

    def memory(self) -> int:
        """Proportional set size of the process trees, bytes."""
        return sum(_field(pid, "smaps_rollup", "Pss") * 1024 for root in self.roots for pid in _tree(root))


def _field(pid: int, file: str, name: str) -> int:
    """A number of a file of lines `name: number …` in /proc; 0 once the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)


def _cpu(pid: int) -> float:
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(words[i]) for i in (11, 12, 13, 14)) / os.sysconf("SC_CLK_TCK")


def _tree(root: int) -> Iterator[int]:
    yield root
    try:
        for task in Path(f"/proc/{root}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _tree(int(child))
    except OSError:
        return


class Ours(Server):
    """Công Vụ, as `congvu init` and `congvu serve` make it; `database` is given on to init."""

    database: str = ""

    def set_up(self) -> None:
        self.name = "congvu" + ("-" + self.database.partition(":")[0] if self.database else "")
        self.smtp, self.imap = self.base_port + 25, self.base_port + 143
        self.mail = self.folder / "data"
        program = [str(Path(sys.executable).parent / "congvu")]
        more = ["--db", self.database] if self.database else []
        where = ["--data", str(self.mail)]
        init = ["init", *where, "--domain", DOMAIN, "--base-port", str(self.base_port), "--insecure-loopback", *more]
        subprocess.run(program + init, check=True, stdout=subprocess.DEVNULL)
        salt = os.urandom(8)
        digest = hashlib.sha512(PASSWORD.encode() + salt).digest()
        hashed = "{SSHA512}" + base64.b64encode(digest + salt).decode()
        with (self.folder / "users.csv").open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["address", "name", "password", "password_hash"])
            rows.writerows([login(n), f"Người dùng {n}", "", hashed] for n in range(self.users))
        load = ["account", "import", str(self.folder / "users.csv"), *where]
        subprocess.run(program + load, check=True, stdout=subprocess.DEVNULL)
        self._command = [*program, "serve", *where]

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, start_new_session=True)
        self.roots = [self._process.pid]
        try:
            wait_for(self.smtp, self.imap)
        except RuntimeError as error:
            raise RuntimeError(f"{error}: {(self.folder / 'log').read_text()[-500:]}") from error

    def settle(self) -> None:
        """SQLite's logs are copied back and cut off, as the server itself does when they are longer than some MB: what
        is compared is what the mail takes, and not how much of it lies in a log besides."""
        super().settle()
        for file in self.mail.glob("congvu.db*"):
            if file.name in {"congvu.db", "congvu.db-text"}:
                with closing(sqlite3.connect(file, timeout=PATIENCE)) as asking:
                    asking.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _indexer(self) -> int:
        """The process of low priority, which keeps the text index."""
        for pid in _tree(self.roots[0]):
            if os.getpriority(os.PRIO_PROCESS, pid) > 0:
                return pid
        raise RuntimeError("no background process")

    def indexer_cpu(self) -> float:
        return _cpu(self._indexer())

    def await_index(self) -> None:
        """It has caught up when its cursors say so and (merging goes on behind them) it uses no more time: 0.02 s or
        less in two seconds. Where the database cannot be asked the time alone tells, which may err on a busy
        machine."""
        end = time.monotonic() + 20 * PATIENCE
        last = -1.0
        while ((now := self.indexer_cpu()) - last > 0.02 or self._index_behind()) and time.monotonic() < end:
            last = now
            time.sleep(2)

    def _index_behind(self) -> bool:
        file = self.mail / "congvu.db"
        if self.database or not file.exists():
            return False
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as asking:
            asking.execute("ATTACH ? AS text", (f"file:{file}-text?mode=ro",))
            return bool(
                asking.execute(
                    "SELECT EXISTS (SELECT 1 FROM store s LEFT JOIN text.text_cursor c ON c.account_id = s.account_id"
                    " WHERE coalesce(c.indexed, -1) < s.modseq)"
                ).fetchone()[0]
            )

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()


class Peer(Server):
    """Postfix smtpd → LMTP over a unix socket → Dovecot, sdbox, no filter, no TLS, limits raised.

    `hibernate`: seconds after which an idle IMAP connection is handed to a process that holds many; 0, as usual: never.
    """

    hibernate: int = 0
    _watches: str = ""

    @staticmethod
    def possible() -> str:
        """Empty, or why not."""
        if os.geteuid() != 0:
            return "Postfix and Dovecot need root"
        missing = [p for p in ("postfix", "dovecot", "doveadm") if not shutil.which(p)]
        return f"not installed: {', '.join(missing)}" if missing else ""

    def set_up(self) -> None:
        self.name = "postfix+dovecot" + ("-hibernating" if self.hibernate else "")
        self.variant = self.hibernate > 0
        self.smtp, self.imap = self.base_port + 25, self.base_port + 143
        self.mail = self.folder / "mail"
        self._postfix, self._dovecot = self.folder / "postfix", self.folder / "dovecot"
        for part in ("postfix/etc", "postfix/spool", "postfix/lib", "dovecot/run", "dovecot/state", "log", "mail"):
            (self.folder / part).mkdir(parents=True)
        for upper in (self.folder, *self.folder.parents[:-1]):
            if upper.stat().st_uid == os.geteuid() and upper.name.startswith("congvu-bench"):
                upper.chmod(0o755)
        shutil.chown(self._postfix / "lib", "postfix")
        shutil.chown(self.mail, "mail", "mail")
        (self.folder / "log").chmod(0o777)
        names = [login(n) for n in range(self.users)]
        (self._dovecot / "users").write_text("".join(f"{name}:{{PLAIN}}{PASSWORD}\n" for name in names))
        (self._postfix / "etc/boxes").write_text("".join(f"{name} {name}/\n" for name in names))
        (self._postfix / "etc/main.cf").write_text(self._main_cf())
        (self._postfix / "etc/master.cf").write_text(self._master_cf())
        (self._dovecot / "dovecot.conf").write_text(self._dovecot_conf())
        boxes = self._postfix / "etc/boxes"
        subprocess.run(["postmap", "-c", str(self._postfix / "etc"), f"hash:{boxes}"], check=True)

    def _main_cf(self) -> str:
        here = self._postfix
        settings = {
            "compatibility_level": "3.6",
            "queue_directory": here / "spool",
            "data_directory": here / "lib",
            "myhostname": f"mx.{DOMAIN}",
            "mydestination": "",
            "alias_maps": "",
            "local_recipient_maps": "",
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "mynetworks": "192.0.2.1/32",
            "smtp_host_lookup": "native",
            "virtual_mailbox_domains": DOMAIN,
            "virtual_mailbox_maps": f"hash:{here}/etc/boxes",
            "virtual_transport": f"lmtp:unix:{self._dovecot}/run/lmtp-in",
            "smtpd_relay_restrictions": "reject_unauth_destination",
            "smtpd_client_connection_count_limit": 0,
            "smtpd_client_connection_rate_limit": 0,
            "smtpd_client_message_rate_limit": 0,
            "smtpd_client_recipient_rate_limit": 0,
            "smtpd_recipient_limit": 2000,
            "default_process_limit": 200,
            "in_flow_delay": "0s",
            "initial_destination_concurrency": 20,
            "lmtp_destination_concurrency_limit": 20,
            "lmtp_destination_recipient_limit": 100,
            "qmgr_message_active_limit": 50000,
            "qmgr_message_recipient_limit": 50000,
            "message_size_limit": 104857600,
            "mailbox_size_limit": 0,
            "virtual_mailbox_limit": 0,
            "maillog_file": self.folder / "log/postfix",
            "maillog_file_prefixes": self.folder / "log",
        }
        return "".join(f"{key} = {value}\n" for key, value in settings.items())

    def _master_cf(self) -> str:
        rows = [f"127.0.0.1:{self.smtp} inet n - n - 200 smtpd"]
        plain = "bounce:0 defer:0:bounce trace:0:bounce verify:1 proxymap:- smtp:- relay:-:smtp error:- "
        plain += "retry:-:error"
        rows += [
            "pickup unix n - n 60 1 pickup",
            "cleanup unix n - n - 0 cleanup",
            "qmgr unix n - n 300 1 qmgr",
            "tlsmgr unix - - n 1000? 1 tlsmgr",
        ]
        rows += [
            "rewrite unix - - n - - trivial-rewrite",
            "flush unix n - n 1000? 0 flush",
            "showq unix n - n - - showq",
        ]
        rows += ["lmtp unix - - n - 20 lmtp", "anvil unix - - n - 1 anvil", "postlog unix-dgram n - n - 1 postlogd"]
        for word in plain.split():
            service, limit, *program = word.split(":")
            rows.append(f"{service} unix - - n - {limit} {program[0] if program else service}")
        return "\n".join(rows) + "\n"

    def _dovecot_conf(self) -> str:
        here = self._dovecot
        return f"""base_dir = {here}/run
state_dir = {here}/state
log_path = {self.folder}/log/dovecot
protocols = imap lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain
auth_cache_size = 10M
mail_location = sdbox:~/sdbox
mail_uid = mail
mail_gid = mail
first_valid_uid = 1
mail_fsync = optimized
mail_max_userip_connections = 0
imap_hibernate_timeout = {self.hibernate}s
default_vsz_limit = 2G
default_client_limit = 30000
passdb {{
  driver = passwd-file
  args = username_format=%u {here}/users
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={self.mail}/%u
}}
namespace inbox {{
  inbox = yes
  separator = /
}}
service imap-login {{
  service_count = 0
  client_limit = 20000
  process_min_avail = 2
  process_limit = 2
  inet_listener imap {{
    address = 127.0.0.1
    port = {self.imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service imap {{
  process_limit = 4000
  service_count = 256
  unix_listener imap-master {{
    user = dovecot
  }}
  extra_groups = dovecot
}}
service imap-hibernate {{
  unix_listener imap-hibernate {{
    mode = 0660
    group = dovecot
  }}
}}
service lmtp {{
  process_min_avail = 4
  process_limit = 100
  unix_listener lmtp-in {{
    mode = 0666
  }}
}}
service anvil {{
  client_limit = 40000
}}
service auth {{
  client_limit = 40000
}}
"""

    def start(self) -> None:
        if self._watches == "":
            self._watches = _WATCHES.read_text()
            with suppress(OSError):
                _WATCHES.write_text("65536")
        subprocess.run(["dovecot", "-c", str(self._dovecot / "dovecot.conf")], check=True)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(["postfix", "-c", str(self._postfix / "etc"), "start"], check=True, **quiet)  # type: ignore[call-overload]  # mypy cannot see the keywords
        wait_for(self.smtp, self.imap)
        files = (self._postfix / "spool/pid/master.pid", self._dovecot / "run/master.pid")
        self.roots = [int(file.read_text()) for file in files]

    def stop(self) -> None:
        for root in self.roots:
            try:
                os.kill(root, signal.SIGTERM)
            except ProcessLookupError:
                continue
            wait_gone(root)
        with suppress(OSError):
            _WATCHES.write_text(self._watches)
        self._watches = ""
