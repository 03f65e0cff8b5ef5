"""main: one `serve` a data folder, also just after its parent was killed."""

import subprocess
import time
from pathlib import Path

import pytest

from congvu import main
from congvu.base.failure import Refused


def left_behind(data: Path, seconds: float) -> "subprocess.Popen[bytes]":
    """A worker whose parent is gone: it holds the lock that it inherited for so long."""
    with main.alone(data):
        fd = next(fd for fd in Path("/proc/self/fd").iterdir() if fd.exists() and fd.samefile(data / "serve.lock"))
        return subprocess.Popen(["sleep", str(seconds)], pass_fds=[int(fd.name)])


def test_a_restart_waits_for_workers_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "_LOCK_SECONDS", 10.0)
    start = time.monotonic()
    with left_behind(tmp_path, 0.5) as worker, main.alone(tmp_path):
        assert 0.3 < time.monotonic() - start < 9
        assert worker.wait(1) == 0


def test_a_second_serve_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "_LOCK_SECONDS", 0.2)
    with main.alone(tmp_path), pytest.raises(Refused, match="already-running"), main.alone(tmp_path):
        pass
    with main.alone(tmp_path):
        pass


def test_the_wait_outlasts_the_drain() -> None:
    assert main._LOCK_SECONDS > main._DRAIN_SECONDS + 1
