"""falcon_ws_mw: one handler, its payload annotated in each of the ways there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

import falcon
import falcon.asgi
import msgspec
from pydantic import BaseModel

from benchmarks.apps.limits import without_rates
from falcon_ws_mw import WebSocketLifespan, install
from falcon_ws_mw.websocket import WebSocket


class SayStruct(msgspec.Struct):
    """By msgspec."""

    text: str
    reply_to: int | None
    tags: list[str]


class SayModel(BaseModel):
    """By pydantic."""

    text: str
    reply_to: int | None
    tags: list[str]


@dataclass
class SayDataclass:
    """Of the standard library."""

    text: str
    reply_to: int | None
    tags: list[str]


class SayTypedDict(TypedDict):
    """Of the standard library."""

    text: str
    reply_to: int | None
    tags: list[str]


class Untyped:
    """No annotation."""

    async def on_ws_echo(self, ws: WebSocket, payload) -> None:  # type: ignore[no-untyped-def]
        """Answer."""
        await ws.send_message('echo', payload['text'])


class PlainDict:
    """An object of anything."""

    async def on_ws_echo(self, ws: WebSocket, payload: dict[str, Any]) -> None:
        """Answer."""
        await ws.send_message('echo', payload['text'])


class Struct:
    """A `msgspec.Struct`."""

    async def on_ws_echo(self, ws: WebSocket, payload: SayStruct) -> None:
        """Answer."""
        await ws.send_message('echo', payload.text)


class Model:
    """A pydantic model."""

    async def on_ws_echo(self, ws: WebSocket, payload: SayModel) -> None:
        """Answer."""
        await ws.send_message('echo', payload.text)


class Dataclass:
    """A dataclass."""

    async def on_ws_echo(self, ws: WebSocket, payload: SayDataclass) -> None:
        """Answer."""
        await ws.send_message('echo', payload.text)


class Typed:
    """A TypedDict."""

    async def on_ws_echo(self, ws: WebSocket, payload: SayTypedDict) -> None:
        """Answer."""
        await ws.send_message('echo', payload['text'])


def _serving(resource: object) -> WebSocketLifespan:
    inner: falcon.asgi.App[Any, Any] = falcon.asgi.App()
    inner.add_route('/echo', resource)
    return install(inner, limits=without_rates())


untyped = _serving(Untyped())
plain_dict = _serving(PlainDict())
struct = _serving(Struct())
model = _serving(Model())
a_dataclass = _serving(Dataclass())
typed_dict = _serving(Typed())
