"""Requests: the client's, each answered once, and the server's, none of which waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
import gc
import json
import math
from typing import Any

import falcon
import falcon.asgi
import falcon.testing
import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from falcon_ws_mw import (
    ConnectionNotFound,
    Envelope,
    InvalidName,
    Limits,
    ReplyError,
    ReplyTimeout,
    TooManyRequests,
    UnhandledMessage,
    WebSocket,
    WebSocketConnectionManager,
    WebSocketResource,
    install,
)
from falcon_ws_mw.requests import Requests

from .conftest import Logs
from .servers import PATIENCE_SECONDS, Client, Served, serve
from .test_adoption import Echo, adopted
from .test_busy_handlers import Desk, Peer, note
from .test_connection import settled, soon


class Asker(Desk):
    """A desk with a handler that asks the client what a message says, and answers that."""

    async def on_ws_ask(self, ws: WebSocket, payload: Any) -> Any:
        return await ws.request('question', payload)


def reply(question: Any, payload: Any = None) -> str:
    return json.dumps({'type': 'reply', 'id': question['id'], 'payload': payload})


def refusal(question: Any, payload: Any = None) -> str:
    return json.dumps({'type': 'error', 'id': question['id'], 'payload': payload})


class Asked(Peer):
    """A peer in memory, and what it is asked."""

    async def hears(self, count: int = 1) -> list[Any]:
        """The next messages."""
        return [json.loads(event['text']) for event in await self.server.next_taken(count)]

    async def question(self) -> Any:
        [message] = await self.hears()
        assert message['type'] == 'question'
        return message


@asynccontextmanager
async def asked(
    desk: Desk | None = None, **options: Any
) -> AsyncIterator[tuple[Desk, Asked, WebSocket]]:
    """A connection in memory; in the end nothing of it remains."""
    desk = desk or Asker()
    peer = Asked(desk, **options)
    ws = await soon(desk.connected.get())
    await peer.server.next_taken(1)
    yield desk, peer, ws
    peer.leave()
    await soon(peer.task)
    assert (desk.ends.qsize(), peer.stats().connections) == (1, 0)


@asynccontextmanager
async def served_desk(
    ws_implementation: str, desk: Desk | None = None, **options: Any
) -> AsyncIterator[tuple[Desk, Served, Client, WebSocket]]:
    """A connection over a real server."""
    desk = desk or Asker()
    app = install(falcon.asgi.App(), **options)
    app.add_route('/ws', desk)
    async with serve(app, ws_implementation) as served, served.client('/ws') as client:
        yield desk, served, client, await soon(desk.connected.get())


def asking(ws: WebSocket, payload: Any = None, **options: Any) -> asyncio.Task[Any]:
    """Somebody else than a handler asks."""
    return asyncio.create_task(ws.request('question', payload, **options))


# -- the client asks: exactly one answer


async def ignore(
    req: object, resp: object, error: Exception, params: object, ws: WebSocket
) -> None:
    """An error handler of the app that says nothing."""


async def explain(
    req: object, resp: object, error: Exception, params: object, ws: WebSocket
) -> None:
    raise falcon.HTTPConflict


class Endings(Desk):
    """Has a handler for each way in which a request can end."""

    async def on_ws_result(self, ws: WebSocket) -> Any:
        return {'a': [1, 'Köln']}

    async def on_ws_null(self, ws: WebSocket) -> None:
        pass

    async def on_ws_http_error(self, ws: WebSocket) -> None:
        raise falcon.HTTPGone

    async def on_ws_http_status(self, ws: WebSocket) -> None:
        raise falcon.HTTPStatus(418)

    async def on_ws_invalid_name(self, ws: WebSocket) -> None:
        await ws.join_room('')

    async def on_ws_not_found(self, ws: WebSocket) -> None:
        await ws.manager.send_to_connection('gone', {})

    async def on_ws_crash(self, ws: WebSocket) -> None:
        raise LookupError('expected')

    async def on_ws_crash_in_group(self, ws: WebSocket) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.on_ws_crash(ws))

    async def on_ws_no_json(self, ws: WebSocket) -> object:
        return object()

    async def on_ws_too_big(self, ws: WebSocket) -> str:
        return 'x' * 2000

    async def on_ws_somebody_left(self, ws: WebSocket) -> None:
        raise falcon.WebSocketDisconnected

    async def on_ws_somebody_was_cancelled(self, ws: WebSocket) -> None:
        task = asyncio.create_task(asyncio.sleep(0))
        task.cancel()
        await task

    async def on_ws_ignored(self, ws: WebSocket) -> None:
        raise ZeroDivisionError

    async def on_ws_explained(self, ws: WebSocket) -> None:
        raise OverflowError

    async def on_ws_typed(self, ws: WebSocket, payload: int) -> int:
        return payload

    async def on_ws_gone(self, ws: WebSocket) -> str:
        await ws.close(4000)
        return 'unheard'


ENDINGS: dict[str, Any] = {
    '"type":"result"': {'a': [1, 'Köln']},
    '"type":"null"': None,
    '"type":"typed","payload":5': 5,
    '"type":"typed","payload":"five"': 422,
    '"type":"http_error"': 410,
    '"type":"http_status"': 418,
    '"type":"invalid_name"': 400,
    '"type":"not_found"': 404,
    '"type":"crash"': 500,
    '"type":"crash_in_group"': 500,
    '"type":"no_json"': 500,
    '"type":"too_big"': 500,
    '"type":"somebody_left"': 500,
    '"type":"somebody_was_cancelled"': 500,
    '"type":"ignored"': 500,
    '"type":"explained"': 409,
    '"type":"nobody_knows"': 404,
    '"type":5': 400,
    '"payload":5': 400,
}
"""What a request says, and its answer: what a reply carries, or the status of an error."""


def meaning(answer: Any) -> Any:
    return answer['payload']['status'] if answer['type'] == 'error' else answer['payload']


def endings_app(resource: Desk, **options: Any) -> Any:
    app = install(falcon.asgi.App(), limits=Limits(max_outbox_bytes=1000), **options)
    app.add_error_handler(ZeroDivisionError, ignore)
    app.add_error_handler(OverflowError, explain)
    app.add_route('/ws', resource)
    return app


async def test_each_request_has_exactly_one_answer_however_it_ends(
    ws_implementation: str, logs: Logs
) -> None:
    async with (
        serve(endings_app(Endings()), ws_implementation) as served,
        served.client('/ws') as client,
    ):
        for number, (words, expected) in enumerate(ENDINGS.items()):
            answer = await client.ask(f'{{{words},"id":{number}}}')
            assert (answer['id'], meaning(answer)) == (number, expected), words
            # The next answer is the next message's: so there was exactly one.
            assert await client.ask('{"type":"null","id":"alive"}') == {
                'type': 'reply',
                'id': 'alive',
                'payload': None,
            }
    assert all('Endings' in line for line in logs.take())


async def test_pipelined_requests_are_answered_in_order(ws_implementation: str, logs: Logs) -> None:
    words = list(ENDINGS) * 5
    async with (
        serve(endings_app(Endings()), ws_implementation) as served,
        served.client('/ws') as client,
    ):
        for number, each in enumerate(words):
            await client.send(f'{{{each},"id":{number}}}')
        answers = [await client.receive() for _ in words]
    assert [answer['id'] for answer in answers] == list(range(len(words)))
    assert [meaning(answer) for answer in answers] == list(ENDINGS.values()) * 5
    logs.take()


@pytest.mark.parametrize(
    ('result', 'expected'), [(None, 404), ('taken', 'taken'), (InvalidName('room', ''), 400)]
)
async def test_on_ws_unhandled_answers_or_the_library_does(result: Any, expected: Any) -> None:
    class Catching(Desk):
        async def on_ws_unhandled(
            self, ws: WebSocket, raw: str | bytes, error: UnhandledMessage
        ) -> Any:
            if isinstance(result, Exception):
                raise result
            return result

    async with asked(Catching()) as (_, peer, _):
        peer.say('{"type":"nobody_knows","id":1}', '{"type":"reply"}', note('alive'))
        answers = await peer.hears()
        await settled()
        assert [meaning(answer) for answer in answers] == [expected]
        # Without an id only what was raised is told.
        assert len(peer.heard()) == (2 if isinstance(result, Exception) else 1)


@pytest.mark.parametrize('words', ['"type":"crash"', '"type":"no_json"', '"type":"gone"'])
async def test_the_end_of_the_connection_answers_everything(
    words: str, ws_implementation: str, logs: Logs
) -> None:
    desk = Endings()
    async with (
        serve(endings_app(desk, crash_policy='close'), ws_implementation) as served,
        served.client('/ws') as client,
    ):
        for number in range(3):
            await client.send(f'{{{words},"id":{number}}}')
        with pytest.raises(ConnectionClosed):
            await client.receive()
        code = 4000 if 'gone' in words else 1011
        assert (client.connection.close_code, await soon(desk.ends.get())) == (code, code)
    assert len(logs.take()) == (code == 1011)


# -- the server asks: what comes back


VALUES: list[Any] = [None, False, 0, '', 'Köln', [], {}, {'a': [1]}, 'x' * 5000]


async def test_a_request_returns_what_the_reply_carries(ws_implementation: str, logs: Logs) -> None:
    async with served_desk(ws_implementation) as (_, _, client, ws):
        for value in VALUES:
            asker = asking(ws, {'for': 'you'}, timeout=PATIENCE_SECONDS)
            question = await client.receive()
            assert question == {
                'type': 'question',
                'id': question['id'],
                'payload': {'for': 'you'},
            }
            await client.send(reply(question, value))
            assert await soon(asker) == value
    assert logs.lines == []


async def test_a_reply_without_a_payload_is_none() -> None:
    async with asked() as (_, peer, ws):
        asker = asking(ws)
        peer.say(json.dumps({'type': 'reply', 'id': (await peer.question())['id']}))
        assert await soon(asker) is None


ERRORS: list[tuple[Any, tuple[Any, Any, Any]]] = [
    ({'status': 409, 'title': 'Busy', 'description': 'later'}, (409, 'Busy', 'later')),
    ({'title': 'Busy', 'more': 1}, (None, 'Busy', None)),
    ('no', (None, None, None)),
    (None, (None, None, None)),
    (['no'], (None, None, None)),
]


@pytest.mark.parametrize(('payload', 'facts'), ERRORS)
async def test_an_error_is_raised_with_what_it_carries(
    payload: Any, facts: tuple[Any, Any, Any]
) -> None:
    async with asked() as (_, peer, ws):
        asker = asking(ws)
        peer.say(refusal(await peer.question(), payload))
        with pytest.raises(ReplyError, match="request 'question' with an error") as raised:
            await soon(asker)
    error = raised.value
    assert (error.type, error.payload) == ('question', payload)
    assert (error.status, error.title, error.description) == facts


async def test_answers_may_come_in_any_order() -> None:
    async with asked() as (_, peer, ws):
        askers = [asking(ws, number) for number in range(20)]
        questions = await peer.hears(20)
        peer.say(*(reply(each, each['payload'] * 10) for each in reversed(questions)))
        answers = await soon(asyncio.gather(*askers))
    assert answers == [number * 10 for number in range(20)]
    assert len({each['id'] for each in questions}) == 20


class Renamed(Asker):
    ws_envelope = Envelope(
        type_field='t', payload_field='p', id_field='i', reply_type='ok', error_type='no'
    )


class Flat(Asker):
    ws_envelope = Envelope(payload_field=None)


class Lines:
    """An envelope of one line of words."""

    def decode(self, raw: str | bytes) -> tuple[str, Any, str | None]:
        kind, message_id, *words = str(raw).split()
        return kind, words, message_id

    def encode(self, type: str, payload: Any, id: str | int | None) -> str:
        return f'{type} {id} {payload}'


class Own(Asker):
    ws_envelope = Lines()


@pytest.mark.parametrize(
    ('desk', 'asks', 'answers', 'expected'),
    [
        (Renamed(), '{"t":"question","i":"%s","p":{"a":1}}', '{"t":"ok","i":"%s","p":2}', 2),
        (Flat(), '{"a":1,"type":"question","id":"%s"}', '{"type":"reply","id":"%s","a":2}', None),
        (
            Flat(),
            '{"a":1,"type":"question","id":"%s"}',
            '{"type":"reply","id":"%s","payload":2}',
            2,
        ),
        (Own(), "question %s {'a': 1}", 'reply %s two', ['two']),
    ],
)
async def test_requests_speak_the_envelope_of_the_route(
    desk: Asker, asks: str, answers: str, expected: Any
) -> None:
    before, after = asks.split('%s')
    async with asked(desk) as (_, peer, ws):
        asker = asking(ws, {'a': 1})
        [event] = await peer.server.next_taken(1)
        assert event['text'].startswith(before)
        assert event['text'].endswith(after)
        request_id = event['text'].removeprefix(before).removesuffix(after)
        peer.say(answers % request_id)
        assert await soon(asker) == expected


async def test_where_messages_have_no_ids_nothing_can_be_asked() -> None:
    class WithoutIds(Desk):
        ws_envelope = Envelope(id_field=None)

    async with asked(WithoutIds()) as (_, peer, ws):
        with pytest.raises(falcon.OperationNotAllowed, match='id_field=None'):
            await ws.request('question')
        assert peer.heard() == []


async def test_what_cannot_be_encoded_is_not_asked() -> None:
    async with asked() as (_, peer, ws):
        with pytest.raises(TypeError):
            await ws.request('question', object())
        assert peer.heard() == []
        assert not ws._connection.requests


# -- the server asks: time


async def test_who_does_not_answer_in_time_is_not_waited_for() -> None:
    async with asked() as (_, _, ws):
        with pytest.raises(ReplyTimeout, match=r"the request 'question' within 0\.01 s") as raised:
            await soon(ws.request('question', timeout=0.01))
    assert isinstance(raised.value, TimeoutError)
    assert (raised.value.type, raised.value.timeout_seconds) == ('question', 0.01)


async def test_the_route_says_how_long_is_waited_where_a_request_does_not() -> None:
    class Quick(Asker):
        ws_limits = Limits(request_timeout_seconds=0.01)

    async with asked(Quick()) as (_, _, ws):
        with pytest.raises(ReplyTimeout) as raised:
            await soon(ws.request('question'))
    assert raised.value.timeout_seconds == 0.01


@pytest.mark.parametrize(
    ('limit', 'seconds'), [(0.01, math.inf), (None, None), (None, math.inf), (0.01, 10_000)]
)
async def test_who_may_take_for_ever_is_waited_for(
    limit: float | None, seconds: float | None
) -> None:
    async with asked(limits=Limits(request_timeout_seconds=limit)) as (_, peer, ws):
        patient = asking(ws, timeout=seconds)
        question = await peer.question()
        with pytest.raises(ReplyTimeout):
            await soon(ws.request('question', timeout=0.02))
        assert not patient.done()
        peer.say(reply(question, 'at last'))
        assert await soon(patient) == 'at last'


@pytest.mark.parametrize('seconds', [0, -1, -math.inf, math.nan])
async def test_a_time_that_is_none_is_refused(seconds: float) -> None:
    async with asked() as (_, peer, ws):
        with pytest.raises(ValueError, match='expected a number of seconds above 0'):
            await ws.request('question', timeout=seconds)
        assert peer.heard() == []


async def test_the_time_runs_while_the_peer_takes_nothing() -> None:
    async with asked() as (_, peer, ws):
        peer.server.gate.clear()
        with pytest.raises(ReplyTimeout):
            await soon(ws.request('question', timeout=0.01))
        peer.server.gate.set()


async def test_an_answer_that_comes_too_late_is_counted_and_disturbs_nothing(
    ws_implementation: str, logs: Logs
) -> None:
    async with served_desk(ws_implementation) as (_, _, client, ws):
        with pytest.raises(ReplyTimeout):
            await soon(ws.request('question', timeout=0.01))
        late = await client.receive()
        await client.send(reply(late, 'late'))
        await client.send(refusal(late))
        asker = asking(ws)
        question = await client.receive()  # so the late one was not answered
        await client.send(reply(question, 'in time'))
        assert await soon(asker) == 'in time'
        assert ws.manager.stats().unmatched_replies == 2
    assert logs.lines == []


async def test_who_is_cancelled_leaves_nothing() -> None:
    async with asked() as (_, peer, ws):
        asker = asking(ws)
        question = await peer.question()
        asker.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asker
        assert not ws._connection.requests
        peer.say(reply(question))
        await settled()
        assert ws.manager.stats().unmatched_replies == 1
        assert peer.heard() == [json.dumps(question, separators=(',', ':'))]


# -- the server asks: how it ends without an answer


async def client_closes(client: Client, served: Served, ws: WebSocket) -> None:
    await client.close(4001)


async def client_aborts(client: Client, served: Served, ws: WebSocket) -> None:
    client.abort()


async def handler_closes(client: Client, served: Served, ws: WebSocket) -> None:
    await ws.close(4002)


async def somebody_kicks(client: Client, served: Served, ws: WebSocket) -> None:
    await ws.manager.close_connection(ws.id, 4003)


async def server_stops(client: Client, served: Served, ws: WebSocket) -> None:
    await served.stop()


End = Callable[[Client, Served, WebSocket], Awaitable[None]]
ENDS: dict[End, set[int]] = {
    client_closes: {4001},
    client_aborts: {1005, 1006},
    handler_closes: {4002},
    somebody_kicks: {4003},
    server_stops: {1012},
}


class Curious(Desk):
    """Has a handler that notes how its request ended."""

    async def on_ws_ask(self, ws: WebSocket) -> None:
        try:
            await ws.request('question', timeout=math.inf)
        except falcon.WebSocketDisconnected as error:
            self.notes.append(error.code)
            raise


@pytest.mark.parametrize('end', ENDS)
async def test_the_end_of_the_connection_ends_all_waiting(
    end: End, ws_implementation: str, logs: Logs
) -> None:
    desk = Curious()
    async with served_desk(ws_implementation, desk) as (_, served, client, ws):
        await client.send('{"type":"ask"}')
        outside = asking(ws, timeout=math.inf)
        for _ in range(2):
            assert (await client.receive())['type'] == 'question'

        await soon(end(client, served, ws))

        with pytest.raises(falcon.WebSocketDisconnected) as raised:
            await soon(outside)
        code = await soon(desk.ends.get())
        assert code in ENDS[end]
        assert (desk.notes, raised.value.code) == ([code], code)
        with pytest.raises(falcon.WebSocketDisconnected):
            await ws.request('question')
    assert ws.manager.stats().connections == 0
    assert logs.lines == []


async def test_an_eviction_ends_all_waiting(logs: Logs) -> None:
    async with asked(Curious(), limits=Limits(send_timeout_seconds=0.05)) as (desk, peer, ws):
        peer.say('{"type":"ask"}')
        await peer.question()
        peer.server.gate.clear()
        await ws.manager.broadcast('x')
        await soon(peer.task)
        assert (desk.notes, desk.ends.qsize()) == ([1006], 1)
    logs.take()


async def test_a_server_that_takes_no_frame_ends_all_waiting(logs: Logs) -> None:
    async with asked() as (_, peer, ws):
        asker = asking(ws, timeout=math.inf)
        await peer.question()
        peer.server.error = ConnectionResetError('the peer has gone')
        await ws.manager.broadcast('x')
        with pytest.raises(falcon.WebSocketDisconnected):
            await soon(asker)


async def test_a_kick_does_not_wait_for_the_peer_to_end_all_waiting() -> None:
    async with asked() as (_, peer, ws):
        asker = asking(ws, timeout=math.inf)
        await peer.question()
        await ws.manager.close_connection(ws.id, 4003)
        with pytest.raises(falcon.WebSocketDisconnected) as raised:
            await soon(asker)
        assert (raised.value.code, peer.task.done()) == (4003, False)


async def test_whose_request_has_yet_to_leave_is_told_of_the_end_too(logs: Logs) -> None:
    async with asked() as (_, peer, ws):
        peer.server.gate.clear()
        askers = [asking(ws, timeout=math.inf) for _ in range(3)]
        await settled()
        await ws.manager.close_connection(ws.id, 4003)
        peer.leave()
        await soon(peer.task)
        for each in await soon(asyncio.gather(*askers, return_exceptions=True)):
            assert isinstance(each, falcon.WebSocketDisconnected)
        del askers
        gc.collect()
    assert logs.lines == []  # no exception was never retrieved


async def test_in_on_ws_disconnect_nobody_is_left_to_be_asked() -> None:
    class Late(Desk):
        async def on_ws_disconnect(self, ws: WebSocket, close_code: int) -> None:
            with pytest.raises(falcon.WebSocketDisconnected) as raised:
                await ws.request('question')
            self.notes.append(raised.value.code)
            await super().on_ws_disconnect(ws, close_code)

    for has_asked in (False, True):
        async with asked(Late()) as (desk, peer, ws):
            if has_asked:
                with pytest.raises(ReplyTimeout):
                    await ws.request('question', timeout=0.01)
            peer.leave()
            await soon(peer.task)
            assert desk.notes == [1001]


# -- answers that are none


def with_id(message_id: Any, type: str = 'reply') -> str:
    return json.dumps({'type': type, 'id': message_id, 'payload': 'forged'})


async def test_a_forged_answer_resolves_nobody_and_is_counted() -> None:
    async with asked() as (_, peer, ws), asked() as (_, other, other_ws):
        askers = [asking(ws), asking(other_ws)]
        question, others = await peer.question(), await other.question()
        secret, _, number = question['id'].rpartition('-')
        forged = ['', 'x', 1, 0, -1, number, int(number), f'{secret}-2', secret, others['id']]
        peer.say(*map(with_id, forged))
        peer.say(*(with_id(each, 'error') for each in forged))
        await settled()
        await settled()
        assert peer.stats().unmatched_replies == 2 * len(forged)
        assert not any(asker.done() for asker in askers)
        assert len(peer.heard()) == 1

        peer.say(reply(question, 'mine'))
        other.say(reply(others, 'other'))
        assert await soon(asyncio.gather(*askers)) == ['mine', 'other']
        assert other.stats().unmatched_replies == 0


async def test_only_the_first_of_two_answers_counts() -> None:
    async with asked() as (_, peer, ws):
        asker = asking(ws)
        question = await peer.question()
        peer.say(reply(question, 'first'), reply(question, 'second'), refusal(question))
        assert await soon(asker) == 'first'
        await settled()
        assert peer.stats().unmatched_replies == 2
        assert len(peer.heard()) == 1


async def test_only_the_first_of_two_answers_counts_behind_a_busy_handler() -> None:
    async with asked() as (_, peer, _):
        peer.say('{"type":"ask","id":1}')
        question = await peer.question()
        peer.say(refusal(question, 'no'), reply(question, 'second'))
        [answer] = await peer.hears()
        await settled()
        assert answer['payload']['status'] == 502
        assert peer.stats().unmatched_replies == 1


async def test_a_message_of_another_type_with_a_requests_id_is_a_message() -> None:
    async with asked() as (desk, peer, ws):
        asker = asking(ws)
        question = await peer.question()
        peer.say(json.dumps({'type': 'note', 'id': question['id'], 'payload': 'mine'}))
        [answer] = await peer.hears()
        assert (answer['id'], desk.notes, asker.done()) == (question['id'], ['mine'], False)
        peer.say(reply(question, 'now'))
        assert await soon(asker) == 'now'


async def test_nor_is_it_an_answer_while_the_handler_runs_that_asks() -> None:
    async with asked() as (desk, peer, _):
        peer.say('{"type":"ask"}')
        question = await peer.question()
        peer.say(json.dumps({'type': 'note', 'id': question['id'], 'payload': 'mine'}))
        await settled()
        assert (desk.notes, len(peer.heard())) == ([], 1)
        peer.say(reply(question))
        assert [answer['id'] for answer in await peer.hears()] == [question['id']]
        assert desk.notes == ['mine']


@pytest.mark.parametrize('type', ['reply', 'error'])
async def test_an_answer_without_an_id_is_an_unknown_message(type: str) -> None:
    async with asked() as (_, peer, _):
        peer.say(json.dumps({'type': type, 'payload': 1}))
        [answer] = await peer.hears()
        assert (answer['type'], answer['payload']['status']) == ('error', 404)
        assert peer.stats().unmatched_replies == 0


async def test_an_answer_with_a_bad_id_is_malformed() -> None:
    async with asked() as (_, peer, ws):
        asker = asking(ws)
        question = await peer.question()
        ids: list[Any] = [None, 1.5, True, {}, [question['id']]]
        for bad in ids:
            peer.say(with_id(bad))
            [answer] = await peer.hears()
            assert answer['payload']['status'] == 400
        assert (peer.stats().unmatched_replies, asker.done()) == (0, False)
        peer.say(reply(question))
        await soon(asker)


async def test_on_message_gets_no_answers() -> None:
    class Own(WebSocketResource):
        def __init__(self) -> None:
            self.seen: asyncio.Queue[Any] = asyncio.Queue()

        async def on_connect(self, req: falcon.asgi.Request, ws: WebSocket, **params: Any) -> bool:
            opened.put_nowait((self, ws))
            return True

        async def on_message(self, ws: WebSocket, message: Any) -> None:
            self.seen.put_nowait(message)

    opened: asyncio.Queue[tuple[Own, WebSocket]] = asyncio.Queue()
    app = install(falcon.asgi.App())
    app.add_websocket_route('/ws', Own)
    async with serve(app) as served, served.client('/ws') as client:
        resource, ws = await soon(opened.get())
        asker = asking(ws)
        question = await client.receive()
        await client.send(with_id('forged'))
        await client.send(reply(question, 1))
        assert await soon(asker) == 1
        await client.send('{"type":"reply"}')
        assert await soon(resource.seen.get()) == {'type': 'reply'}
        assert app.ws_connection_manager.stats().unmatched_replies == 1


async def test_nobody_can_guess_the_ids_of_another_connection() -> None:
    secrets = set()
    for _ in range(20):
        async with asked() as (_, peer, ws):
            ids = []
            for _ in range(2):
                asker = asking(ws)
                question = await peer.question()
                ids.append(question['id'])
                peer.say(reply(question))
                await soon(asker)
            assert ids[0] != ids[1]
            secret = ids[0].rpartition('-')[0]
            assert ids[1].startswith(secret)
            assert secret not in ws.id
            assert ws.id not in secret
            secrets.add(secret)
    assert len(secrets) == 20
    assert all(len(secret) * 6 >= 64 for secret in secrets)  # base64 has 6 bits a character


# -- the bound


async def test_no_more_may_wait_than_the_limit_and_an_answer_makes_room() -> None:
    async with asked(limits=Limits(max_pending_requests=2)) as (_, peer, ws):
        askers = [asking(ws, number) for number in range(2)]
        questions = await peer.hears(2)
        with pytest.raises(TooManyRequests, match='2 requests to this client') as raised:
            await ws.request('question')
        assert raised.value.max_requests == 2
        assert len(peer.heard()) == 2

        peer.say(reply(questions[0], 'first'))
        assert await soon(askers[0]) == 'first'
        third = asking(ws)
        peer.say(reply(await peer.question(), 'third'), reply(questions[1], 'second'))
        assert await soon(asyncio.gather(askers[1], third)) == ['second', 'third']


@pytest.mark.parametrize('how', ['times out', 'is cancelled'])
async def test_who_gives_up_makes_room_too(how: str) -> None:
    async with asked(limits=Limits(max_pending_requests=1)) as (_, peer, ws):
        asker = asking(ws, timeout=0.01 if how == 'times out' else None)
        await peer.question()
        if how == 'is cancelled':
            asker.cancel()
        await asyncio.wait([asker])
        again = asking(ws)
        peer.say(reply(await peer.question(), 'yes'))
        assert await soon(again) == 'yes'
        with pytest.raises((ReplyTimeout, asyncio.CancelledError)):
            asker.result()


async def test_none_is_no_bound() -> None:
    async with asked(limits=Limits(max_pending_requests=None)) as (_, peer, ws):
        askers = [asking(ws, number) for number in range(1000)]
        peer.say(*(reply(each, each['payload']) for each in await peer.hears(1000)))
        assert await soon(asyncio.gather(*askers)) == list(range(1000))


# -- inside a handler


async def test_an_answer_overtakes_what_waits_and_that_is_handled_afterwards_in_order(
    ws_implementation: str, logs: Logs
) -> None:
    async with served_desk(ws_implementation) as (desk, _, client, _):
        await client.send({'type': 'ask', 'id': 1, 'payload': 'who?'})
        question = await client.receive()
        for number in range(100):
            await client.send(note(number))
        await client.send(reply(question, 'me'))
        for number in range(100, 110):
            await client.send(note(number))
        assert await client.receive() == {'type': 'reply', 'id': 1, 'payload': 'me'}
        await client.ask({'type': 'note', 'id': 2, 'payload': 'last'})
    assert desk.notes == [*range(110), 'last']
    assert logs.lines == []


async def test_behind_a_full_inbox_an_answer_comes_too_late_and_nothing_is_lost(
    ws_implementation: str, logs: Logs
) -> None:
    limits = Limits(max_inbox_messages=4, request_timeout_seconds=0.1)
    async with served_desk(ws_implementation, limits=limits) as (desk, _, client, ws):
        await client.send({'type': 'ask', 'id': 1})
        question = await client.receive()
        for number in range(50):
            await client.send(note(number))
        await client.send(reply(question, 'me'))
        assert (await client.receive())['payload']['status'] == 504
        await client.ask({'type': 'note', 'id': 2, 'payload': 'last'})
        assert desk.notes == [*range(50), 'last']
        assert ws.manager.stats().unmatched_replies == 1
    assert all('did not answer' in line for line in logs.take())


class Interviewer(Desk):
    async def on_ws_in_turn(self, ws: WebSocket, payload: int) -> list[Any]:
        return [await ws.request('question', number) for number in range(payload)]

    async def on_ws_at_once(self, ws: WebSocket, payload: int) -> list[Any]:
        return await asyncio.gather(*(ws.request('question', n) for n in range(payload)))

    async def on_ws_in_a_group(self, ws: WebSocket, payload: int) -> list[Any]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ws.request('question', n)) for n in range(payload)]
        return [task.result() for task in tasks]


@pytest.mark.parametrize('how', ['in_turn', 'at_once', 'in_a_group'])
async def test_a_handler_may_ask_as_often_as_it_likes(how: str, ws_implementation: str) -> None:
    async with served_desk(ws_implementation, Interviewer()) as (_, _, client, _):
        for number in range(2):
            await client.send({'type': how, 'id': number, 'payload': 10})
        for number in range(2):
            for _ in range(10):
                question = await client.receive()
                await client.send(reply(question, question['payload'] + 1))
            answer = await client.receive()
            assert (answer['id'], answer['payload']) == (number, list(range(1, 11)))


async def test_a_request_and_its_answer_may_ask_back() -> None:
    async with asked() as (_, peer, _):
        peer.say('{"type":"ask","id":1,"payload":"why?"}')
        question = await peer.question()
        peer.say('{"type":"ask","id":2,"payload":"why do you ask?"}', reply(question, 'so'))
        assert [(each['type'], each['payload']) for each in await peer.hears(2)] == [
            ('reply', 'so'),
            ('question', 'why do you ask?'),
        ]


async def test_a_handler_that_asks_may_receive_too() -> None:
    class Listening(Desk):
        async def on_ws_listen(self, ws: WebSocket) -> list[Any]:
            text, answer = await asyncio.gather(ws.receive_text(), ws.request('question'))
            return [text, answer]

    async with asked(Listening()) as (_, peer, _):
        peer.say('{"type":"listen","id":1}')
        question = await peer.question()
        peer.say(reply(question, 'answer'), 'text')
        assert [each['payload'] for each in await peer.hears()] == [['text', 'answer']]


async def test_afterwards_the_connection_is_read_directly_again() -> None:
    async with asked() as (desk, peer, ws):
        peer.say('{"type":"ask","id":1}')
        peer.say(reply(await peer.question()))
        await peer.hears()
        peer.say(note(1))
        await settled()
        assert (desk.notes, ws.inbox.reads_directly) == ([1], True)


async def test_a_client_that_is_accepted_by_hand_can_be_asked_before_it_is_let_in(
    ws_implementation: str, logs: Logs
) -> None:
    class Doorkeeper(Desk):
        async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            await ws.accept()
            await super().on_ws_connect(req, ws)
            if await ws.request('question', 'password?') != 'please':
                raise falcon.HTTPForbidden

    async with served_desk(ws_implementation, Doorkeeper()) as (desk, served, client, _):
        for number in range(3):
            await client.send(note(number))
        await client.send(reply(await client.receive(), 'please'))
        await client.ask({'type': 'note', 'id': 1, 'payload': 'last'})
        assert desk.notes == [0, 1, 2, 'last']
        async with served.client('/ws') as stranger:
            await stranger.send(reply(await stranger.receive(), 'now!'))
            assert await stranger.closed() == 3403
        await client.close()
        assert await soon(desk.ends.get()) == 1000
    assert desk.ends.empty()
    assert logs.lines == []


async def test_before_the_accept_nothing_can_be_asked() -> None:
    class Hasty(Desk):
        async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            with pytest.raises(falcon.OperationNotAllowed, match='before the handshake'):
                await ws.request('question')
            await super().on_ws_connect(req, ws)

    async with asked(Hasty()) as (_, peer, _):
        assert peer.heard() == []


# -- what a handler does not catch


@pytest.mark.parametrize('words', ['"id":1,', ''])
async def test_a_time_out_that_is_not_caught_is_answered_504(words: str, logs: Logs) -> None:
    async with asked(limits=Limits(request_timeout_seconds=0.01)) as (_, peer, _):
        peer.say(f'{{{words}"type":"ask"}}')
        await peer.question()
        [answer] = await peer.hears()
        assert (answer['type'], answer['payload']['status']) == ('error', 504)
        assert answer.get('id') == (1 if words else None)
    [line] = logs.take()
    assert "Asker.on_ws_ask: the client did not answer the request 'question'" in line


async def test_an_error_that_is_not_caught_is_answered_502_and_quotes_nothing(
    logs: Logs, caplog: pytest.LogCaptureFixture
) -> None:
    async with asked(crash_policy='close') as (_, peer, _):
        peer.say('{"type":"ask","id":1}')
        question = await peer.question()
        peer.say(refusal(question, {'status': 200, 'title': 'SECRET', 'description': 'SECRET'}))
        [answer] = await peer.hears()
        assert (answer['id'], answer['payload']['status']) == (1, 502)
        assert 'SECRET' not in str(answer)
    assert [record.exc_info for record in caplog.records] == [None]
    [line] = logs.take()
    assert 'SECRET' not in line


async def test_a_group_of_nothing_but_unanswered_requests_is_no_crash(logs: Logs) -> None:
    class Grouping:
        async def on_ws_go(self, ws: WebSocket) -> None:
            async with asyncio.TaskGroup() as group:
                for _ in range(3):
                    group.create_task(ws.request('question', timeout=0.01))

    app = install(falcon.asgi.App())
    app.add_route('/ws', Grouping())
    async with serve(app) as served, served.client('/ws') as client:
        await client.send({'type': 'go', 'id': 1})
        for _ in range(3):
            assert (await client.receive())['type'] == 'question'
        answer = await client.receive()
        assert (answer['id'], answer['payload']['status']) == (1, 504)
    [line] = logs.take()
    assert 'did not answer' in line


async def test_too_many_requests_are_the_apps_own_doing(logs: Logs) -> None:
    async with asked(limits=Limits(max_pending_requests=1)) as (_, peer, ws):
        asker = asking(ws)
        question = await peer.question()
        peer.say('{"type":"ask","id":1}')
        [answer] = await peer.hears()
        assert answer['payload']['status'] == 500
        peer.say(reply(question))
        await soon(asker)
    [line] = logs.take()
    assert 'Asker.on_ws_ask raised TooManyRequests' in line


async def test_the_apps_own_error_handler_has_the_first_word() -> None:
    desk = Asker()
    app = install(falcon.asgi.App(), limits=Limits(request_timeout_seconds=0.01))
    app.add_error_handler(TimeoutError, explain)
    app.add_route('/ws', desk)
    async with serve(app) as served, served.client('/ws') as client:
        await client.send({'type': 'ask', 'id': 1})
        await client.receive()
        assert (await client.receive())['payload']['status'] == 409


# -- from elsewhere


async def test_a_worker_and_an_http_resource_can_ask(ws_implementation: str, logs: Logs) -> None:
    class Ask:
        async def on_get(
            self, req: falcon.asgi.Request, resp: falcon.asgi.Response, connection_id: str
        ) -> None:
            resp.media = await manager.request_connection(connection_id, 'question', 'http')

    async def worker(found: asyncio.Queue[Any]) -> None:
        ws = await desk.connected.get()
        found.put_nowait(await manager.request_connection(ws.id, 'question', 'worker'))
        found.put_nowait(ws.id)

    desk, manager = Asker(), WebSocketConnectionManager()
    found: asyncio.Queue[Any] = asyncio.Queue()
    app = install(falcon.asgi.App(), manager=manager)
    app.add_route('/ws', desk)
    app.add_route('/ask/{connection_id}', Ask())
    app.add_websocket_worker(worker, found)
    async with serve(app, ws_implementation) as served, served.client('/ws') as client:
        question = await client.receive()
        await client.send(reply(question, question['payload'] * 2))
        assert await soon(found.get()) == 'worker' * 2
        async with httpx.AsyncClient(base_url=served.http, timeout=PATIENCE_SECONDS) as http:
            asker = asyncio.create_task(http.get(f'/ask/{await soon(found.get())}'))
            question = await client.receive()
            await client.send(reply(question, question['payload'] * 2))
            assert (await soon(asker)).json() == 'http' * 2
    assert logs.lines == []


async def test_who_is_busy_can_be_asked_from_elsewhere(ws_implementation: str) -> None:
    async with served_desk(ws_implementation) as (desk, _, client, ws):
        await client.send('{"type":"work"}')
        await soon(desk.begun.wait())
        asker = asyncio.create_task(ws.manager.request_connection(ws.id, 'question'))
        await client.send(note(1))
        await client.send(reply(await client.receive(), 'here'))
        assert await soon(asker) == 'here'
        assert desk.notes == []
        desk.release.set()
        await client.ask({'type': 'note', 'id': 1, 'payload': 2})
        assert desk.notes == [1, 2]


async def test_who_becomes_busy_before_the_answer_is_found_by_the_sweep() -> None:
    async with asked() as (desk, peer, ws):
        asker = asking(ws)
        question = await peer.question()
        peer.say('{"type":"work"}', note(1), reply(question, 'here'))
        assert await soon(asker) == 'here'
        assert desk.notes == []
        desk.release.set()


async def test_the_manager_raises_what_a_request_raises() -> None:
    async with asked() as (_, peer, ws):
        ask = ws.manager.request_connection
        with pytest.raises(ReplyTimeout):
            await ask(ws.id, 'question', timeout=0.01)
        await peer.question()
        asker = asyncio.create_task(ask(ws.id, 'question'))
        peer.say(refusal(await peer.question()))
        with pytest.raises(ReplyError):
            await soon(asker)
        with pytest.raises(ConnectionNotFound):
            await ask('nobody', 'question')


async def test_a_connection_that_was_added_by_hand_cannot_be_asked() -> None:
    class Foreign:
        async def send_text(self, payload: str) -> None:
            raise AssertionError('nothing is sent')

        async def send_data(self, payload: bytes) -> None:
            raise AssertionError('nothing is sent')

        async def close(self, code: int | None = None, reason: str | None = None) -> None:
            raise AssertionError('nobody closes')

    manager = WebSocketConnectionManager()
    manager.add_connection('a', Foreign())
    with pytest.raises(falcon.OperationNotAllowed, match="'a' was added by hand"):
        await manager.request_connection('a', 'question')
    manager.remove_connection('a')


# -- beside an old loop


class Old(Echo):
    """An old loop, and a handler beside it that asks."""

    def __init__(self) -> None:
        super().__init__()
        self.sockets: asyncio.Queue[WebSocket] = asyncio.Queue()

    async def on_websocket(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
        await ws.accept()
        self.sockets.put_nowait(ws)
        try:
            while True:
                text = await ws.receive_text()
                self.old.append(text)
                if text == 'ask':
                    await ws.send_text(json.dumps(await ws.request('question', 'old')))
        except falcon.WebSocketDisconnected as error:
            self.seen.append(error.code)

    async def on_ws_ask(self, ws: WebSocket, payload: Any) -> Any:
        try:
            return await ws.request('question', payload)
        except falcon.WebSocketDisconnected:
            with pytest.raises(falcon.WebSocketDisconnected):  # at once, too
                await ws.request('question')
            self.seen.append('gone')
            raise


@pytest.mark.parametrize('queue', [4, 0])
async def test_beside_an_old_loop_anybody_can_ask_while_it_waits(
    queue: int, ws_implementation: str, logs: Logs
) -> None:
    old = Old()
    async with (
        serve(adopted(old, queue), ws_implementation) as served,
        served.client('/ws') as client,
    ):
        ws = await soon(old.sockets.get())
        await client.ask({'type': 'taken', 'id': 1})  # so the loop waits
        asker = asking(ws)
        question = await client.receive()
        strays = [with_id('forged'), '{"type":"reply"}', with_id('forged', 'error')]
        for stray in strays:
            await client.send(stray)
        await client.send(reply(question, 'here'))
        assert await soon(asker) == 'here'
        await client.send(reply(question, 'twice'))
        await client.ask({'type': 'taken', 'id': 2})
        assert old.old == [*strays, reply(question, 'twice')]
        assert ws.manager.stats().unmatched_replies == 0  # they are the loop's
    assert all('keeps its on_websocket' in line for line in logs.take())


async def test_beside_an_old_loop_a_taken_messages_handler_and_the_loop_can_ask(
    ws_implementation: str,
) -> None:
    old = Old()
    async with (
        serve(adopted(old), ws_implementation) as served,
        served.client('/ws') as client,
    ):
        for words, asked_for in (('{"type":"ask","id":1,"payload":"new"}', 'new'), ('ask', 'old')):
            await client.send(words)
            question = await client.receive()
            assert question['payload'] == asked_for
            await client.send('in front')
            await client.send(reply(question, 'here'))
            answer = await client.receive()
            assert (answer['payload'] if asked_for == 'new' else answer) == 'here'
        await client.ask({'type': 'taken', 'id': 2})
        assert old.old == ['in front', 'ask', 'in front']


LIMIT = Limits(request_timeout_seconds=0.05)


@pytest.mark.parametrize(('queue', 'in_front'), [(0, 0), (0, 1), (4, 5), (4, 20)], ids=str)
async def test_beside_an_old_loop_an_answer_that_falcon_does_not_read_comes_too_late(
    queue: int, in_front: int, ws_implementation: str, logs: Logs
) -> None:
    """Falcon reads as far ahead as `max_receive_queue` says, and not at all by 0."""
    old = Old()
    async with (
        serve(adopted(old, queue, limits=LIMIT), ws_implementation) as served,
        served.client('/ws') as client,
    ):
        await client.send('{"type":"ask","id":1}')
        question = await client.receive()
        for _ in range(in_front):
            await client.send('in front')
        await client.send(reply(question, 'here'))
        assert (await client.receive())['payload']['status'] == 504
        await client.ask({'type': 'taken', 'id': 2})
        assert old.old == [*['in front'] * in_front, reply(question, 'here')]  # it is the loop's
    logs.take()


@pytest.mark.parametrize('end', [client_closes, client_aborts, somebody_kicks, server_stops])
@pytest.mark.parametrize('words', ['{"type":"ask"}', 'ask'])
async def test_beside_an_old_loop_the_end_of_the_connection_ends_all_waiting(
    words: str, end: End, ws_implementation: str, logs: Logs
) -> None:
    old = Old()
    async with (
        serve(adopted(old), ws_implementation) as served,
        served.client('/ws') as client,
    ):
        ws = await soon(old.sockets.get())
        await client.send(words)
        assert (await client.receive())['type'] == 'question'

        await soon(end(client, served, ws))

        code = await old.end()
        assert code in ENDS[end]
        assert old.seen == [*['gone'] * ('type' in words), code]
    assert ws.manager.stats().connections == 0
    assert all('keeps its on_websocket' in line for line in logs.take())


# -- many at once


CONNECTIONS, EACH, SILENT = 100, 100, 10


async def answer_all(client: ClientConnection) -> None:
    async for raw in client:
        question = json.loads(raw)
        await client.send(reply(question, question['payload'] + 1))


async def answer_nothing(client: ClientConnection) -> None:
    async for _ in client:
        pass


def pending_futures() -> int:
    gc.collect()
    futures = [each for each in gc.get_objects() if type(each) is asyncio.Future]
    return sum(not each.done() for each in futures)


def timers() -> int:
    loop: Any = asyncio.get_running_loop()
    return sum(not each.cancelled() for each in loop._scheduled)


async def test_of_10_000_requests_in_flight_each_has_its_answer_or_its_time_out(
    logs: Logs,
) -> None:
    desk = Asker()
    app = install(falcon.asgi.App())
    app.add_route('/ws', desk)
    async with serve(app) as served:
        tasks, futures = asyncio.all_tasks(), pending_futures()
        await ask_them_all(desk, f'ws://127.0.0.1:{served.port}/ws')
        for _ in range(CONNECTIONS):
            assert await soon(desk.ends.get()) == 1000
        while not asyncio.all_tasks() <= tasks:
            await asyncio.sleep(0)
        assert pending_futures() <= futures
        assert not [each for each in gc.get_objects() if type(each) is Requests]
    stats = app.ws_connection_manager.stats()
    assert (stats.connections, stats.unmatched_replies) == (0, 0)
    assert logs.lines == []


async def ask_them_all(desk: Desk, url: str) -> None:
    """Ask each client a hundred times; the first ten say nothing."""
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        sockets, clients = [], []
        for number in range(CONNECTIONS):
            client = await stack.enter_async_context(
                connect(url, compression=None, ping_interval=None)
            )
            clients.append(client)
            group.create_task((answer_nothing if number < SILENT else answer_all)(client))
            sockets.append(await soon(desk.connected.get()))
        before = timers()
        askers = [
            asking(ws, number * EACH + each, timeout=0.5 if number < SILENT else 1000)
            for number, ws in enumerate(sockets)
            for each in range(EACH)
        ]
        await asyncio.sleep(0)
        assert sum(len(ws._connection.requests or ()) for ws in sockets) == CONNECTIONS * EACH

        answers = await asyncio.wait_for(asyncio.gather(*askers, return_exceptions=True), 50)

        silent = SILENT * EACH
        assert all(isinstance(each, ReplyTimeout) for each in answers[:silent])
        assert answers[silent:] == list(range(silent + 1, CONNECTIONS * EACH + 1))
        assert not any(ws._connection.requests for ws in sockets)
        assert timers() <= before
        await asyncio.gather(*(client.close() for client in clients))
