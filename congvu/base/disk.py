"""Files that are there as a whole or not at all, and folders whose names are safe, whatever happens to the machine.

Standard library only. For files that are written once in a while; the blob keeper has ways of its own.
"""

import os
from pathlib import Path


def write_safely(path: Path, content: bytes, new: bool = False) -> None:
    """Writes a file for its owner's eyes only that is there as a whole or not at all, whatever happens to the machine.

    With `new` it replaces none: raises FileExistsError.
    """
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.unlink(missing_ok=True)
    fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as file:  # noqa: PTH123  a descriptor, not a path
            file.write(content)
            file.flush()
            os.fsync(fd)
        if new:
            path.hardlink_to(unfinished)
        else:
            unfinished.rename(path)
    finally:
        unfinished.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Makes the names in a folder safe."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
