"""A team's task boards: their cards over HTTP, and what happens to them over WebSocket."""

import asyncio
import contextlib
from typing import Any

import falcon
import falcon.asgi
from falcon.asgi import Request, Response

from falcon_ws_mw import (
    ConnectionNotFound,
    WebSocket,
    WebSocketConnectionManager,
    before,
    install,
)

from .auth import authenticate
from .messages import RawBytes, read_message, read_number, read_text, read_upload
from .settings import CLOSE_SILENT, DEFAULTS, MAX_SILENT_ROUNDS, ASGIApp, Settings
from .store import Boards


async def note_heard(req: Request, *_: object) -> None:
    """Remember that a client was heard: a hook on the methods that handle its messages."""
    req.context.heard = True


async def check_silence(ws: WebSocket) -> None:
    """Ask a client that was silent for a round, and close one that gives no answer."""
    ws.context.silent = 0 if ws.context.heard else ws.context.silent + 1
    ws.context.heard = False
    if ws.context.silent > MAX_SILENT_ROUNDS:
        await ws.close(CLOSE_SILENT)
    elif ws.context.silent:
        with contextlib.suppress(ConnectionNotFound):  # it has just left
            await ws.manager.send_to_connection(ws.id, {'type': 'heartbeat'})


@falcon.before(authenticate)
class BoardResource:
    """`/boards/{board}`: the cards of a board, and a socket for those who work on it."""

    def __init__(
        self, boards: Boards, settings: Settings, manager: WebSocketConnectionManager
    ) -> None:
        self._boards = boards
        self._heartbeat_seconds = settings.heartbeat_seconds
        self._manager = manager

    async def on_get(self, req: Request, resp: Response, board: str) -> None:
        """List the cards."""
        resp.media = self._boards[board].list()

    async def on_post(self, req: Request, resp: Response, board: str) -> None:
        """Add a card."""
        title = read_text(await req.get_media(), 'title')
        resp.media = self._boards[board].add(title, req.context.user)
        resp.status = falcon.HTTP_201
        await self._tell(board, 'cardAdded', resp.media)

    async def on_websocket(self, req: Request, ws: WebSocket, board: str) -> None:  # noqa: C901
        """Talk to a client until it leaves, or has been silent for too long."""
        cards = self._boards[board]
        await ws.accept()
        req.context.heard, req.context.silent = False, 0
        while True:
            try:
                media = await asyncio.wait_for(ws.receive_media(), self._heartbeat_seconds)
            except TimeoutError:
                await check_silence(ws)
                continue
            req.context.silent = 0
            if isinstance(media, bytes):
                await self._tell(board, 'fileAdded', cards.attach(*read_upload(media)))
                continue
            kind, payload = read_message(media)
            if kind == 'alive':
                pass  # the answer to a heartbeat: it was heard, that is all
            elif kind == 'listCards':
                await ws.send_media({'type': 'cards', 'payload': cards.list()})
            elif kind == 'showCard':
                card = cards.show(read_number(payload, 'card'))
                await ws.send_media({'type': 'card', 'payload': card})
            elif kind == 'addCard':
                card = cards.add(read_text(payload, 'title'), req.context.user)
                await self._tell(board, 'cardAdded', card)
            elif kind == 'renameCard':
                card = cards.rename(read_number(payload, 'card'), read_text(payload, 'title'))
                await self._tell(board, 'cardRenamed', card)
            elif kind == 'moveCard':
                card = cards.move(read_number(payload, 'card'), read_text(payload, 'column'))
                await self._tell(board, 'cardMoved', card)
            elif kind == 'deleteCard':
                card = cards.delete(read_number(payload, 'card'))
                await self._tell(board, 'cardDeleted', card)
            else:
                await ws.send_media({'type': 'unknown', 'payload': {'type': kind}})

    @before(note_heard)
    async def on_ws_watch(self, ws: WebSocket, board: str) -> None:
        """Have the client told what happens to the cards."""
        await ws.join_room(board)
        watchers = await ws.manager.count_connections_in_room(board)
        await ws.send_media({'type': 'watching', 'payload': {'watchers': watchers}})

    @before(note_heard)
    async def on_ws_unwatch(self, ws: WebSocket, board: str) -> None:
        """Stop that."""
        await ws.leave_room(board)
        await ws.send_media({'type': 'notWatching'})

    @before(note_heard)
    async def on_ws_typing(self, ws: WebSocket, payload: Any, board: str) -> None:
        """Tell the others who is writing."""
        typing = {'card': read_number(payload, 'card'), 'user': ws.context.user}
        message = {'type': 'typing', 'payload': typing}
        await ws.broadcast_to_room(board, message, exclude_self=True)

    @before(note_heard)
    async def on_ws_comment(self, ws: WebSocket, payload: Any, board: str) -> None:
        """Write something under a card."""
        number = read_number(payload, 'card')
        text = read_text(payload, 'text')
        comment = self._boards[board].comment(number, ws.context.user, text)
        await self._tell(board, 'commented', comment)

    async def _tell(self, board: str, kind: str, payload: object) -> None:
        """Send a message to everybody who watches a board."""
        await self._manager.broadcast_to_room(board, {'type': kind, 'payload': payload})


@falcon.before(authenticate)
class TickerResource:
    """`/ticker`: how many cards there are, once or again and again."""

    def __init__(self, boards: Boards, settings: Settings) -> None:
        self._boards = boards
        self._tick_seconds = settings.tick_seconds

    async def on_get(self, req: Request, resp: Response) -> None:
        """Say it once."""
        resp.media = self._boards.count_cards()

    async def on_websocket(self, req: Request, ws: WebSocket) -> None:
        """Say it until the client leaves. Nothing is ever received."""
        await ws.accept()
        while True:
            await ws.send_media({'type': 'tick', 'payload': self._boards.count_cards()})
            await asyncio.sleep(self._tick_seconds)


def create_app(settings: Settings = DEFAULTS) -> ASGIApp:
    """Return the app."""
    boards = Boards()
    manager = WebSocketConnectionManager()
    resource = BoardResource(boards, settings, manager)
    app = falcon.asgi.App()
    app.ws_options.media_handlers[falcon.WebSocketPayloadType.BINARY] = RawBytes()
    app.add_route('/boards/{board}', resource)
    app.add_route('/ticker', TickerResource(boards, settings))
    return install(app, manager=manager)
