"""Disks that lose power, fill up and fail: a small ext4 in a file, and a layer before libc that lets calls fail.

A power cut is ext4's own shutdown: what was not flushed is gone, as after pulling the plug, and the journal is replayed
when it is mounted again. Needs root and loop devices; `Disk.possible` says whether they are there.
"""

import errno
import fcntl
import mmap
import os
import shutil
import struct
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN
NO_LOG_FLUSH = 2
SIZE = 1 << 30
CONTROL = struct.Struct("<3I3i3Q512s")


def _sh(*words: str | Path) -> None:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(map(str, words))}: {done.stderr.strip()}")


class Disk:
    """An ext4 of its own, mounted at `place`. The file it lies in is kept in memory: what reaches it is safe."""

    def __init__(self, place: Path, size: int = SIZE) -> None:
        self.place = place
        self._image = Path(tempfile.mkstemp(prefix="congvu-soak-", suffix=".img", dir="/dev/shm")[1])
        os.truncate(self._image, size)
        _sh("mkfs.ext4", "-q", "-F", "-m", "0", self._image)
        place.mkdir(parents=True, exist_ok=True)
        self._mount()

    @staticmethod
    def possible() -> str:
        """Empty when such disks can be had, else the reason why not."""
        folder = Path(tempfile.mkdtemp(prefix="congvu-soak-"))
        try:
            disk = Disk(folder / "disk", 16 << 20)
        except OSError as error:
            return str(error)
        try:
            disk.cut()
            disk.again()
        except OSError as error:
            return str(error)
        finally:
            disk.close()
            shutil.rmtree(folder, ignore_errors=True)
        return ""

    def _mount(self) -> None:
        _sh("mount", "-o", "loop", self._image, self.place)
        self.place.chmod(0o755)

    def cut(self) -> None:
        """The power goes: every later call on this disk fails, and what was not flushed never was."""
        fd = os.open(self.place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("=I", NO_LOG_FLUSH))
        finally:
            os.close(fd)

    def again(self) -> None:
        """Power is back. Nobody may have a file open on it any more."""
        self._unmount()
        self._mount()

    def _unmount(self) -> None:
        for left in range(100, -1, -1):
            try:
                _sh("umount", self.place)
                return
            except OSError:  # a process that was killed is still letting go
                if not left:
                    raise
                time.sleep(0.05)

    def fill(self, left: int) -> None:
        """Only so many bytes stay free."""
        about = os.statvfs(self.place)
        ballast = max(0, about.f_bavail * about.f_frsize - left)
        with (self.place / "ballast").open("wb") as file, suppress(OSError):
            os.posix_fallocate(file.fileno(), 0, max(1, ballast))

    def make_room(self) -> None:
        (self.place / "ballast").unlink(missing_ok=True)

    def close(self, keep: bool = False) -> None:
        """`keep`: the image stays for who wants to look at it; a symbolic link in its place says where."""
        with suppress(OSError):
            self._unmount()
        if keep:
            self.place.with_name("image").symlink_to(self._image)
        else:
            self._image.unlink(missing_ok=True)


class Faults:
    """The layer before libc. `environment` is for the processes that shall feel it."""

    def __init__(self, folder: Path, below: Path) -> None:
        library, control = folder / "faults.so", folder / "faults"
        source = Path(__file__).with_name("faults.c")
        _sh("gcc", "-O2", "-fPIC", "-shared", "-Wall", "-Werror", "-o", library, source, "-ldl")
        control.write_bytes(bytes(CONTROL.size))
        with control.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), CONTROL.size)
        self._below = os.fsencode(below.resolve())
        self.environment = {"LD_PRELOAD": str(library), "SOAK_FAULTS": str(control)}
        self.none()

    def set(self, write: float = 0, sync: float = 0, read: float = 0, full: bool = False) -> None:
        """The chance of each call to fail; writes with ENOSPC when `full`, everything else with EIO."""
        numbers = [int(chance * 1_000_000) for chance in (write, sync, read)]
        errors = [errno.ENOSPC if full else errno.EIO, errno.EIO, errno.EIO]
        self._map[:] = CONTROL.pack(*numbers, *errors, *self.failed(), self._below)

    def none(self) -> None:
        self.set()

    def failed(self) -> tuple[int, int, int]:
        """How many writes, syncs and reads have failed so far."""
        row = CONTROL.unpack(self._map)
        return row[6], row[7], row[8]
