"""Clients that cost little themselves: IMAP and SMTP over plain TCP on loopback, one command after the other."""

import re
import socket
import threading
from collections.abc import Sequence

from bench.servers import PASSWORD, login

WINDOW = 50  # letters of an APPEND run that are under way at once


class Imap:
    """One signed-in connection; with `user` None only greeted."""

    def __init__(self, port: int, user: int | None = None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 300)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._number = 0
        self._failure = ""
        self._await(b"* OK")
        if user is not None:
            self.do(sign_in(user))

    def begin(self, command: str, literal: bytes | None = None) -> bytes:
        """Sends a command, its one literal at its end (RFC 7888: without asking); returns the tag for `end`."""
        self._number += 1
        tag = b"zq%d" % self._number
        wire = tag + b" " + command.encode()
        if literal is not None:
            wire += b" {%d+}\r\n" % len(literal) + literal
        self.socket.sendall(wire + b"\r\n")
        return tag + b" "

    def end(self, tag: bytes) -> tuple[bytes, int]:
        """Returns the last 64 KB of what was answered and how many bytes came in all."""
        return self._await(tag)

    def do(self, command: str, literal: bytes | None = None) -> tuple[bytes, int]:
        return self.end(self.begin(command, literal))

    def found(self, key: str, literal: bytes) -> int:
        """How many messages UID SEARCH finds."""
        tag = self.begin(f"UID SEARCH CHARSET UTF-8 {key}", literal)
        held = bytearray()
        while not (held.startswith(tag) or b"\r\n" + tag in held):
            data = self.socket.recv(1 << 18)
            if not data:
                raise ConnectionError(bytes(held[-300:]))
            held += data
        if tag + b"OK" not in held:
            raise RuntimeError(held[-300:].decode("utf-8", "replace"))
        return sum(len(line.split()) - 2 for line in bytes(held).split(b"\r\n") if line.startswith(b"* SEARCH"))

    def _await(self, mark: bytes) -> tuple[bytes, int]:
        tail, total = b"", 0
        while True:
            data = self.socket.recv(1 << 18)
            if not data:
                raise ConnectionError(tail[-300:])
            total += len(data)
            tail = data[-65536:] if len(data) >= 65536 else (tail + data)[-65536:]
            if tail.endswith(b"\r\n"):
                last = tail[tail.rfind(b"\r\n", 0, -2) + 1 :].lstrip()
                if last.startswith(mark):
                    if not last.startswith((mark + b"OK", b"* OK")):
                        raise RuntimeError(last.decode("utf-8", "replace"))
                    return tail, total

    def count(self, mailbox: str = "INBOX") -> int:
        return int(re.findall(rb"MESSAGES (\d+)", self.do(f"STATUS {mailbox} (MESSAGES)")[0])[-1])

    def append(self, mailbox: str, letters: Sequence[bytes]) -> None:
        """LITERAL+ in windows, so that neither side waits for each letter."""
        for start in range(0, len(letters), WINDOW):
            part = letters[start : start + WINDOW]
            reader = threading.Thread(target=self._answers, args=(len(part),))
            reader.start()
            wire = []
            for item in part:
                self._number += 1
                wire.append(b"zq%d APPEND %b {%d+}\r\n%b\r\n" % (self._number, mailbox.encode(), len(item), item))
            self.socket.sendall(b"".join(wire))
            reader.join()
            if self._failure:
                raise RuntimeError(self._failure)

    def _answers(self, missing: int) -> None:
        rest = b""
        while missing:
            data = self.socket.recv(1 << 16)
            if not data:
                self._failure = "connection lost"
                return
            *lines, rest = (rest + data).split(b"\r\n")
            for line in lines:
                if line.startswith(b"zq"):
                    missing -= 1
                    if b" OK" not in line:
                        self._failure = line.decode("utf-8", "replace")

    def close(self) -> None:
        self.socket.close()


def sign_in(user: int) -> str:
    return f'LOGIN "{login(user)}" "{PASSWORD}"'


class Smtp:
    """One connection that sends letters whose lines need no dot stuffing."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 300)
        self._file = self.socket.makefile("rb")
        self._expect(b"220")
        self.socket.sendall(b"EHLO may.test\r\n")
        self._expect(b"250")

    def send(self, recipients: Sequence[str], letter: bytes) -> None:
        commands = ["MAIL FROM:<nguoi.gui@xa.test>", *(f"RCPT TO:<{each}>" for each in recipients), "DATA", ""]
        self.socket.sendall("\r\n".join(commands).encode())
        for _ in range(len(recipients) + 1):
            self._expect(b"250")
        self._expect(b"354")
        self.socket.sendall(letter + b".\r\n")
        self._expect(b"250")

    def _expect(self, code: bytes) -> None:
        while True:
            line = self._file.readline()
            if not line.startswith(code):
                raise RuntimeError(line.decode("utf-8", "replace") or "connection lost")
            if line[3:4] != b"-":
                return

    def close(self) -> None:
        self._file.close()
        self.socket.close()
