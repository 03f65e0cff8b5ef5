"""The JSON API over real sockets: who gets in, what is refused, what a peer that means harm meets."""

import asyncio
import http.client
import json
import socket
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from congvu.actions import accounts, directory
from congvu.actions.accounts import Doors, NewAccount
from congvu.actions.proofs import Proofs
from congvu.base.clock import Identifiers, ManualClock
from congvu.base.config import Config
from congvu.base.failure import Refused
from congvu.base.observe import Secret
from congvu.db.engine import Database
from congvu.directory import credentials, profile
from congvu.directory.people import Kind
from congvu.directory.roles import Actor, Grant, Role
from congvu.directory.units import Unit
from congvu.servers.http import server, table
from congvu.servers.http.api import Api
from congvu.servers.http.server import serve_http
from congvu.servers.listen import Listener, Places

SYSTEM = Actor("congvu cli")
PASSWORD = "Mật-khẩu 9 thử"
CONFIG = Config(("x.vn",), "mail.x.vn", "ninhbinh_2025")


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: Any


@dataclass
class Web:
    """One API in this process and clients of it, which run in threads."""

    db: Database
    clock: ManualClock
    api: Api
    people: dict[str, int]
    port: int = 0
    jar: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} if data is not None else {}
        connection.request(method, path, data, {**sent, **self.jar, **(headers or {})})
        reply = connection.getresponse()
        raw = reply.read()
        connection.close()
        return Reply(reply.status, {k.lower(): v for k, v in reply.getheaders()}, json.loads(raw) if raw else None)

    def sign_in(self, name: str) -> Reply:
        reply = self.ask("POST", "/api/session", {"login": f"{name}@x.vn", "password": PASSWORD})
        if reply.status == 200:
            self.jar = {"Cookie": reply.headers["set-cookie"].partition(";")[0]}
        return reply


@pytest.fixture
def web(db: Database) -> Web:
    clock = ManualClock()
    ids = Identifiers(clock)
    for number, parent, name, category in ((1, None, "Tỉnh", "tinh"), (2, 1, "Sở Xây dựng", "so")):
        db.write_now(directory.add_unit, SYSTEM, Unit(number, parent, name, category), "", 0.0)
    secret = credentials.make(Secret(PASSWORD))
    new = [NewAccount(f"{n}@x.vn", f"Tên {n}", secret, Kind.PERSON, 2) for n in ("an", "boss", "auditor")]
    numbers = db.write_now(accounts.add_accounts, "test", new, profile.load(CONFIG.profile), ids, 0.0)
    people = dict(zip(("an", "boss", "auditor"), numbers, strict=True))
    for name, role in (("boss", Role.OPERATOR), ("auditor", Role.AUDITOR)):
        db.write_now(directory.give_role, SYSTEM, people[name], Grant(role, 1), "", "", "", 0.0)
    api = Api(CONFIG, db, clock, ids, Doors(db, clock, CONFIG, Proofs()))
    return Web(db, clock, api, people)


def serving(web: Web, talk: Callable[[], None], most: int = 100, per_ip: int = 0) -> None:
    """Runs `talk` in a thread while the API answers."""

    async def go() -> None:
        listener: Listener = await serve_http(
            web.api.application(), host="127.0.0.1", port=0, tls=None, connections=most, per_ip=per_ip, places=Places()
        )
        web.port = listener.port
        try:
            await asyncio.wait_for(asyncio.to_thread(talk), 60)
        finally:
            await listener.drain(2)

    asyncio.run(go())


def test_signing_in_and_out(web: Web) -> None:
    def talk() -> None:
        assert web.ask("GET", "/api/me").status == 401
        wrong = web.ask("POST", "/api/session", {"login": "an@x.vn", "password": "x"})
        assert (wrong.status, wrong.body["error"]) == (401, "bad-credentials")
        reply = web.sign_in("an")
        assert reply.status == 200 and reply.body["account_id"] == str(web.people["an"])
        cookie = reply.headers["set-cookie"].lower()
        assert all(word in cookie for word in ("httponly", "secure", "samesite=strict"))
        assert web.ask("GET", "/api/me").body["address"] == "an@x.vn"
        assert reply.headers["cache-control"] == "no-store" and reply.headers["x-content-type-options"] == "nosniff"
        assert web.ask("DELETE", "/api/session").status == 200
        assert web.ask("GET", "/api/me").status == 401

    serving(web, talk)


def test_a_session_ends(web: Web) -> None:
    def talk() -> None:
        web.sign_in("an")
        web.clock.move(14 * 60)
        assert web.ask("GET", "/api/me").status == 200  # and is noted
        web.clock.move(14 * 60)
        assert web.ask("GET", "/api/me").status == 200
        web.clock.move(13 * 3600)
        assert web.ask("GET", "/api/me").status == 401
        web.sign_in("an")
        web.db.write_now(lambda tx: tx.run("UPDATE account SET state = 'locked' WHERE id = ?", web.people["an"]))
        assert web.ask("GET", "/api/me").status == 401
        assert web.sign_in("an").status == 403

    serving(web, talk)


def test_tokens_open_what_they_name(web: Web) -> None:
    def talk() -> None:
        web.sign_in("boss")
        assert web.ask("POST", "/api/me/tokens", {"label": "đồng bộ", "scopes": ["king"]}).status == 404
        made = web.ask("POST", "/api/me/tokens", {"label": "đồng bộ", "scopes": ["directory"], "days": 2})
        assert made.status == 201
        web.jar = {"Authorization": f"Bearer {made.body['token']}"}
        assert web.ask("GET", "/api/directory?q=ten").status == 200
        lacking = web.ask("POST", "/api/units", {"name": "Phòng", "category": "phong", "parent_id": "2"})
        assert (lacking.status, lacking.body["error"]) == (403, "scope-lacking")
        assert web.ask("GET", "/api/me").status == 403
        assert web.ask("POST", "/api/me/tokens", {"label": "x", "scopes": ["audit"]}).status == 403
        web.clock.move(2 * 86400)
        assert web.ask("GET", "/api/directory?q=ten").status == 401
        web.sign_in("boss")
        kept = web.ask("POST", "/api/me/tokens", {"label": "x", "scopes": ["directory"]}).body["token"]
        listed = web.ask("GET", "/api/me/tokens").body
        handle = next(t["handle"] for t in listed if t["scopes"])
        assert kept not in json.dumps(listed)
        assert web.ask("DELETE", f"/api/me/tokens/{handle}").status == 200
        assert web.ask("DELETE", f"/api/me/tokens/{handle}").status == 404
        web.jar = {"Authorization": f"Bearer {kept}"}
        assert web.ask("GET", "/api/directory").status == 401

    serving(web, talk)


def test_what_an_operator_does(web: Web) -> None:
    def talk() -> None:
        web.sign_in("boss")
        made = web.ask("POST", "/api/units", {"name": "Phòng Quản lý nhà", "category": "phong", "parent_id": "2"})
        assert made.status == 201 and made.body["parent_id"] == "2" and isinstance(made.body["id"], str)
        unit = made.body["id"]
        an = web.people["an"]
        post = {"unit_id": unit, "title": "Trưởng phòng", "main": True}
        assert web.ask("PUT", f"/api/people/{an}/posts", {"posts": [post], "why": "QĐ 1"}).status == 200
        assert web.ask("PUT", f"/api/people/{an}/contact", {"mobile": "0900", "title": "Trưởng phòng"}).status == 200
        (card,) = web.ask("GET", f"/api/directory?q=truong+ph&unit_id={unit}").body
        assert (card["account_id"], card["mobile"]) == (str(an), "0900")
        changed = {"name": "Phòng Nhà ở", "category": "phong", "parent_id": "2"}
        assert web.ask("PUT", f"/api/units/{unit}", changed).body["name"] == "Phòng Nhà ở"
        assert web.ask("PUT", f"/api/units/{unit}", {**changed, "parent_id": unit}).body["error"] == "circle"
        grant = {"account_id": str(an), "role": "unit_admin", "unit_id": unit}
        assert web.ask("POST", "/api/roles", grant).status == 201
        assert {r["role"] for r in web.ask("GET", "/api/roles").body} == {"operator", "auditor", "unit_admin"}
        web.sign_in("an")
        assert web.ask("GET", "/api/directory?view=managed").status == 200
        web.sign_in("boss")
        assert web.ask("POST", "/api/roles/take", grant).status == 200
        assert web.ask("POST", f"/api/units/{unit}/end", {"on": "2027-01-01", "successors": ["2"]}).status == 200
        web.sign_in("an")  # a role that was taken is gone at the next request
        assert web.ask("GET", "/api/directory?view=managed").status == 403
        web.sign_in("auditor")
        acts = {row["act"] for row in web.ask("GET", "/api/audit").body}
        assert {"unit.add", "person.posts", "unit.change", "role.give", "role.take", "unit.end"} <= acts
        assert web.ask("GET", "/api/audit/verify").body["wrong"] == []

    serving(web, talk)


# What somebody without any role may do: the own session, and the directory that everybody who signed in sees.
EVERYBODYS = {"/api/openapi.json", "/api/session", "/api/me", "/api/me/tokens", "/api/directory", "/api/units"}
EVERYBODYS |= {"/api/directory/suggest"}


def test_no_row_forgets_to_ask(web: Web) -> None:
    bodies: dict[str, Any] = {
        "NewUnit": {"name": "P", "category": "phong", "parent_id": "2"},
        "ChangedUnit": {"name": "P", "category": "so", "parent_id": "1"},
        "EndedUnit": {"on": "2027-01-01"},
        "ChangedPerson": {"family": "A", "middle": "", "given": "B"},
        "Posts": {"posts": [{"unit_id": "2", "title": "", "main": True}]},
        "ChangedContact": {},
        "OneRole": {"account_id": "1", "role": "operator", "unit_id": "1"},
        "Decision": {"line": 1, "version": 1},
    }

    def talk() -> None:
        rows = [route for route in web.api.routes if route.path not in EVERYBODYS and "me/tokens" not in route.path]
        assert len(rows) > 10
        for signed_in in (False, True):
            if signed_in:
                web.sign_in("an")
            for route in rows:
                path = route.path.replace("{unit_id:int}", "2").replace("{plan_id:int}", "1")
                path = path.replace("{account_id:int}", str(web.people["boss"]))
                body = bodies[route.body.__name__] if route.body else None
                reply = web.ask(route.method, path, body)
                assert reply.status == (403 if signed_in else 401), (route.path, reply)

    serving(web, talk)


def test_what_is_not_understood(web: Web) -> None:
    def talk() -> None:
        assert web.ask("GET", "/api/nothing").status == 404
        assert web.ask("PATCH", "/api/me").status == 405
        web.sign_in("boss")
        unit = {"name": "Phòng", "category": "phong", "parent_id": "2"}
        for body, headers, status, code in (
            (b"{", {}, 422, "bad-body"),
            (b"\xff", {}, 422, "bad-body"),
            (b"[" * 100_000, {}, 422, "bad-body"),
            ({**unit, "parent_id": 2}, {}, 422, "bad-body"),
            ({**unit, "parent_id": "-2"}, {}, 422, "bad-body"),
            ({**unit, "parent_id": "9" * 19}, {}, 422, "bad-body"),
            ({**unit, "parent_id": "8" * 19}, {}, 404, "no-such-unit"),
            ({**unit, "name": "x" * 1001}, {}, 422, "bad-body"),
            ({**unit, "category": "x"}, {}, 404, "no-such-category"),
            ({**unit, "since": "1/7/2025"}, {}, 422, "bad-day"),
            ({**unit, "domain": "y.vn"}, {}, 422, "foreign-domain"),
            (unit, {"Content-Type": "text/plain"}, 415, "not-json"),
            (unit, {"Sec-Fetch-Site": "cross-site"}, 422, "foreign-site"),
            (b"x" * (table.MAX_BODY + 1), {}, 413, "body-too-large"),
        ):
            reply = web.ask("POST", "/api/units", body, headers)  # type: ignore[arg-type]
            assert (reply.status, reply.body["error"]) == (status, code)
            assert reply.body["vi"] and reply.body["en"]
        for query in ("limit=0", "limit=x", "limit=1001", "after=-1", "view=all", "unit_id=1e9"):
            assert web.ask("GET", f"/api/directory?{query}").body["error"] == "bad-query"
        assert web.ask("PUT", f"/api/units/{10**30}", {**unit, "parent_id": "1"}).status in (404, 422)

    serving(web, talk)


def test_a_bug_is_told_without_detail(
    web: Web, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("the secret of the house")

    monkeypatch.setattr(directory, "suggest", broken)

    def talk() -> None:
        web.sign_in("an")
        reply = web.ask("GET", "/api/directory/suggest?q=a")
        assert (reply.status, reply.body["error"]) == (500, "trouble") and "house" not in json.dumps(reply.body)
        assert web.ask("GET", "/api/me").status == 200

    serving(web, talk)
    assert "ZeroDivisionError" in caplog.text


def raw(web: Web, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", web.port), timeout=10) as sock:
        sock.sendall(data)
        found = b""
        while chunk := sock.recv(65536):
            found += chunk
        return found


def test_peers_that_mean_harm(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEAD_SECONDS", "IDLE_SECONDS", "BODY_SECONDS"):
        monkeypatch.setattr(server, name, 0.3)

    def talk() -> None:
        assert raw(web, b"GET /api/me HTTP/1.1\r\nHost:") == b""  # a head that never ends
        assert raw(web, b"") == b""
        head = b"POST /api/session HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
        assert raw(web, head + b"{") == b""  # a body that never ends
        assert raw(web, b"GET /api/me HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 401")  # then silence
        assert b"400" in raw(web, b"\x16\x03\x01 hello\r\n\r\n")
        assert b"400" in raw(web, b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * (server.MAX_HEAD + 1))
        smuggled = (
            b"POST /api/session HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        )
        assert b" 200" not in raw(web, smuggled)
        assert b" 200" not in raw(web, head.replace(b"9", b"9999999999999999999999"))
        web.sign_in("an")

    serving(web, talk)


def test_connections_are_counted(web: Web) -> None:
    def talk() -> None:
        held = [socket.create_connection(("127.0.0.1", web.port), timeout=10) for _ in range(2)]
        assert raw(web, b"").startswith(b"HTTP/1.1 503")
        for sock in held:
            sock.close()
        for _ in range(100):
            try:
                assert web.ask("GET", "/api/me").status == 401
                return
            except (AssertionError, http.client.HTTPException, OSError, ValueError):
                continue
        raise AssertionError("there is no place again")

    serving(web, talk, per_ip=2)


def test_a_password_needs_tls(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("congvu.servers.http.api.is_loopback", lambda host: False)
    serving(web, lambda: _tls_needed(web))


def _tls_needed(web: Web) -> None:
    assert web.sign_in("an").body["error"] == "tls-needed"


def test_the_description_says_every_row(web: Web) -> None:
    def talk() -> None:
        said = web.ask("GET", "/api/openapi.json").body
        for route in web.api.routes:
            row = said["paths"][route.path.replace(":int", "").replace(":str", "")][route.method.lower()]
            assert row["summary"] and str(route.status) in row["responses"]
            assert ("requestBody" in row) == (route.body is not None)
        text = json.dumps(said)
        for name in {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}:
            assert name in said["components"]["schemas"]

    serving(web, talk)


def test_answers_hold_no_secret() -> None:
    with pytest.raises(TypeError):
        table.plain({"a": [Secret("x")]})
    assert table.plain({"id": 2**62, "n": 5, "unit_id": 7}) == {"id": str(2**62), "n": 5, "unit_id": "7"}


def test_http_has_no_starttls(tmp_path: Path) -> None:
    from congvu.base import config

    text = config.render(replace(CONFIG, listeners=config.usual_listeners(21_000, False)))
    config.parse(text)
    with pytest.raises(Refused, match="config-no-starttls"):
        config.parse(text.replace('port = 21443\ntls = "implicit"', 'port = 21443\ntls = "starttls"'))
