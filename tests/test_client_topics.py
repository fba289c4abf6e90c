"""Clients that subscribe to topics by message, where the route lets them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import falcon
import falcon.asgi
import pytest

from falcon_ws_mw import (
    ConfigurationError,
    DeliveryReport,
    Limits,
    WebSocket,
    WebSocketConnectionManager,
    WebSocketResource,
    handles_message,
    install,
)

from .conftest import Logs
from .servers import PATIENCE_SECONDS, Client, serve
from .test_docs import start


class Ticker:
    """Lets everybody subscribe to prices, and answers in other ways for names that say so."""

    ws_client_topics = True

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.ends: asyncio.Queue[frozenset[str]] = asyncio.Queue()

    async def ws_authorize(self, ws: WebSocket, action: str, name: str) -> Any:
        self.asked.append((action, name))
        answers = {'no': False, 'nothing': None, 'one': 1, 'text': 'yes'}
        if name == 'error':
            raise falcon.HTTPError(402, title='Pay first')
        if name == 'bug':
            raise LookupError('expected')
        return answers.get(name, True)

    async def on_ws_publish(self, ws: WebSocket, payload: dict[str, Any]) -> int:
        report = await ws.manager.publish(payload['topic'], {'about': payload['topic']})
        return report.queued

    async def on_ws_disconnect(self, ws: WebSocket, close_code: int) -> None:
        self.ends.put_nowait(ws.topic_filters)


@asynccontextmanager
async def ticking(
    resource: object = None, ws_implementation: str = 'websockets-sansio', **options: Any
) -> AsyncIterator[tuple[Client, WebSocketConnectionManager]]:
    app = install(falcon.asgi.App(), **options)
    app.add_route('/ws', resource or Ticker())
    async with serve(app, ws_implementation) as served, served.client('/ws') as client:
        yield client, app.ws_connection_manager


async def say(client: Client, what: str, payload: Any) -> Any:
    """Ask for something, and give the payload of the answer."""
    answer = await client.ask({'type': what, 'id': 7, 'payload': payload})
    assert (answer['type'], answer['id']) in {('reply', 7), ('error', 7)}
    return answer['payload']


async def subscribe(client: Client, topic_filter: object) -> Any:
    return await say(client, 'subscribe', {'topic_filter': topic_filter})


async def status_of(client: Client, what: str, payload: Any) -> int | None:
    """The status of the error that it was answered by, `None` if by none."""
    answer = await say(client, what, payload)
    status: int | None = answer.get('status')
    return status


async def heard(client: Client, topic: str) -> list[Any]:
    """What a client hears while it publishes on a topic itself."""
    await client.send({'type': 'publish', 'id': 'end', 'payload': {'topic': topic}})
    messages = []
    while 'about' in (message := await client.receive()):
        messages.append(message['about'])
    assert message['payload'] == len(messages)
    return messages


# -- subscribing


async def test_who_has_subscribed_hears_what_is_published(
    ws_implementation: str, logs: Logs
) -> None:
    async with ticking(ws_implementation=ws_implementation) as (client, manager):
        assert await heard(client, 'prices/tea') == []

        assert await subscribe(client, 'prices/+') == {'topic_filter': 'prices/+'}

        assert await heard(client, 'prices/tea') == ['prices/tea']
        assert await heard(client, 'weather/rain') == []
        assert manager.stats().topic_filters == 1
    assert logs.lines == []


async def test_who_leaves_while_his_right_is_asked_for_is_no_error(logs: Logs) -> None:
    asked, goes_on = asyncio.Event(), asyncio.Event()
    handled: list[Exception] = []

    class Slow(Ticker):
        async def ws_authorize(self, ws: WebSocket, action: str, name: str) -> Any:
            asked.set()
            await goes_on.wait()
            return True

    async def handle(req: Any, resp: Any, error: Exception, params: Any, **more: Any) -> None:
        handled.append(error)

    resource = Slow()
    app = install(falcon.asgi.App())
    app.add_route('/ws', resource)
    app.add_error_handler(Exception, handle)
    async with serve(app) as served:
        async with served.client('/ws') as client:
            await client.send({'type': 'subscribe', 'payload': {'topic_filter': 'a'}})
            await asked.wait()
        (ws,) = app.ws_connection_manager.connections.values() or (None,)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while ws is not None and not ws.closed:
                await asyncio.sleep(0.01)
            goes_on.set()
            assert await resource.ends.get() == frozenset()
        stats = app.ws_connection_manager.stats()
    assert handled == []
    assert (stats.errors, stats.topic_filters) == ({}, 0)
    assert logs.lines == []


async def test_overlapping_filters_deliver_once() -> None:
    async with ticking() as (client, manager):
        for topic_filter in ('a/#', 'a/+', 'a/b', '#', 'a/b'):
            await subscribe(client, topic_filter)

        assert await manager.publish('a/b', {'about': 'a/b'}) == DeliveryReport(1, 0)

        assert await client.receive() == {'about': 'a/b'}
        assert await heard(client, 'a/b') == ['a/b']
        assert manager.stats().topic_filters == 4


async def test_who_has_unsubscribed_hears_no_more_and_need_not_have_subscribed() -> None:
    resource = Ticker()
    async with ticking(resource) as (client, manager):
        await subscribe(client, 'a')

        for _ in range(2):
            assert await say(client, 'unsubscribe', {'topic_filter': 'a'}) == {'topic_filter': 'a'}

        assert await heard(client, 'a') == []
        assert manager.stats().topic_filters == 0
    assert resource.asked == [('subscribe', 'a')]


async def test_without_an_id_nothing_is_answered() -> None:
    async with ticking() as (client, _):
        await client.send({'type': 'subscribe', 'payload': {'topic_filter': 'a'}})
        assert await heard(client, 'a') == ['a']
        await client.send({'type': 'unsubscribe', 'payload': {'topic_filter': 'a'}})
        assert await heard(client, 'a') == []


async def test_an_error_is_said_without_an_id_too() -> None:
    async with ticking() as (client, _):
        answer = await client.ask({'type': 'subscribe', 'payload': {'topic_filter': 'no'}})
        assert (answer['type'], answer['payload']['status']) == ('error', 403)
        assert 'id' not in answer


async def test_a_filter_of_8000_characters_is_fine() -> None:
    async with ticking() as (client, _):
        topic = '/'.join(['abcdefg'] * 1000)
        await subscribe(client, topic)
        assert await heard(client, topic) == [topic]


async def test_the_end_of_a_connection_clears_the_index_and_what_it_had_can_be_read() -> None:
    resource = Ticker()
    async with ticking(resource) as (client, manager):
        for topic_filter in ('a/#', 'b'):
            await subscribe(client, topic_filter)
        await client.close()
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await resource.ends.get() == {'a/#', 'b'}
        assert manager.stats().topic_filters == 0
        assert await manager.publish('a', 'x') == DeliveryReport(0, 0)


async def test_a_kick_ends_what_is_heard_at_once() -> None:
    async with ticking() as (client, manager):
        await subscribe(client, 'a')
        await manager.close_connection(next(iter(manager.connections)), 4000)
        assert manager.stats().topic_filters == 0
        assert await client.closed() == 4000


# -- who may


@pytest.mark.parametrize('name', ['no', 'nothing', 'one', 'text'])
async def test_only_true_lets_in(name: str) -> None:
    resource = Ticker()
    async with ticking(resource) as (client, manager):
        assert await status_of(client, 'subscribe', {'topic_filter': name}) == 403
        assert manager.stats().topic_filters == 0
        assert await heard(client, name) == []
    assert resource.asked == [('subscribe', name)]


async def test_the_error_that_it_raises_is_the_answer(logs: Logs) -> None:
    async with ticking() as (client, manager):
        answer = await subscribe(client, 'error')
        assert (answer['status'], answer['title']) == (402, 'Pay first')
        assert manager.stats().topic_filters == 0
    assert logs.lines == []


async def test_its_crash_is_logged_and_lets_nobody_in(logs: Logs) -> None:
    async with ticking() as (client, manager):
        assert await status_of(client, 'subscribe', {'topic_filter': 'bug'}) == 500
        assert manager.stats().topic_filters == 0
    [line] = logs.take()
    assert 'Ticker' in line
    assert 'subscribe' in line


async def test_it_is_asked_for_each_filter_each_time() -> None:
    resource = Ticker()
    async with ticking(resource) as (client, _):
        for topic_filter in ('a', 'b', 'a'):
            await subscribe(client, topic_filter)
    assert resource.asked == [('subscribe', name) for name in ('a', 'b', 'a')]


async def test_one_that_is_left_before_the_answer_is_not_subscribed() -> None:
    class Kicking(Ticker):
        async def ws_authorize(self, ws: WebSocket, action: str, name: str) -> Any:
            await ws.close(4001)
            return True

    async with ticking(Kicking()) as (client, manager):
        await client.send({'type': 'subscribe', 'id': 1, 'payload': {'topic_filter': 'a'}})
        assert await client.closed() == 4001
        assert manager.stats().topic_filters == 0


# -- what cannot be subscribed to


NO_FILTERS: list[Any] = [
    None,
    {},
    [],
    'a',
    5,
    {'filter': 'a'},
    {'topic_filter': None},
    {'topic_filter': 5},
    {'topic_filter': ['a']},
    {'topic_filter': ''},
    {'topic_filter': 'a\0b'},
    {'topic_filter': 'a/#/b'},
    {'topic_filter': 'a+'},
    {'topic_filter': 'a/b#'},
    {'topic_filter': 'x' * 65_536},
]


@pytest.mark.parametrize('what', ['subscribe', 'unsubscribe'])
async def test_what_names_no_filter_is_answered_400(what: str, logs: Logs) -> None:
    class Patient(Ticker):
        ws_limits = Limits(max_message_bytes=None)

    resource = Patient()
    async with ticking(resource) as (client, manager):
        statuses = [await status_of(client, what, payload) for payload in NO_FILTERS]
        assert statuses == [400] * len(NO_FILTERS)
        assert manager.stats().topic_filters == 0
    assert resource.asked == []
    assert logs.lines == []


async def test_a_client_may_have_so_many_filters_and_no_more() -> None:
    class Limited(Ticker):
        ws_limits = Limits(max_topic_filters=2)

    async with ticking(Limited()) as (client, manager):
        wanted = ['a', 'b', 'c', 'a']
        answers = [await status_of(client, 'subscribe', {'topic_filter': f}) for f in wanted]
        assert answers == [None, None, 429, None]

        await say(client, 'unsubscribe', {'topic_filter': 'a'})

        assert await status_of(client, 'subscribe', {'topic_filter': 'c'}) is None
        assert manager.stats().topic_filters == 2


async def test_by_default_it_is_128_and_none_is_no_limit() -> None:
    class Unlimited(Ticker):
        ws_limits = Limits(max_topic_filters=None)

    for resource, accepted in ((Ticker(), 128), (Unlimited(), 130)):
        async with ticking(resource) as (client, manager):
            for number in range(130):
                await subscribe(client, f'topic/{number}')
            assert manager.stats().topic_filters == accepted


# -- routes


async def test_a_route_that_does_not_ask_for_it_knows_no_such_message(logs: Logs) -> None:
    class Closed(Ticker):
        ws_client_topics = False

    async with ticking(Closed()) as (client, manager):
        for what in ('subscribe', 'unsubscribe'):
            assert await status_of(client, what, {'topic_filter': 'a'}) == 404
        assert manager.stats().topic_filters == 0
    assert logs.lines == []


async def test_such_a_route_may_answer_subscribe_itself() -> None:
    class Own:
        async def on_ws_subscribe(self, ws: WebSocket, payload: Any) -> str:
            return 'mine'

    async with ticking(Own()) as (client, _):
        assert await subscribe(client, 'a') == 'mine'


async def test_a_resource_for_each_connection_is_asked_itself() -> None:
    class Personal(WebSocketResource):
        ws_client_topics = True

        async def on_connect(self, req: falcon.asgi.Request, ws: WebSocket, **params: Any) -> bool:
            self.allowed = ws.req.get_param('allowed')
            return True

        async def ws_authorize(self, ws: WebSocket, action: str, name: str) -> bool:
            assert ws is self.ws
            return name == self.allowed

    app = install(falcon.asgi.App())
    app.add_websocket_route('/ws', Personal)
    async with (
        serve(app) as served,
        served.client('/ws?allowed=a') as one,
        served.client('/ws?allowed=b') as two,
    ):
        assert await status_of(one, 'subscribe', {'topic_filter': 'a'}) is None
        assert await status_of(two, 'subscribe', {'topic_filter': 'a'}) == 403


async def test_beside_an_own_on_websocket_the_rest_of_the_stream_is_untouched(
    ws_implementation: str, logs: Logs
) -> None:
    class Old(Ticker):
        async def on_websocket(self, req: falcon.asgi.Request, ws: falcon.asgi.WebSocket) -> None:
            await ws.accept()
            try:
                while True:
                    await ws.send_text(f'"old loop: {await ws.receive_text()}"')
            except falcon.WebSocketDisconnected:
                pass

    async with ticking(Old(), ws_implementation) as (client, manager):
        assert await client.ask('1') == 'old loop: 1'
        assert await subscribe(client, 'a/+') == {'topic_filter': 'a/+'}
        assert await status_of(client, 'subscribe', {'topic_filter': 'no'}) == 403
        assert await heard(client, 'a/b') == ['a/b']
        await manager.publish('a/c', {'about': 'a/c'})
        assert await client.receive() == {'about': 'a/c'}
        assert await client.ask('2') == 'old loop: 2'
        await say(client, 'unsubscribe', {'topic_filter': 'a/+'})
        assert await heard(client, 'a/b') == []
    assert [line for line in logs.take() if 'keeps its on_websocket' not in line] == []


# -- what cannot work


class Hookless:
    ws_client_topics = True

    async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
        pass


class WithAFunction(Hookless):
    def ws_authorize(self, ws: WebSocket, action: str, name: str) -> bool:
        return True


class WithTooFew(Hookless):
    async def ws_authorize(self, ws: WebSocket, action: str) -> bool:
        return True


class WithTooMany(Hookless):
    async def ws_authorize(self, ws: WebSocket, action: str, name: str, more: str) -> bool:
        return True


class WithNames(Hookless):
    async def ws_authorize(self, ws: WebSocket, *, action: str, name: str) -> bool:
        return True


class WithAWord(Ticker):
    ws_client_topics = 'yes'  # type: ignore[assignment]


class WithSubscribe(Ticker):
    async def on_ws_subscribe(self, ws: WebSocket) -> None:
        pass


class WithUnsubscribe(Ticker):
    @handles_message('bye', 'unsubscribe')
    async def leave(self, ws: WebSocket) -> None:
        pass


@pytest.mark.parametrize(
    ('cls', 'said'),
    [
        (Hookless, r'Hookless.*declare .*async def ws_authorize\(self, ws, action, name\)'),
        (WithAFunction, r'WithAFunction.*async def ws_authorize'),
        (WithTooFew, r'WithTooFew.ws_authorize.*\(ws, action, name\)'),
        (WithTooMany, r'WithTooMany.ws_authorize.*\(ws, action, name\)'),
        (WithNames, r'WithNames.ws_authorize.*by position'),
        (WithAWord, r"WithAWord.ws_client_topics='yes': expected True or False"),
        (WithSubscribe, r"WithSubscribe.*type 'subscribe'.*on_ws_subscribe"),
        (WithUnsubscribe, r"WithUnsubscribe.*type 'unsubscribe'.*leave"),
    ],
)
async def test_what_cannot_work_is_said_when_the_app_starts(cls: type, said: str) -> None:
    app = install(falcon.asgi.App())
    app.add_route('/ws', cls())

    with pytest.raises(ConfigurationError, match=said) as caught:
        await start(app)

    assert 'test_client_topics.py' in str(caught.value)
