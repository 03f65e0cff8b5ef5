"""Routes as a table, like the commands of every other server: what is asked, who may ask, what runs, what is answered.

Promises that a body, query or path that is not what the route says is refused before anything runs and is bounded; that
a refusal becomes one JSON answer in Vietnamese and English with the right status; that a bug of ours is told without
detail; and that the OpenAPI description is made of the same rows. Identifiers are text in JSON: they have 63 bits, and
a browser's numbers 53.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import Annotated, Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute

from congvu import __version__
from congvu.base.failure import NotNow, Refused
from congvu.base.observe import Secret, log
from congvu.base.texts import say_in

MAX_BODY = 1 * 2**20  # octets, unless a route says otherwise
# What is drawn has 63 bits; nineteen digits that begin with a nine may have more.
Id = Annotated[str, msgspec.Meta(pattern="^([0-9]{1,18}|[1-8][0-9]{18})$", description="63 bits, as text")]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Call:
    """One request that has been understood. `path`: numbers and words of its path; `body`, `query`: what the route
    says they are, None when it says nothing."""

    request: Request
    path: Mapping[str, Any]
    body: Any
    query: Any

    @property
    def peer(self) -> str:
        return self.request.client.host if self.request.client else ""


@dataclass(frozen=True, slots=True)
class Route:
    """One row. `scope`: what a token must allow, "" for anybody who signed in; `open`: no sign-in is asked. `run` gets
    the call and who asks (None where `open`), and gives what is answered as JSON, or a whole response."""

    method: str
    path: str
    run: Callable[..., Awaitable[object]]
    summary: str
    scope: str = ""
    open: bool = False
    body: type | None = None
    query: type | None = None
    gives: Any = None
    most: int = MAX_BODY
    status: int = 200


# Statuses of refusals; what is not named is 422: understood, and refused.
_STATUS = {
    "bad-credentials": 401,
    "not-signed-in": 401,
    "account-locked": 403,
    "password-must-change": 403,
    "password-too-old": 403,
    "not-allowed": 403,
    "not-on-oneself": 403,
    "scope-lacking": 403,
    "address-taken": 409,
    "plan-changed": 409,
    "request-changed": 409,
    "body-too-large": 413,
    "not-json": 415,
}
_SAFE = {"GET", "HEAD"}


def status_of(refused: Refused) -> int:
    return _STATUS.get(refused.code, 404 if refused.code.startswith("no-such-") else 422)


def answer(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(plain(value)), status, media_type=JSON, headers={"Cache-Control": "no-store"})


def failure(code: str, status: int, facts: Mapping[str, object], headers: Mapping[str, str] | None = None) -> Response:
    """`{"error": code, "vi": …, "en": …}`."""
    said = {language: say_in(language, code, True, **facts) for language in ("vi", "en")}
    told = {"error": code, **said}
    response = answer(told, status)
    response.headers.update(headers or {})
    return response


def plain(value: object) -> Any:
    """What JSON can hold: identifiers as text, enumerations by value, no secret ever."""
    match value:
        case Secret():
            raise TypeError("a secret is no answer")
        case Enum():
            return value.value
        case Mapping():
            return {str(k): _named(str(k), v) for k, v in value.items()}
        case str() | bytes() | None | bool() | int() | float():
            return value
        case _ if is_dataclass(value) and not isinstance(value, type):
            return {f.name: _named(f.name, getattr(value, f.name)) for f in fields(value)}
        case Sequence() | frozenset():
            return [plain(each) for each in value]
        case _:
            raise TypeError(f"{type(value).__name__} is no answer")


def _named(name: str, value: object) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and (name == "id" or name.endswith("_id")):
        return str(value)
    return plain(value)


async def read_body(request: Request, most: int) -> bytes:
    """Raises `Refused("body-too-large")`; memory is bounded whatever the head said."""
    if int(request.headers.get("content-length") or 0) > most:
        raise Refused("body-too-large", most=most)
    found = bytearray()
    async for chunk in request.stream():
        found += chunk
        if len(found) > most:
            raise Refused("body-too-large", most=most)
    return bytes(found)


async def understood(route: Route, request: Request) -> Call:
    """Raises `Refused`: body-too-large, not-json, bad-body, bad-query."""
    if any(isinstance(value, int) and value >= 2**63 for value in request.path_params.values()):
        raise Refused("bad-query", reason="2**63")
    query: Any = None
    if route.query is not None:
        given = dict(request.query_params)
        try:
            query = msgspec.convert(given, route.query, strict=False)
        except msgspec.ValidationError as error:
            raise Refused("bad-query", reason=str(error)[:300]) from None
    body: Any = None
    if route.body is not None:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
            # A form of another site can send other types without asking first; this one it cannot.
            raise Refused("not-json")
        data = await read_body(request, route.most)
        try:
            body = msgspec.json.decode(data, type=route.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Refused("bad-body", reason=str(error)[:300]) from None
    return Call(request, request.path_params, body, query)


Identify = Callable[[Request, str, str], Awaitable[Any]]  # request, scope, method → who asks


def mounted(routes: Sequence[Route], identify: Identify) -> list[StarletteRoute]:
    """The rows as Starlette's routes."""

    def one(route: Route) -> StarletteRoute:
        async def endpoint(request: Request) -> Response:
            try:
                who = None if route.open else await identify(request, route.scope, route.method)
                call = await understood(route, request)
                given = await route.run(call, who)
            except Refused as refused:
                return failure(refused.code, status_of(refused), refused.facts)
            except NotNow as later:
                seconds = later.facts.get("seconds", 5)
                return failure(later.code, 503, later.facts, {"Retry-After": str(seconds)})
            return given if isinstance(given, Response) else answer(given, route.status)

        return StarletteRoute(route.path, endpoint, methods=[route.method])

    return [one(route) for route in routes]


async def on_error(request: Request, error: Exception) -> Response:
    """What nobody expected."""
    if isinstance(error, HTTPException):
        code = {404: "no-such-page", 405: "no-such-method"}.get(error.status_code, "trouble")
        return failure(code, error.status_code, {})
    if not isinstance(error, ClientDisconnect):
        log.error("HTTP request failed", exc_info=error)
    return failure("trouble", 500, {})


# --- the description --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Failure:
    """What every refusal looks like."""

    error: str
    vi: str
    en: str


def openapi(routes: Sequence[Route], scopes: Mapping[str, str]) -> dict[str, Any]:
    """An OpenAPI 3.1 description of these rows."""
    types = [t for r in routes for t in (r.body, r.query, r.gives) if t is not None] + [Failure]
    schemas, parts = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    schema_of = dict(zip(map(_key, types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    refusal = {"description": "refused", "content": {JSON: {"schema": schema_of[_key(Failure)]}}}
    for route in routes:
        said: dict[str, Any] = {"summary": route.summary, "responses": {"default": refusal}}
        good: dict[str, Any] = {"description": "done"}
        if route.gives is not None:
            good["content"] = {JSON: {"schema": schema_of[_key(route.gives)]}}
        said["responses"][str(route.status)] = good
        said["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in _names(route.path)
        ]
        if route.query is not None:
            found = parts[route.query.__name__]
            said["parameters"] += [
                {"name": name, "in": "query", "required": name in found.get("required", ()), "schema": schema}
                for name, schema in found["properties"].items()
            ]
        if route.body is not None:
            said["requestBody"] = {"required": True, "content": {JSON: {"schema": schema_of[_key(route.body)]}}}
        if not route.open:
            said["security"] = [{"session": []}, {"token": [route.scope] if route.scope else []}]
        paths.setdefault(_template(route.path), {})[route.method.lower()] = said
    return {
        "openapi": "3.1.0",
        "info": {"title": "Công Vụ", "version": __version__, "description": _scopes(scopes)},
        "paths": paths,
        "components": {
            "schemas": parts,
            "securitySchemes": {
                "session": {"type": "apiKey", "in": "cookie", "name": "congvu"},
                "token": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _key(kind: Any) -> str:
    return str(kind)


def _names(path: str) -> list[str]:
    return [part[1:-1].partition(":")[0] for part in path.split("/") if part.startswith("{")]


def _template(path: str) -> str:
    return "/".join(
        "{" + part[1:-1].partition(":")[0] + "}" if part.startswith("{") else part for part in path.split("/")
    )


def _scopes(scopes: Mapping[str, str]) -> str:
    return "Phạm vi của token / scopes of tokens: " + "; ".join(f"`{name}` {what}" for name, what in scopes.items())
