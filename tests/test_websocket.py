"""`ws` has the whole API of Falcon's socket and leaves nothing of it to Falcon."""

from __future__ import annotations

import inspect

import falcon.asgi
import pytest

from falcon_ws_mw import WebSocket
from falcon_ws_mw.falcon_socket import FalconSocket

PUBLIC = sorted(name for name in dir(falcon.asgi.WebSocket) if not name.startswith('_'))


@pytest.mark.parametrize('name', PUBLIC)
def test_every_public_name_of_falcon_is_defined_anew(name: str) -> None:
    if name == 'subprotocols':  # the one plain attribute: a slot that __init__ fills
        return
    assert name in vars(FalconSocket)


@pytest.mark.parametrize(
    'name', [name for name in PUBLIC if inspect.isfunction(getattr(falcon.asgi.WebSocket, name))]
)
def test_it_is_called_like_falcons(name: str) -> None:
    theirs = inspect.signature(getattr(falcon.asgi.WebSocket, name)).parameters
    ours = inspect.signature(getattr(WebSocket, name)).parameters
    assert [(p.name, p.kind, p.default) for p in ours.values()] == [
        (p.name, p.kind, p.default) for p in theirs.values()
    ]
