"""The chat of `examples/chat`, seen by real clients over real uvicorn."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
import inspect
from pathlib import Path
import re
from typing import Any

from examples.chat import sessions
from examples.chat.announcements import announce
from examples.chat.app import create_app
from examples.chat.rooms import ChatRoom
import httpx
import pytest
from websockets.exceptions import InvalidStatus

from falcon_ws_mw import WebSocket, WebSocketLifespan

from .asyncapi_tools import dom_of, find_browser, install_parser
from .clocks import Clocks, clocks
from .conftest import Logs
from .servers import Client, Served, serve

__all__ = ['clocks']  # a fixture


class Chat:
    """The app, served, and people who log in to it."""

    def __init__(self, app: WebSocketLifespan, served: Served, http: httpx.AsyncClient) -> None:
        self.app = app
        self.served = served
        self.http = http

    async def log_in(self, user: str) -> dict[str, str]:
        response = await self.http.post('/session', json={'user': user})
        assert response.status_code == 201
        self.http.cookies.clear()
        return {'Authorization': f'Bearer {response.json()["token"]}'}

    @asynccontextmanager
    async def enter(self, user: str, room: str = 'lobby') -> AsyncIterator[Client]:
        headers = await self.log_in(user)
        path = f'/ws/chat/{room}'
        async with self.served.client(path, additional_headers=headers) as client:
            welcome = await client.receive()
            assert welcome['type'] == 'serverWelcome'
            assert welcome['payload']['user'] == user
            yield client


@asynccontextmanager
async def chatting(ws_implementation: str) -> AsyncIterator[Chat]:
    app = create_app()
    async with serve(app, ws_implementation) as served:
        async with httpx.AsyncClient(base_url=served.http) as http:
            yield Chat(app, served, http)


async def receive_type(client: Client, expected: str) -> dict[str, Any]:
    message = await client.receive()
    assert message['type'] == expected, message
    payload: dict[str, Any] = message['payload']
    return payload


async def test_joining_writing_and_typing(ws_implementation: str, logs: Logs) -> None:
    async with chatting(ws_implementation) as chat, chat.enter('ada') as ada:
        async with chat.enter('bob') as bob:
            joined = await receive_type(ada, 'serverUserJoined')
            assert joined == {'user': 'bob', 'users': {'ada': 1, 'bob': 1}}

            await ada.send({'type': 'clientTyping'})
            await ada.send({'type': 'clientSendMessage', 'payload': {'text': 'hi'}})
            typing = await receive_type(bob, 'serverUserTyping')
            assert typing == {'user': 'ada', 'typing': True}
            for client in (ada, bob):  # typing went to others only, the message to all
                said = await receive_type(client, 'serverNewMessage')
                assert (said['user'], said['text']) == ('ada', 'hi')
        left = await receive_type(ada, 'serverUserLeft')
        assert left == {'user': 'bob', 'users': {'ada': 1}}
    assert logs.lines == []


async def test_a_wrong_message_is_answered_and_the_chat_goes_on(ws_implementation: str) -> None:
    async with chatting(ws_implementation) as chat, chat.enter('ada') as ada:
        for payload in ({}, {'text': ''}, {'text': 5}, {'text': 'x' * 2001}, [1], 'x'):
            answer = await ada.ask({'type': 'clientSendMessage', 'id': 1, 'payload': payload})
            assert (answer['type'], answer['payload']['status']) == ('error', 422), payload
        await ada.send({'type': 'clientSendMessage', 'payload': {'text': 'x' * 2000}})
        assert len((await receive_type(ada, 'serverNewMessage'))['text']) == 2000


@pytest.mark.parametrize('ending', ['abort', 'server close', 'kick'])
async def test_leaving_is_told_however_it_happens(
    ending: str, ws_implementation: str, logs: Logs
) -> None:
    async with chatting(ws_implementation) as chat, chat.enter('ada') as ada:
        async with chat.enter('bob') as bob:
            await receive_type(ada, 'serverUserJoined')
            manager = chat.app.ws_connection_manager
            if ending == 'abort':
                bob.abort()
            elif ending == 'kick':
                await manager.close_user('bob')
            else:
                [connection_id] = (
                    key for key, ws in manager.connections.items() if ws.user_id == 'bob'
                )
                await manager.close_connection(connection_id, 4000)
            left = await receive_type(ada, 'serverUserLeft')
            assert left == {'user': 'bob', 'users': {'ada': 1}}
    assert logs.lines == []


class FragileRoom(ChatRoom):
    ws_crash_policy = 'close'

    async def on_ws_crash(self, ws: WebSocket) -> None:
        raise RuntimeError('boom')


async def test_leaving_is_told_after_a_handler_crash(
    ws_implementation: str, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('examples.chat.app.ChatRoom', FragileRoom)
    async with chatting(ws_implementation) as chat, chat.enter('ada') as ada:
        async with chat.enter('bob') as bob:
            await receive_type(ada, 'serverUserJoined')
            await bob.send({'type': 'crash'})
            assert await bob.closed() == 1011
            assert (await receive_type(ada, 'serverUserLeft'))['user'] == 'bob'
    assert len(logs.take()) == 1


async def test_a_second_tab_is_counted_apart(ws_implementation: str) -> None:
    async with chatting(ws_implementation) as chat, chat.enter('ada') as ada, chat.enter('bob'):
        await receive_type(ada, 'serverUserJoined')
        async with chat.enter('bob'):
            joined = await receive_type(ada, 'serverUserJoined')
            assert joined['users'] == {'ada': 1, 'bob': 2}
        left = await receive_type(ada, 'serverUserLeft')
        assert left == {'user': 'bob', 'users': {'ada': 1, 'bob': 1}}


async def test_rooms_are_isolated_and_announcements_reach_all_of_them(
    ws_implementation: str,
) -> None:
    async with chatting(ws_implementation) as chat:
        async with chat.enter('ada', 'a') as ada, chat.enter('bob', 'b') as bob:
            await ada.send({'type': 'clientSendMessage', 'payload': {'text': 'in a'}})
            await receive_type(ada, 'serverNewMessage')
            response = await chat.http.post(
                '/announcements', json={'text': 'tea'}, headers=await chat.log_in('eve')
            )
            assert response.json() == {'rooms': 2, 'queued': 2}
            for client in (ada, bob):  # the next that bob gets: nothing came from room a
                assert await receive_type(client, 'serverAnnouncement') == {'text': 'tea'}


async def test_the_worker_announces(
    ws_implementation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('CHAT_ANNOUNCE_SECONDS', '0.05')
    async with chatting(ws_implementation) as chat:
        async with chat.enter('ada', 'a') as ada, chat.enter('bob', 'b') as bob:
            await receive_type(ada, 'serverAnnouncement')
            await receive_type(bob, 'serverAnnouncement')
        [worker] = chat.app.ws_connection_manager.stats().workers
        assert worker.state == 'running'


async def test_nobody_gets_in_without_a_session(ws_implementation: str) -> None:
    async with chatting(ws_implementation) as chat:
        with pytest.raises(InvalidStatus) as refused:
            async with chat.served.client('/ws/chat/lobby'):
                pass
        response = refused.value.response
        assert response.status_code == 401
        assert response.headers['WWW-Authenticate'] == 'Bearer'
        assert b'401 Unauthorized' in response.body
        assert (await chat.http.post('/announcements', json={'text': 'x'})).status_code == 401


async def test_logging_out_ends_the_sockets_of_the_session(ws_implementation: str) -> None:
    async with chatting(ws_implementation) as chat:
        headers = await chat.log_in('ada')
        async with chat.served.client('/ws/chat/a', additional_headers=headers) as client:
            await receive_type(client, 'serverWelcome')
            assert (await chat.http.delete('/session', headers=headers)).status_code == 204
            assert await client.closed() == 3401


async def test_a_socket_ends_with_its_session(
    ws_implementation: str, clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, 'time', clocks)
    async with chatting(ws_implementation) as chat, chat.enter('ada') as ada:
        await clocks.pass_by(sessions.SESSION_LIFETIME_SECONDS - 1)
        await ada.send({'type': 'clientSendMessage', 'payload': {'text': 'hi'}})
        await receive_type(ada, 'serverNewMessage')
        await clocks.pass_by(1)
        assert await ada.closed() == 3401


async def test_the_page_is_served_by_the_same_app() -> None:
    async with chatting('websockets-sansio') as chat:
        response = await chat.http.get('/')
        assert response.status_code == 200
        assert response.headers['content-type'].startswith('text/html')
        assert "default-src 'none'" in response.headers['content-security-policy']


# -- what it says of itself


def test_every_handler_and_everything_sent_is_in_the_document() -> None:
    document = create_app().asyncapi_document()
    operations = document['operations'].values()
    said = {
        action: {
            document['components']['messages'][reference['$ref'].rpartition('/')[2]]['name']
            for operation in operations
            if operation['action'] == action
            for reference in operation['messages']
        }
        for action in ('receive', 'send')
    }
    handlers = {
        name.removeprefix('on_ws_') for name in dir(ChatRoom) if name.startswith('on_ws_')
    } - {'connect', 'disconnect', 'unhandled'}
    source = Path(inspect.getfile(ChatRoom)).read_text()

    assert said['receive'] == handlers
    assert said['send'] - {'error'} == set(re.findall(r"@sends\(\s*'(\w+)'", source))


@pytest.mark.timeout(300)
def test_the_official_parser_has_nothing_to_say_about_it() -> None:
    [found] = install_parser().diagnostics(create_app().asyncapi_document())

    assert [each for each in found if each['severity'] in {'error', 'warning'}] == []


@pytest.mark.timeout(120)
async def test_its_page_shows_every_message(tmp_path: Path) -> None:
    browser = find_browser()
    app = create_app()
    async with serve(app) as served:
        dom, console = await dom_of(browser, f'{served.http}/asyncapi', tmp_path)

    for message in app.asyncapi_document()['components']['messages'].values():
        assert f'>{message["name"]}<' in dom
    assert console == []


async def test_what_is_sent_is_what_is_declared(ws_implementation: str) -> None:
    app = create_app(check_sends=True)
    async with serve(app, ws_implementation) as served:
        async with httpx.AsyncClient(base_url=served.http) as http:
            chat = Chat(app, served, http)
            async with chat.enter('ada') as ada:
                async with chat.enter('bob') as bob:
                    await receive_type(ada, 'serverUserJoined')
                    await bob.send({'type': 'clientTyping'})
                    await receive_type(ada, 'serverUserTyping')
                    await bob.send({'type': 'clientSendMessage', 'payload': {'text': 'hi'}})
                    await receive_type(ada, 'serverNewMessage')
                await receive_type(ada, 'serverUserLeft')
                await announce(app.ws_connection_manager, 'Tea is ready.')
                await receive_type(ada, 'serverAnnouncement')
