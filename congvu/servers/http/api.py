"""The JSON API under /api/: what consoles and programs may ask and do, a row each.

Every row calls one function of `actions`, which asks for its right in its own transaction: this module translates and
decides nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from congvu.actions import directory, merging
from congvu.actions.accounts import Doors
from congvu.actions.directory import Card, View
from congvu.actions.merging import Kept, Plan
from congvu.base.clock import Clock, Identifiers
from congvu.base.config import Config, is_loopback
from congvu.base.failure import Refused
from congvu.base.observe import Secret
from congvu.db import audit
from congvu.db.audit import Recorded
from congvu.db.engine import Database, Tx
from congvu.directory import profile, roles, tokens, units
from congvu.directory.entries import Contact, Shown
from congvu.directory.people import Person, Post
from congvu.directory.roles import Actor, Grant, Right, Role
from congvu.directory.tokens import Token
from congvu.directory.units import How, Unit
from congvu.servers.http import who as asking
from congvu.servers.http.table import Call, Count, Id, Route, answer, mounted, on_error, openapi
from congvu.servers.http.who import SCOPES, SESSION_SECONDS, Asker, Identity

Limit = Annotated[int, msgspec.Meta(ge=1, le=1000)]
Text = Annotated[str, msgspec.Meta(max_length=1000)]


# --- what is asked ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SignIn:
    login: Text
    password: Text


@dataclass(frozen=True, slots=True)
class NewToken:
    label: Text
    scopes: tuple[Text, ...]
    days: Annotated[int, msgspec.Meta(ge=1, le=366)] = 90


@dataclass(frozen=True, slots=True)
class Search:
    q: Text = ""
    view: View = View.LISTED
    unit_id: Id = "0"
    after: Id = "0"
    limit: Limit = 50


@dataclass(frozen=True, slots=True)
class Words:
    q: Text = ""
    limit: Limit = 20


@dataclass(frozen=True, slots=True)
class NewUnit:
    name: Text
    category: Text
    parent_id: Id
    since: Text = ""
    domain: Text = ""
    why: Text = ""


@dataclass(frozen=True, slots=True)
class ChangedUnit:
    name: Text
    category: Text
    parent_id: Id | None
    since: Text = ""
    domain: Text = ""
    profile: Text = ""
    why: Text = ""


@dataclass(frozen=True, slots=True)
class EndedUnit:
    on: Text
    successors: tuple[Id, ...] = ()
    how: How = How.MERGED
    why: Text = ""


@dataclass(frozen=True, slots=True)
class ChangedPerson:
    family: Text
    middle: Text
    given: Text
    birth: Text = ""
    category: Text = ""
    number: Text = ""
    why: Text = ""


@dataclass(frozen=True, slots=True)
class OnePost:
    unit_id: Id
    title: Text
    main: bool
    since: Text = ""
    until: Text = ""


@dataclass(frozen=True, slots=True)
class Posts:
    posts: Annotated[tuple[OnePost, ...], msgspec.Meta(max_length=20)]
    why: Text = ""


@dataclass(frozen=True, slots=True)
class ChangedContact:
    phone: Text = ""
    mobile: Text = ""
    place: Text = ""
    title: Text = ""
    listed: bool = True
    show_phone: bool = True
    show_mobile: bool = False
    public: bool = False


@dataclass(frozen=True, slots=True)
class OneRole:
    account_id: Id
    role: Role
    unit_id: Id
    since: Text = ""
    until: Text = ""
    why: Text = ""


@dataclass(frozen=True, slots=True)
class AuditSearch:
    who: Text = ""
    act: Text = ""
    on: Text = ""
    before: Id = "0"
    limit: Limit = 100


@dataclass(frozen=True, slots=True)
class Page:
    after: Id = "0"
    limit: Limit = 500


@dataclass(frozen=True, slots=True)
class Decision:
    line: Count
    version: Count
    address: Text = ""


@dataclass(frozen=True, slots=True)
class Me:
    """Who is signed in, and what they may where."""

    account_id: Id
    address: str
    name: str
    roles: tuple[tuple[str, Id], ...]


# --- handlers ---------------------------------------------------------------------------------------------------------


class Api:
    """The rows and what they need."""

    def __init__(self, config: Config, db: Database, clock: Clock, ids: Identifiers, doors: Doors) -> None:
        self._config = config
        self._db = db
        self._clock = clock
        self._ids = ids
        self._doors = doors
        self._secure = not config.insecure_loopback
        self.routes = self._rows()
        self._described = answer(openapi(self.routes, SCOPES)).body

    def application(self) -> Starlette:
        """The whole as an ASGI application."""
        rules = profile.load(self._config.profile)
        idle = rules.sign_in.idle.or_none
        identify = Identity(self._db, self._clock, idle.seconds if idle else 0)
        return Starlette(
            routes=mounted(self.routes, identify),
            middleware=[Middleware(_Heads)],
            exception_handlers={HTTPException: on_error, Exception: on_error},
        )

    def _rows(self) -> list[Route]:
        return [
            Route("GET", "/api/openapi.json", self._describe, "mô tả này / this description", open=True),
            Route("POST", "/api/session", self._sign_in, "đăng nhập / sign in", open=True, body=SignIn, gives=Me),
            Route("DELETE", "/api/session", self._sign_out, "đăng xuất / sign out"),
            Route("GET", "/api/me", self._me, "tôi là ai / who I am", gives=Me),
            Route("GET", "/api/me/tokens", self._tokens, "phiên và token / sessions and tokens", gives=list[Token]),
            Route("POST", "/api/me/tokens", self._new_token, "tạo token / a new token", body=NewToken, status=201),
            Route("DELETE", "/api/me/tokens/{handle:str}", self._end_token, "kết thúc / end one"),
            Route(
                *("GET", "/api/directory", self._find, "tìm trong danh bạ / search the directory", "directory"),
                query=Search,
                gives=list[Card],
            ),
            Route(
                *("GET", "/api/directory/suggest", self._suggest, "gợi ý địa chỉ / complete an address", "directory"),
                query=Words,
                gives=list[Card],
            ),
            Route(
                "GET", "/api/units", self._units, "cây đơn vị / the tree", "directory", query=Words, gives=list[Unit]
            ),
            Route(
                *("POST", "/api/units", self._add_unit, "thêm đơn vị / a new unit", "units"),
                body=NewUnit,
                gives=Unit,
                status=201,
            ),
            Route(
                *("PUT", "/api/units/{unit_id:int}", self._change_unit, "thay đổi đơn vị / change a unit", "units"),
                body=ChangedUnit,
                gives=Unit,
            ),
            Route(
                *("POST", "/api/units/{unit_id:int}/end", self._end_unit, "đơn vị kết thúc / a unit ends", "units"),
                body=EndedUnit,
            ),
            Route(
                *("PUT", "/api/people/{account_id:int}", self._change_person, "đổi họ tên / change a name", "people"),
                body=ChangedPerson,
            ),
            Route(
                *("PUT", "/api/people/{account_id:int}/posts", self._set_posts, "chức vụ / posts", "people"),
                body=Posts,
            ),
            Route(
                *("PUT", "/api/people/{account_id:int}/contact", self._set_contact, "liên hệ / contact", "people"),
                body=ChangedContact,
            ),
            Route(
                *("POST", "/api/roles", self._give_role, "giao vai trò / give a role", "people"),
                body=OneRole,
                status=201,
            ),
            Route("POST", "/api/roles/take", self._take_role, "thu hồi / take a role away", "people", body=OneRole),
            Route("GET", "/api/roles", self._roles, "ai có vai trò gì / who has which role", "people"),
            Route(
                *("GET", "/api/audit", self._audit, "nhật ký / the audit chain", "audit"),
                query=AuditSearch,
                gives=list[Recorded],
            ),
            Route("GET", "/api/audit/verify", self._verify, "chứng minh chuỗi / prove the chain", "audit"),
            Route("GET", "/api/plans", self._plans, "kế hoạch sáp nhập / plans", "merging", gives=list[Plan]),
            Route(
                *("GET", "/api/plans/{plan_id:int}/steps", self._steps, "các bước / steps", "merging"),
                query=Page,
                gives=list[Kept],
            ),
            Route(
                *("POST", "/api/plans/{plan_id:int}/decide", self._decide, "quyết định / decide a step", "merging"),
                body=Decision,
            ),
        ]

    async def _describe(self, call: Call, asker: None) -> Response:
        return Response(self._described, media_type="application/json")

    async def _sign_in(self, call: Call, asker: None) -> Response:
        wanted: SignIn = call.body
        if self._secure and call.request.url.scheme != "https" and not is_loopback(call.peer):
            raise Refused("tls-needed")  # as every other door: no password in the clear
        person = await self._doors.sign_in(wanted.login, Secret(wanted.password), call.peer)
        secret, now = tokens.invent(), self._clock.now()
        label = " ".join(call.request.headers.get("user-agent", "").split())[:100] or "-"
        label = "".join(c for c in label if c.isprintable()) or "-"
        ends = now + SESSION_SECONDS
        await self._db.write(tokens.give, person.account_id, secret, (), label, call.peer, now, ends)
        token = await self._db.read(tokens.find, secret, now)
        if token is None:
            raise Refused("not-signed-in")
        response = answer(await self._me_of(Asker(token, secret, call.peer, self._db, self._clock)))
        asking.set_cookie(response, secret, self._secure)
        return response

    async def _sign_out(self, call: Call, asker: Asker) -> Response:
        await self._db.write(tokens.end, asker.secret)
        response = answer({})
        asking.drop_cookie(response, self._secure)
        return response

    async def _me(self, call: Call, asker: Asker) -> Me:
        return await self._me_of(asker)

    async def _me_of(self, asker: Asker) -> Me:
        def read(tx: Tx, who: Actor) -> Me:
            token = asker.token
            held = tuple((grant.role.value, str(grant.unit_id)) for grant in who.grants)
            return Me(str(token.account_id), token.address, token.name, held)

        return await asker.read(read)

    async def _tokens(self, call: Call, asker: Asker) -> list[Token]:
        return await self._db.read(tokens.of_account, asker.token.account_id, asker.now())

    async def _new_token(self, call: Call, asker: Asker) -> Response:
        wanted: NewToken = call.body
        if asker.token.scopes:  # a token makes no other
            raise Refused("scope-lacking", scope="-")
        if not wanted.scopes or set(wanted.scopes) - set(SCOPES):
            raise Refused("no-such-word", word=" ".join(wanted.scopes), known=", ".join(SCOPES))
        secret, now = tokens.invent(), asker.now()
        ends = now + wanted.days * 86400

        def give(tx: Tx, who: Actor) -> None:
            tokens.give(tx, asker.token.account_id, secret, wanted.scopes, wanted.label, call.peer, now, ends)
            facts = {"label": wanted.label, "scopes": list(wanted.scopes), "days": wanted.days}
            roles.note(tx, who, "token.give", now, on=asker.token.address, facts=facts)

        await asker.write(give)
        return answer({"token": secret.reveal(), "ends": int(ends)}, 201)  # shown this once

    async def _end_token(self, call: Call, asker: Asker) -> dict[str, object]:
        await self._db.write(tokens.end_by_handle, asker.token.account_id, call.path["handle"])
        return {}

    async def _find(self, call: Call, asker: Asker) -> list[Card]:
        q: Search = call.query
        below = int(q.unit_id) or None
        return await asker.read(directory.find, q.q, q.view, unit_id=below, after=int(q.after), limit=q.limit)

    async def _suggest(self, call: Call, asker: Asker) -> list[Card]:
        return await asker.read(directory.suggest, call.query.q, call.query.limit)

    async def _units(self, call: Call, asker: Asker) -> list[Unit]:
        q: Words = call.query
        return await self._db.read(units.find, q.q, 10_000 if not q.q else q.limit)

    async def _add_unit(self, call: Call, asker: Asker) -> Unit:
        w: NewUnit = call.body
        self._check_domain(w.domain)
        unit = Unit(self._ids.draw(), int(w.parent_id), w.name, w.category, since=w.since, domain=w.domain.lower())
        await asker.write(directory.add_unit, unit, w.why, asker.now())
        return await self._db.read(units.must_get, unit.id)

    async def _change_unit(self, call: Call, asker: Asker) -> Unit:
        w: ChangedUnit = call.body
        self._check_domain(w.domain)
        if w.profile:
            profile.load(w.profile)
        was = await self._db.read(units.must_get, call.path["unit_id"])
        parent = int(w.parent_id) if w.parent_id is not None else None
        unit = Unit(
            *(was.id, parent, w.name, w.category, w.since, was.until, w.domain.lower(), w.profile, was.code),
        )
        await asker.write(directory.change_unit, unit, w.why, asker.now())
        return await self._db.read(units.must_get, unit.id)

    def _check_domain(self, domain: str) -> None:
        if domain and not self._config.serves(domain.lower()):
            raise Refused("foreign-domain", domain=domain, known=", ".join(self._config.domains))

    async def _end_unit(self, call: Call, asker: Asker) -> dict[str, object]:
        w: EndedUnit = call.body
        successors = [int(each) for each in w.successors]
        await asker.write(directory.end_unit, call.path["unit_id"], w.on, successors, w.how, w.why, asker.now())
        return {}

    async def _change_person(self, call: Call, asker: Asker) -> dict[str, object]:
        w: ChangedPerson = call.body
        person = Person(call.path["account_id"], w.family, w.middle, w.given, w.birth, w.category, w.number)
        await asker.write(directory.change_person, person, w.why, asker.now())
        return {}

    async def _set_posts(self, call: Call, asker: Asker) -> dict[str, object]:
        account_id = call.path["account_id"]
        w: Posts = call.body
        posts = [Post(account_id, int(p.unit_id), p.title, p.main, p.since, p.until) for p in w.posts]
        await asker.write(directory.set_posts, account_id, posts, w.why, asker.now())
        return {}

    async def _set_contact(self, call: Call, asker: Asker) -> dict[str, object]:
        w: ChangedContact = call.body
        flags = ((w.listed, Shown.LISTED), (w.show_phone, Shown.PHONE), (w.show_mobile, Shown.MOBILE))
        shown = Shown.PUBLIC if w.public else Shown(0)
        for wish, flag in flags:
            shown |= flag if wish else Shown(0)
        contact = Contact(call.path["account_id"], w.title, w.phone, w.mobile, w.place, shown)
        await asker.write(directory.set_contact, contact, asker.now())
        return {}

    async def _give_role(self, call: Call, asker: Asker) -> dict[str, object]:
        w: OneRole = call.body
        grant = Grant(w.role, int(w.unit_id))
        await asker.write(directory.give_role, int(w.account_id), grant, w.since, w.until, w.why, asker.now())
        return {}

    async def _take_role(self, call: Call, asker: Asker) -> dict[str, object]:
        w: OneRole = call.body
        await asker.write(directory.take_role, int(w.account_id), Grant(w.role, int(w.unit_id)), w.why, asker.now())
        return {}

    async def _roles(self, call: Call, asker: Asker) -> list[dict[str, object]]:
        def read(tx: Tx, who: Actor) -> list[dict[str, object]]:
            return [
                {"account_id": number, "role": grant.role, "unit_id": grant.unit_id, "since": since, "until": until}
                for number, grant, since, until in roles.holders(tx, roles.scope(who, Right.READ))
            ]

        return await asker.read(read)

    async def _audit(self, call: Call, asker: Asker) -> list[Recorded]:
        q: AuditSearch = call.query

        def read(tx: Tx, who: Actor) -> list[Recorded]:
            _whole(tx, who, Right.AUDIT)
            return audit.recent(tx, before=int(q.before), who=q.who, act=q.act, on=q.on, limit=q.limit)

        return await asker.read(read)

    async def _verify(self, call: Call, asker: Asker) -> dict[str, object]:
        def read(tx: Tx, who: Actor) -> dict[str, object]:
            _whole(tx, who, Right.AUDIT)
            number, seal = audit.head(tx)
            return {"wrong": audit.verify_chain(tx), "head": f"{number}:{seal.hex()}"}

        return await asker.read(read)

    async def _plans(self, call: Call, asker: Asker) -> list[Plan]:
        return await asker.read(merging.plans)

    async def _steps(self, call: Call, asker: Asker) -> Sequence[Kept]:
        q: Page = call.query
        return await asker.read(merging.steps, call.path["plan_id"], int(q.after), q.limit)

    async def _decide(self, call: Call, asker: Asker) -> dict[str, object]:
        w: Decision = call.body
        args = call.path["plan_id"], w.version, w.line, w.address, asker.now()
        return {"version": await asker.write(merging.decide, *args)}


def _whole(tx: Tx, who: Actor, right: Right) -> None:
    """The audit chain is one for the province: the right must hold at every root."""
    for unit in units.children(tx, None):
        roles.need(tx, who, right, unit.id)


class _Heads:
    """What every answer says to browsers: nothing here is a page, and nobody frames or keeps it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADS]
            await send(message)

        await self._app(scope, receive, told)


_HEADS = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"strict-transport-security", b"max-age=31536000"),
)
