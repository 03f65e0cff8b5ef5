"""Letters with a 20 MB attachment (27 MB on the wire), two sessions at once: in until visible, out by FETCH BODY[].

Memory is by how much the processes' highest resident sizes grew, summed over them, so it is rather too high.
"""

import base64
import random
import threading
import time

from bench.client import Imap, Smtp
from bench.ground import Ground, Measure, Numbers, Workload
from bench.servers import DOMAIN, Server

ATTACHED = 20 * 1024 * 1024
USER = 150


def _letter(seed: int) -> bytes:
    encoded = base64.encodebytes(random.Random(seed).randbytes(ATTACHED)).replace(b"\n", b"\r\n")
    return (
        b"Message-ID: <lon.%d@xa.test>\r\nFrom: nguoi.gui@xa.test\r\nSubject: Ban ve\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: multipart/mixed; boundary="ranh"\r\n\r\n--ranh\r\nContent-Type: text/plain\r\n\r\nKinh gui.\r\n'
        b'--ranh\r\nContent-Type: application/pdf; name="ban-ve.pdf"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
        % seed
        + encoded
        + b"--ranh--\r\n"
    )


def run(ground: Ground, server: Server) -> Numbers:
    count = 6 if ground.options.full else 4
    letters = [_letter(ground.round * 100 + n) for n in range(count)]
    megabytes = sum(map(len, letters)) / 1e6
    ground.forget_letters(server, [USER])
    server.forget_peak()
    before = server.cpu()
    begun = time.monotonic()
    senders = [threading.Thread(target=_send, args=(server.smtp, letters[part::2])) for part in range(2)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    accepted = time.monotonic() - begun
    visible = ground.await_letters(server, {USER: count}) - begun
    came, peak_in = server.cpu(), server.peak()
    client = Imap(server.imap, USER)
    exists = client.count()
    client.do("SELECT INBOX")
    server.forget_peak()
    begun = time.monotonic()
    size = 0
    for n in range(exists - count + 1, exists + 1):
        size += client.do(f"FETCH {n} BODY.PEEK[]")[1]
    out = time.monotonic() - begun
    if size < megabytes * 1e6:
        raise RuntimeError(f"{server.name}: {size} bytes came of {megabytes} MB")
    left, peak_out = server.cpu(), server.peak()
    client.do("STORE 1:* +FLAGS.SILENT (\\Deleted)")
    client.do("EXPUNGE")
    client.close()
    return {
        "accepted": megabytes / accepted,
        "visible": megabytes / visible,
        "out": megabytes / out,
        "cpu_in": (came - before) * 100 / megabytes,
        "cpu_out": (left - came) * 100 / megabytes,
        "peak_in_mb": peak_in / 1e6,
        "peak_out_mb": peak_out / 1e6,
    }


def _send(port: int, letters: list[bytes]) -> None:
    client = Smtp(port)
    for letter in letters:
        client.send([f"u{USER:04d}@{DOMAIN}"], letter)
    client.close()


WORKLOAD = Workload(
    run,
    (
        Measure("in, accepted MB a second", "accepted", True),
        Measure("in, visible MB a second", "visible", True),
        Measure("out, MB a second", "out", True),
        Measure("server processor s for 100 MB in", "cpu_in"),
        Measure("the same, out", "cpu_out"),
        Measure("memory grew by at most, in, MB", "peak_in_mb", compared=False),
        Measure("the same, out", "peak_out_mb", compared=False),
    ),
    rounds=3,
)
