"""Passwords that were verified in the last minutes, as keyed hashes in memory that all workers of one `serve` share.

Fifty logins of one mail program then cost one argon2, whichever workers they reach. Promises that nothing but keyed
hashes leaves a process, that a worker's death takes no lock and no memory of the others with it, and that a torn entry
is no entry. The key lives in memory only, so what is remembered dies with the program.
"""

import fcntl
import mmap
import os
import secrets
import struct
from collections.abc import Callable
from hashlib import blake2b

_ENTRY = struct.Struct("<d32s")  # until when (seconds since 1970), keyed hash
_WAYS = 4  # places for each of …
_SETS = 16_384  # … so many: 65,536 passwords in 2.6 MB; the one that ends first makes room
_NONE = bytes(_ENTRY.size)


class Proofs:
    """Made before the workers fork, or alone. The clock's `now` is the caller's."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        # A file without a name: its pages are the memory, its byte ranges the locks, which the kernel takes from a
        # process that dies.
        self._fd = os.memfd_create("proofs", os.MFD_CLOEXEC)
        size = _SETS * _WAYS * _ENTRY.size
        os.truncate(self._fd, size)
        self._memory = mmap.mmap(self._fd, size)

    def proof(self, known: str, password: str) -> bytes:
        """The keyed hash of a password together with what it is a password of."""
        text = f"{known}\n{password}".encode("utf-8", "replace")
        return blake2b(text, key=self._key, digest_size=32).digest()

    def known(self, proof: bytes, now: float) -> bool:
        """Was it verified, and is that still remembered?"""
        return any(until > now and held == proof for until, held in map(self._entry, self._places(proof)))

    def remember(self, proof: bytes, now: float, until: float) -> None:
        places = self._places(proof)
        entries = [self._entry(at) for at in places]
        at = next((at for at, entry in zip(places, entries, strict=True) if entry[1] == proof), None)
        if at is None:
            at = min(zip(entries, places, strict=True))[1]
        end = at + _ENTRY.size
        # Never an old end beside a new hash, whenever somebody looks.
        self._memory[at:end] = _NONE
        self._memory[at + 8 : end] = proof
        self._memory[at : at + 8] = struct.pack("<d", until)

    def prove(self, proof: bytes, now: float, until: float, check: Callable[[], bool]) -> bool:
        """`check`, and what it proves is remembered; while another worker checks the same, its result is awaited.

        For worker threads: blocks as long as `check` does.
        """
        set_ = self._set(proof)
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX, 1, set_)
            locked = True
        except OSError:  # the kernel takes two threads that wait for two others for a deadlock: then check ourselves
            locked = False
        try:
            if self.known(proof, now):
                return True
            if not check():
                return False
            self.remember(proof, now, until)
            return True
        finally:
            if locked:
                fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, set_)

    def close(self) -> None:
        self._memory.close()
        os.close(self._fd)

    def _set(self, proof: bytes) -> int:
        return int.from_bytes(proof[:4], "little") % _SETS

    def _places(self, proof: bytes) -> range:
        start = self._set(proof) * _WAYS * _ENTRY.size
        return range(start, start + _WAYS * _ENTRY.size, _ENTRY.size)

    def _entry(self, at: int) -> tuple[float, bytes]:
        until, held = _ENTRY.unpack_from(self._memory, at)
        return until, held
