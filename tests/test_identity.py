"""Whose a connection is, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
import math
import time
from typing import Any

import falcon
import falcon.asgi
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from falcon_ws_mw import (
    ConfigurationError,
    Envelope,
    IdentityExpired,
    InvalidName,
    Limits,
    WebSocket,
    WebSocketConnectionManager,
    install,
    sends,
)

from .clocks import NOON, Clocks, calendar_time, clocks
from .conftest import Logs
from .servers import PATIENCE_SECONDS, Client, Served, serve

__all__ = ['clocks']  # a fixture

PROTOCOL = 'falcon-ws.v1'
SPEAKS_IT: dict[str, Any] = {'subprotocols': [PROTOCOL]}


class Room:
    """Lets in whom the query names, for as long as it says; renews by message."""

    ws_expiry_notice_seconds: float | None = 30

    def __init__(self) -> None:
        self.ended: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()

    async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
        lasts = req.get_param_as_float('lasts')
        expires_at = None if lasts is None else calendar_time() + lasts
        await ws.identify(req.get_param('user'), expires_at)
        await ws.join_room('all')

    async def on_ws_renew(self, ws: WebSocket, payload: Any) -> Any:
        await ws.identify(payload.get('user', ws.user_id), payload.get('expires_at'))
        return [ws.user_id, ws.expires_at]

    async def on_ws_who(self, ws: WebSocket) -> Any:
        return [ws.id, ws.user_id, sorted(ws.rooms)]

    async def on_ws_disconnect(self, ws: WebSocket, close_code: int) -> None:
        self.ended.put_nowait((close_code, ws.user_id, ws.expires_at, sorted(ws.rooms)))

    async def end(self) -> tuple[Any, ...]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.ended.get()


@asynccontextmanager
async def serving(
    resource: object = None, ws_implementation: str = 'websockets-sansio', **options: Any
) -> AsyncIterator[tuple[Served, WebSocketConnectionManager]]:
    app = install(falcon.asgi.App(), **options)
    app.add_route('/ws', resource or Room())
    async with serve(app, ws_implementation) as served:
        yield served, app.ws_connection_manager


async def ask(client: Client, what: str, payload: Any = None) -> Any:
    """Ask for something, and give the payload of the answer."""
    answer = await client.ask({'type': what, 'id': 7, 'payload': payload})
    assert (answer['type'], answer['id']) in {('reply', 7), ('error', 7)}, answer
    return answer['payload']


async def renew(client: Client, **payload: Any) -> Any:
    return await ask(client, 'renew', payload)


async def end_of(client: Client) -> tuple[int | None, str | None]:
    """How it was closed; nothing was said to it before."""
    with pytest.raises(ConnectionClosed):
        await client.receive()
    return client.connection.close_code, client.connection.close_reason


# -- until when


async def test_who_is_known_until_a_time_is_told_before_and_closed_then(
    ws_implementation: str, clocks: Clocks, logs: Logs
) -> None:
    room = Room()
    async with (
        serving(room, ws_implementation) as (served, manager),
        served.client('/ws?user=ada&lasts=300', **SPEAKS_IT) as client,
    ):
        await ask(client, 'who')
        await clocks.pass_by(269)
        await ask(client, 'who')
        await clocks.pass_by(1)
        assert await client.receive() == {'type': 'expiring', 'payload': {'expires_in': 30.0}}
        await clocks.pass_by(29)
        await ask(client, 'who')
        await clocks.pass_by(1)
        assert await end_of(client) == (3401, 'the identity has expired')
        assert await room.end() == (3401, 'ada', NOON + 300, ['all'])
        assert manager.stats().expired == 1
        assert manager.stats().users == 0
    assert logs.lines == []


async def test_a_real_token_of_three_seconds_is_renewed_in_band_or_ends(
    ws_implementation: str, logs: Logs
) -> None:
    begun = time.monotonic()
    async with (
        serving(None, ws_implementation) as (served, _),
        served.client('/ws?user=ada&lasts=3', **SPEAKS_IT) as client,
    ):
        who = await ask(client, 'who')
        told = await client.receive()
        assert told['type'] == 'expiring'
        assert 0 < told['payload']['expires_in'] <= 1.5
        expires_at = time.time() + 3
        assert await renew(client, expires_at=expires_at) == ['ada', expires_at]

        assert (await client.receive())['type'] == 'expiring'
        assert await ask(client, 'who') == who
        assert (await end_of(client))[0] == 3401
        assert time.monotonic() - begun > 4
    assert logs.lines == []


async def test_renewing_keeps_the_connection_and_its_rooms(clocks: Clocks, logs: Logs) -> None:
    async with (
        serving() as (served, manager),
        served.client('/ws?user=ada&lasts=300', **SPEAKS_IT) as client,
    ):
        who = await ask(client, 'who')
        for _ in range(5):
            await clocks.pass_by(270)
            assert (await client.receive())['type'] == 'expiring'
            await renew(client, expires_at=clocks.calendar + 300)
            assert await ask(client, 'who') == who
        assert manager.stats().connections_total == 1
        await clocks.pass_by(300)
        assert (await client.receive())['type'] == 'expiring'
        assert (await end_of(client))[0] == 3401


async def test_to_say_the_same_again_without_a_time_keeps_the_time(clocks: Clocks) -> None:
    """By whichever clock: a calendar that was set back meanwhile does not make it longer."""
    async with serving() as (served, _), served.client('/ws?user=ada&lasts=300') as client:
        await clocks.pass_by(100)
        await clocks.jump(-3600)
        assert await renew(client) == ['ada', NOON + 300]
        await clocks.pass_by(199)
        await ask(client, 'who')
        await clocks.pass_by(1)
        assert (await end_of(client))[0] == 3401


async def test_infinity_is_for_ever(clocks: Clocks) -> None:
    async with serving() as (served, manager), served.client('/ws?user=ada&lasts=300') as client:
        (connection_id,) = manager.connections
        await manager.identify(connection_id, 'ada', math.inf)
        assert manager.connections[connection_id].expires_at is None
        await clocks.pass_by(10_000)
        await ask(client, 'who')


async def test_for_another_user_no_time_is_for_ever(clocks: Clocks) -> None:
    async with serving() as (served, _), served.client('/ws?user=ada&lasts=300') as client:
        assert await renew(client, user='bob') == ['bob', None]
        await clocks.pass_by(10_000)
        await ask(client, 'who')


async def test_a_time_that_is_shortened_counts(clocks: Clocks) -> None:
    async with serving() as (served, _), served.client('/ws?user=ada&lasts=300') as client:
        await renew(client, expires_at=clocks.calendar + 10)
        await clocks.pass_by(10)
        assert (await end_of(client))[0] == 3401


async def test_a_calendar_that_is_set_back_does_not_keep_it_alive(
    clocks: Clocks, logs: Logs
) -> None:
    async with serving() as (served, _), served.client('/ws?user=ada&lasts=300') as client:
        await ask(client, 'who')
        await clocks.jump(-86_400)
        await clocks.pass_by(299)
        await ask(client, 'who')
        await clocks.pass_by(1)
        assert (await end_of(client))[0] == 3401


async def test_a_calendar_that_is_set_forward_ends_it(clocks: Clocks, logs: Logs) -> None:
    async with (
        serving() as (served, _),
        served.client('/ws?user=ada&lasts=300', **SPEAKS_IT) as client,
    ):
        await ask(client, 'who')
        await clocks.jump(3600)
        await clocks.are_seen()
        assert await client.receive() == {'type': 'expiring', 'payload': {'expires_in': 0.0}}
        assert (await end_of(client))[0] == 3401


async def test_who_renews_while_it_ends_stays(clocks: Clocks, logs: Logs) -> None:
    """The deadline that is due is looked at in a task of its own, and may be renewed before."""
    async with serving() as (served, manager), served.client('/ws?user=ada&lasts=300') as client:
        connection_id = (await ask(client, 'who'))[0]
        looked = asyncio.create_task(clocks.pass_by(300))
        while not any(task.get_name() == 'falcon_ws_mw sweep' for task in asyncio.all_tasks()):
            await asyncio.sleep(0)
        await manager.identify(connection_id, 'ada', clocks.calendar + 300)
        await looked
        await clocks.pass_by(299)
        assert (await ask(client, 'who'))[0] == connection_id


async def test_it_is_the_manager_too_that_renews_and_ends(clocks: Clocks, logs: Logs) -> None:
    async with serving() as (served, manager), served.client('/ws?user=ada') as client:
        connection_id = (await ask(client, 'who'))[0]
        await manager.identify(connection_id, 'ada', clocks.calendar + 60)
        await clocks.pass_by(60)
        assert (await end_of(client))[0] == 3401


async def test_a_handshake_that_takes_longer_than_its_token_is_refused(
    clocks: Clocks, logs: Logs
) -> None:
    class Slow(Room):
        async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            await super().on_ws_connect(req, ws)
            await clocks.pass_by(300)

    async with serving(Slow()) as (served, manager):
        with pytest.raises(InvalidStatus) as refused:
            async with served.client('/ws?user=ada&lasts=300'):
                pass
        assert refused.value.response.status_code == 401
        assert manager.stats().expired == 1
        assert manager.stats().connections == 0


async def test_who_left_before_is_not_counted_as_expired(clocks: Clocks) -> None:
    room = Room()
    async with serving(room) as (served, manager):
        async with served.client('/ws?user=ada&lasts=300'):
            pass
        await room.end()
        async with served.client('/ws'):
            await clocks.pass_by(1000)
        assert manager.stats().expired == 0


async def test_an_old_loop_is_ended_alike(
    clocks: Clocks, ws_implementation: str, logs: Logs
) -> None:
    ended = asyncio.Queue[Any]()

    class Old:
        async def on_ws_who(self, ws: WebSocket) -> Any:
            return ws.user_id

        async def on_websocket(self, req: falcon.asgi.Request, ws: Any) -> None:
            await ws.accept()
            await ws.identify('ada', clocks.calendar + 60)
            try:
                while True:
                    await ws.receive_text()
            except falcon.WebSocketDisconnected as error:
                ended.put_nowait((error.code, ws.user_id))

    async with serving(Old(), ws_implementation) as (served, _), served.client('/ws') as client:
        assert await ask(client, 'who') == 'ada'
        await clocks.pass_by(60)
        assert (await end_of(client))[0] == 3401
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await ended.get() == (3401, 'ada')


# -- who is told before


async def test_who_does_not_speak_our_protocol_is_told_nothing(clocks: Clocks) -> None:
    async with serving() as (served, _), served.client('/ws?user=ada&lasts=300') as client:
        assert client.connection.subprotocol is None
        await clocks.pass_by(299)
        await ask(client, 'who')


@pytest.mark.parametrize(
    ('seconds', 'lasts', 'told_after'), [(30, 300, 270), (30, 40, 20), (30, 3, 1.5), (5, 300, 295)]
)
async def test_it_is_told_in_time_but_not_before_half_of_it_has_passed(
    seconds: float, lasts: float, told_after: float, clocks: Clocks
) -> None:
    class Telling(Room):
        ws_expiry_notice_seconds = seconds

    async with (
        serving(Telling()) as (served, _),
        served.client(f'/ws?user=ada&lasts={lasts}', **SPEAKS_IT) as client,
    ):
        await clocks.pass_by(told_after - 0.1)
        await ask(client, 'who')
        await clocks.pass_by(0.1)
        left = pytest.approx(lasts - told_after)
        assert await client.receive() == {'type': 'expiring', 'payload': {'expires_in': left}}


async def test_where_it_is_switched_off_nobody_is_told(clocks: Clocks) -> None:
    class Silent(Room):
        ws_expiry_notice_seconds = None
        ws_subprotocols = (PROTOCOL,)

    async with (
        serving(Silent()) as (served, _),
        served.client('/ws?user=ada&lasts=300', **SPEAKS_IT) as client,
    ):
        await clocks.pass_by(299)
        await ask(client, 'who')
        await clocks.pass_by(1)
        assert (await end_of(client))[0] == 3401


async def test_the_app_says_how_long_before_where_the_route_does_not(clocks: Clocks) -> None:
    class Plain(Room):
        ws_subprotocols = (PROTOCOL,)

    del Room.ws_expiry_notice_seconds
    try:
        async with (
            serving(Plain(), expiry_notice_seconds=10) as (served, _),
            served.client('/ws?user=ada&lasts=300', **SPEAKS_IT) as client,
        ):
            await clocks.pass_by(289)
            await ask(client, 'who')
            await clocks.pass_by(1)
            assert (await client.receive())['payload'] == {'expires_in': 10.0}
    finally:
        Room.ws_expiry_notice_seconds = 30


async def test_it_is_told_in_the_words_of_the_envelope(clocks: Clocks) -> None:
    class Renamed(Room):
        ws_envelope = Envelope(type_field='event', payload_field='data')

    async with (
        serving(Renamed()) as (served, _),
        served.client('/ws?user=ada&lasts=300', **SPEAKS_IT) as client,
    ):
        await clocks.pass_by(270)
        assert await client.receive() == {'event': 'expiring', 'data': {'expires_in': 30.0}}


async def test_what_a_resource_declares_need_not_say_it(clocks: Clocks) -> None:
    @sends('news')
    class Declaring(Room):
        pass

    async with (
        serving(Declaring(), check_sends=True) as (served, _),
        served.client('/ws?user=ada&lasts=300', **SPEAKS_IT) as client,
    ):
        await clocks.pass_by(270)
        assert (await client.receive())['type'] == 'expiring'


def test_a_route_that_is_about_identities_declares_it() -> None:
    @sends('news')
    class Declaring(Room):
        pass

    @sends('news')
    class Other:
        async def on_ws_x(self, ws: WebSocket) -> None: ...

    app = install(falcon.asgi.App())
    app.add_route('/ws', Declaring())
    app.add_route('/other', Other())
    declared = {
        each.address: [sent.type for sent in each.sends] for each in app.describe_websockets()
    }

    assert declared == {'/ws': ['expiring', 'news'], '/other': ['news']}
    document = app.asyncapi_document()
    (said,) = [name for name in document['components']['messages'] if 'expiring' in name]
    assert 'expires_in' in str(document['components']['messages'][said])


async def test_an_envelope_that_cannot_say_it_keeps_nothing_alive(
    clocks: Clocks, logs: Logs
) -> None:
    class Broken:
        def decode(self, raw: str | bytes) -> tuple[str, Any, None]:
            return str(raw), None, None

        def encode(self, type: str, payload: Any, id: Any) -> str:
            raise LookupError('expected')

    class Odd(Room):
        ws_envelope = Broken()

    async with (
        serving(Odd()) as (served, _),
        served.client('/ws?user=ada&lasts=300', **SPEAKS_IT) as client,
    ):
        await clocks.pass_by(270)
        await clocks.pass_by(30)
        assert (await end_of(client))[0] == 3401
    assert 'failed' in logs.take()[0]


@pytest.mark.parametrize('value', [0, -1, True, 'soon', float('nan'), 90_000])
def test_a_time_before_that_is_none_stops_the_start(value: Any) -> None:
    odd = type('Odd', (Room,), {'ws_expiry_notice_seconds': value})
    app = install(falcon.asgi.App())
    app.add_route('/ws', odd())

    with pytest.raises(ConfigurationError, match=r'Odd\.ws_expiry_notice_seconds=.*0\.1 to 86400'):
        app.check_websockets()
    with pytest.raises(ConfigurationError, match=r'expiry_notice_seconds=.*0\.1 to 86400'):
        install(falcon.asgi.App(), expiry_notice_seconds=value)


# -- what is a time


@pytest.mark.parametrize(
    'expires_at',
    [
        True,
        'tomorrow',
        float('nan'),
        float('-inf'),
        10**400,
        datetime(2030, 1, 1),  # noqa: DTZ001  # that is what is wrong
        (NOON + 300) * 1000,
    ],
    ids=repr,
)
async def test_what_is_no_time_is_refused_and_changes_nothing(
    expires_at: Any, clocks: Clocks
) -> None:
    async with serving() as (served, manager), served.client('/ws?user=ada&lasts=300') as client:
        connection_id = (await ask(client, 'who'))[0]
        with pytest.raises(ValueError, match=r'expires_at=.*expected seconds since 1970'):
            await manager.identify(connection_id, 'bob', expires_at)
        ws = manager.connections[connection_id]
        assert (ws.user_id, ws.expires_at) == ('ada', NOON + 300)


async def test_a_datetime_with_a_time_zone_is_one(clocks: Clocks) -> None:
    async with serving() as (served, manager), served.client('/ws?user=ada') as client:
        connection_id = (await ask(client, 'who'))[0]
        await manager.identify(
            connection_id, 'ada', datetime.fromtimestamp(clocks.calendar + 60, UTC)
        )
        assert manager.connections[connection_id].expires_at == clocks.calendar + 60


async def test_nobody_has_no_time(clocks: Clocks) -> None:
    async with serving() as (served, manager), served.client('/ws?user=ada&lasts=300') as client:
        connection_id = (await ask(client, 'who'))[0]
        with pytest.raises(ValueError, match='for nobody'):
            await manager.identify(connection_id, None, clocks.calendar + 60)
        await manager.identify(connection_id, None)
        await clocks.pass_by(1000)
        assert await ask(client, 'who') == [connection_id, None, ['all']]


async def test_what_has_expired_is_refused_with_401_and_changes_nothing(
    ws_implementation: str, clocks: Clocks, logs: Logs
) -> None:
    async with serving(None, ws_implementation) as (served, manager):
        with pytest.raises(InvalidStatus) as refused:
            async with served.client('/ws?user=ada&lasts=-1'):
                pass
        assert refused.value.response.status_code == 401
        async with served.client('/ws?user=ada&lasts=300') as client:
            error = await renew(client, user='bob', expires_at=clocks.calendar)
            assert (error['status'], error['title']) == (401, 'Identity expired')
            connection_id, user, _ = await ask(client, 'who')
            assert user == 'ada'
            assert manager.connections[connection_id].expires_at == NOON + 300
    assert [line for line in logs.take() if 'falcon' in line] == []


def test_the_error_says_when_it_expired() -> None:
    error = IdentityExpired(NOON)

    assert error.expires_at == NOON
    assert isinstance(error, ValueError)
    assert 'new token' in str(error)


# -- whose


async def test_another_user_moves_the_index_and_none_removes(clocks: Clocks) -> None:
    async with serving() as (served, manager), served.client('/ws?user=ada&lasts=300') as client:
        await renew(client, user='bob')
        assert (await manager.send_to_user('ada', 'x')).queued == 0
        assert (await manager.send_to_user('bob', '{"to": "bob"}')).queued == 1
        assert await client.receive() == {'to': 'bob'}
        await renew(client, user=None)
        assert manager.stats().users == 0
        await clocks.pass_by(1000)
        await ask(client, 'who')


async def test_where_nobody_asks_for_rights_the_rooms_stay_whoever_it_is() -> None:
    async with serving() as (served, _), served.client('/ws?user=ada') as client:
        await renew(client, user='bob')
        assert (await ask(client, 'who'))[1:] == ['bob', ['all']]


async def test_a_user_that_is_none_is_refused() -> None:
    async with serving() as (served, manager), served.client('/ws?user=ada') as client:
        connection_id = (await ask(client, 'who'))[0]
        with pytest.raises(InvalidName):
            await manager.identify(connection_id, '')
        assert (await ask(client, 'who'))[1] == 'ada'


# -- how many


async def test_the_oldest_makes_room_where_the_app_says_so(
    ws_implementation: str, logs: Logs
) -> None:
    options: dict[str, Any] = {
        'limits': Limits(max_connections_per_user=2),
        'user_limit_policy': 'close_oldest',
    }
    room = Room()
    async with serving(room, ws_implementation, **options) as (served, manager):
        async with (
            served.client('/ws?user=ada') as first,
            served.client('/ws?user=bob') as other,
            served.client('/ws?user=ada') as second,
            served.client('/ws?user=ada') as third,
        ):
            reason = 'a newer connection took the place of this one'
            assert await end_of(first) == (3409, reason)
            assert (await room.end())[:2] == (3409, 'ada')
            for client in (second, third, other):
                await ask(client, 'who')
            assert await manager.get_users_in_room('all') == {'ada': 2, 'bob': 1}
            assert manager.stats().limits_hit == {'max_connections_per_user': 1}
            assert manager.stats().refusals == {}
    logs.take()


async def test_who_is_refused_in_the_end_has_taken_nobodys_place(
    ws_implementation: str, logs: Logs
) -> None:
    class Choosy(Room):
        async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            await super().on_ws_connect(req, ws)
            if req.get_param('refused'):
                raise falcon.HTTPForbidden

    options: dict[str, Any] = {
        'limits': Limits(max_connections_per_user=1),
        'user_limit_policy': 'close_oldest',
    }
    async with (
        serving(Choosy(), ws_implementation, **options) as (served, manager),
        served.client('/ws?user=ada') as client,
    ):
        with pytest.raises(InvalidStatus):
            async with served.client('/ws?user=ada&refused=1'):
                pass
        await ask(client, 'who')
        assert manager.stats().limits_hit == {}


async def test_the_slowest_handshake_is_not_the_oldest_of_itself(logs: Logs) -> None:
    begun, goes_on = asyncio.Event(), asyncio.Event()

    class Slow(Room):
        async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
            await super().on_ws_connect(req, ws)
            if req.get_param('slow'):
                begun.set()
                await goes_on.wait()

    options: dict[str, Any] = {
        'limits': Limits(max_connections_per_user=1),
        'user_limit_policy': 'close_oldest',
    }
    async with serving(Slow(), **options) as (served, _):

        async def connect_slowly() -> list[Any]:
            async with served.client('/ws?user=ada&slow=1') as client:
                found: list[Any] = await ask(client, 'who')
                return found

        slow = asyncio.create_task(connect_slowly())
        await begun.wait()
        async with served.client('/ws?user=ada') as quick:
            await ask(quick, 'who')
            goes_on.set()
            assert (await slow)[1] == 'ada'
            assert (await end_of(quick))[0] == 3409


async def test_to_renew_is_not_one_more() -> None:
    options: dict[str, Any] = {
        'limits': Limits(max_connections_per_user=1),
        'user_limit_policy': 'close_oldest',
    }
    async with serving(**options) as (served, _), served.client('/ws?user=ada') as client:
        await renew(client)
        await ask(client, 'who')


def test_a_policy_for_too_many_where_none_is_too_many_stops_the_start() -> None:
    with pytest.raises(ConfigurationError, match=r'name limits=Limits\(max_connections_per_user'):
        install(falcon.asgi.App(), user_limit_policy='close_oldest')


def test_a_policy_that_is_none_stops_the_start() -> None:
    with pytest.raises(ConfigurationError, match=r"user_limit_policy='newest'.*'close_oldest'"):
        install(falcon.asgi.App(), user_limit_policy='newest')  # type: ignore[arg-type]


# -- log-out


async def test_all_tabs_of_who_logs_out_are_closed_with_a_code_that_says_not_to_come_back(
    ws_implementation: str,
) -> None:
    room = Room()
    async with serving(room, ws_implementation) as (served, manager):
        async with (
            served.client('/ws?user=ada&lasts=300') as first,
            served.client('/ws?user=ada') as second,
            served.client('/ws?user=bob') as other,
        ):
            assert await manager.close_user('ada', 3401, 'Logged out') == 2
            assert manager.stats().users == 1
            for client in (first, second):
                assert await end_of(client) == (3401, 'Logged out')
            await ask(other, 'who')
