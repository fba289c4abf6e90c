"""What the page about many machines says is so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
import logging
from pathlib import Path
import re
import shlex
import subprocess
import sys
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import pytest
import redis as redis_py
from websockets.exceptions import InvalidStatus

from falcon_ws_mw import BackendUnavailable, WebSocketConnectionManager
from falcon_ws_mw.backends import Backend, open_backend
from falcon_ws_mw.backends.redis.connecting import _CONNECTIONS, PARTS
from falcon_ws_mw.backends.redis.options import _OURS, RedisOptions
from falcon_ws_mw.channels import MAX_LEVELS

from .conftest import Logs
from .linked import Member, Node, nodes, until
from .redis_server import (
    RedisCluster,
    RedisServer,
    Watched,
    lasting_redis,
    redis_cluster,
    redis_server,
    watched_redis,
    wire_to,
)
from .servers import PATIENCE_SECONDS, Served, serve
from .test_docs import DOCS, Page, blocks_of, code_in, first_column, table_of

__all__ = ['lasting_redis', 'redis_cluster', 'redis_server', 'watched_redis']

NAME = 'many-machines.md'
PAGE = DOCS / NAME

LONG_LEASE: Final = '?lease_seconds=3600'
"""Of processes that do not renew it while it is counted what they do."""


# -- the app


@pytest.fixture
def page_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Page]:
    """Runs the page, as in a process of its own."""

    def run(url: str) -> Page:
        monkeypatch.setenv('REDIS_URL', url)
        return Page(PAGE, monkeypatch)

    return run


@asynccontextmanager
async def served(*pages: Page) -> AsyncIterator[list[Served]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(serve(page.apps[0])) for page in pages]


async def test_two_processes_hear_each_other(
    page_of: Callable[[str], Page], redis_server: RedisServer
) -> None:
    async with (
        served(page_of(redis_server.url), page_of(redis_server.url)) as (one, other),
        one.client('/chat/garden?user=ada') as ada,
        other.client('/chat/garden?user=cem') as cem,
    ):
        await ada.send({'type': 'say', 'payload': 'hello'})
        for client in (ada, cem):
            said = {'type': 'said', 'payload': {'by': 'ada', 'text': 'hello'}}
            assert await client.receive() == said
        answer = await cem.ask({'type': 'who', 'id': 1})
        assert answer['payload'] == {'ada': 1, 'cem': 1}
    assert redis_server.keys() == []


async def test_who_has_missed_something_is_told(
    page_of: Callable[[str], Page], redis_server: RedisServer, logs: Logs
) -> None:
    page = page_of(redis_server.url)
    async with (
        served(page) as (one,),
        one.client('/chat/garden?user=ada') as ada,
        one.client('/chat/attic?user=cem') as cem,
    ):
        redis_server.kill()
        await asyncio.to_thread(redis_server.start)
        told = [await ada.receive() for _ in range(3)]
        assert all(message['type'] == 'missed' for message in told)
        assert {(message['payload']['kind'], message['payload']['name']) for message in told} == {
            ('room', 'garden'),
            ('user', 'ada'),
            ('all', ''),
        }
        assert {message['payload']['count'] for message in told} == {None}
        assert 'garden' not in str([await cem.receive() for _ in range(3)])
    logs.take()


async def test_without_redis_a_client_is_answered_503(
    page_of: Callable[[str], Page], redis_server: RedisServer, logs: Logs
) -> None:
    url = f'{redis_server.url}?wait_seconds=0.2'
    page = page_of(url)
    async with served(page) as (one,), one.client('/chat/garden?user=ada') as ada:
        redis_server.kill()
        answer = await ada.ask({'type': 'say', 'payload': 'hello', 'id': 1})
        assert (answer['type'], answer['payload']['status']) == ('error', 503)
        async with one.client('/chat/garden?user=cem') as cem:  # joining succeeds
            assert (await cem.ask({'type': 'who', 'id': 1}))['payload']['status'] == 503
    logs.take()


async def test_local_is_the_word_for_this_process_alone(
    page_of: Callable[[str], Page], redis_server: RedisServer, logs: Logs
) -> None:
    page = page_of(redis_server.url)
    local = page.apps[1]
    async with serve(local) as one, one.client('/chat/garden?user=ada') as ada:
        redis_server.kill()
        manager = local.ws_connection_manager
        await until(lambda: manager.stats().backend.state == 'connecting')
        await ada.send({'type': 'say', 'payload': 'hello'})
        assert (await ada.receive())['payload']['text'] == 'hello'
    logs.take()


async def test_an_http_resource_answers_503_where_the_app_says_so(
    page_of: Callable[[str], Page], redis_server: RedisServer, logs: Logs
) -> None:
    app = page_of(f'{redis_server.url}?wait_seconds=1').apps[2]
    async with (
        serve(app) as one,
        one.client('/chat/garden?user=ada') as ada,
        httpx.AsyncClient() as http,
    ):
        done = await http.post(f'{one.http}/announcements', json='tea')
        assert done.status_code == 200
        assert await ada.receive() == {'type': 'announcement', 'payload': 'tea'}
        redis_server.kill()
        refused = await http.post(f'{one.http}/announcements', json='tea')
        assert (refused.status_code, refused.headers['Retry-After']) == (503, '5')
        answer = await ada.ask({'type': 'say', 'payload': 'hello', 'id': 1})
        assert answer['payload']['title'] == 'The chat is away for a moment'
    logs.take()


async def test_the_app_says_how_it_stands(
    page_of: Callable[[str], Page], redis_server: RedisServer
) -> None:
    health = page_of(redis_server.url).apps[4]
    async with serve(health) as one, httpx.AsyncClient() as http:
        answer = (await http.get(f'{one.http}/health')).json()
    assert answer['backend'] == 'connected'
    assert 0 <= answer['for_seconds'] < PATIENCE_SECONDS


async def test_a_script_and_a_worker_reach_the_clients(
    page_of: Callable[[str], Page], redis_server: RedisServer
) -> None:
    page = page_of(redis_server.url)
    async with served(page) as (one,), one.client('/chat/garden?user=ada') as ada:
        assert await asyncio.to_thread(page.names['announce'], 'tea') == 1
        assert await ada.receive() == {'type': 'announcement', 'payload': {'text': 'tea'}}
        ticking = asyncio.create_task(page.names['tick'](0.01))
        assert [(await ada.receive())['payload']['n'] for _ in range(2)] == [1, 2]
        ticking.cancel()
        await asyncio.wait([ticking])


# -- a backend of one's own


async def test_the_traced_backend_traces(
    page_of: Callable[[str], Page], redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    page = page_of(redis_server.url)
    assert open_backend('traced://chat').url == 'memory://chat'
    caplog.set_level(logging.INFO, 'chat')
    async with serve(page.apps[3]) as one, one.client('/chat/garden?user=ada') as ada:
        await ada.send({'type': 'say', 'payload': 'hello'})
        assert (await ada.receive())['payload']['text'] == 'hello'
    assert 'garden' in caplog.text


def test_the_lines_that_run_the_laws_run_them(tmp_path: Path) -> None:
    for block in blocks_of(PAGE, 'python'):
        if block.file_name:
            (tmp_path / block.file_name).write_text(block.text)
    command = [sys.executable, '-m', 'pytest', '-q', '--rootdir', '.']
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert re.search(r'\b[1-9]\d passed', done.stdout), done.stdout
    assert done.returncode == 0, done.stdout


def test_each_method_of_a_backend_is_in_its_table() -> None:
    methods = {code_in(cell)[0] for cell in first_column(NAME, 'method of `Backend`')}
    assert methods == Backend.__abstractmethods__


# -- the URL


def test_each_option_of_the_url_is_in_its_table() -> None:
    rows = table_of(NAME, 'option in the URL')
    assert [code_in(name)[0] for name, _, _ in rows] == [each.name for each in fields(RedisOptions)]
    for name, default, meaning in rows:
        option = code_in(name)[0]
        make: Any = RedisOptions
        value = getattr(RedisOptions(), option)
        assert default == (f'`{value!r}`' if isinstance(value, str) else f'{value:g}')
        bounds = re.search(r'([\d.]+) to ([\d,]+)', meaning)
        if bounds:
            least, most = (float(each.replace(',', '')) for each in bounds.groups())
            for inside in (least, most):
                make(**{option: inside})
            for outside in (least * 0.9, most * 1.1):
                with pytest.raises(ValueError, match=f'from {least:g} to'):
                    make(**{option: outside})


def test_each_option_that_changes_nothing_is_named() -> None:
    (line,) = re.findall(r'^- The library decides about .*\n(?:  .*\n)*', PAGE.read_text(), re.M)
    assert set(code_in(line)) == (_OURS | set(_CONNECTIONS) | {'socket_connect_timeout'})


def test_the_urls_of_the_page_can_be_opened() -> None:
    shown, *others = [
        line
        for block in blocks_of(PAGE, 'text')
        for line in block.text.splitlines()
        if '://' in line
    ]
    assert len(others) == 2
    for other in others:
        assert 'password' not in open_backend(other).url
    backend = open_backend(shown)
    assert backend.url == 'redis://host:6379/0'
    theirs = re.findall(r'`(\w+=[^`\s]+)`', PAGE.read_text())
    assert {'ssl_ca_certs=/etc/ssl/redis.pem', 'client_name=chat'} <= set(theirs)
    query = '&'.join(each for each in theirs if each.startswith(('ssl', 'client')))
    open_backend(f'rediss://:password@host/1?{query}')
    assert urlsplit(backend.url).password is None


# -- gaps


async def gap_by_cutting(server: RedisServer) -> int | None:
    async with wire_to(server) as wire, nodes(server.url, wire.url) as (a, b):
        await a.member('room')
        member = await b.member('room')
        await b.manager.broadcast_to_room('room', '0')
        wire.cut()
        for number in range(5):
            await a.manager.broadcast_to_room('room', str(number))
        wire.mend()
        await until(lambda: b.gaps != [])
        assert b.lost('room') == 6 - len(member.texts)
        return b.lost('room')


async def gap_by_leaving(server: RedisServer) -> int | None:
    return await gap_while_the_other_leaves(server, '', is_late=False)


async def gap_by_leaving_late(server: RedisServer) -> int | None:
    return await gap_while_the_other_leaves(server, '?lease_seconds=1', is_late=True)


async def gap_while_the_other_leaves(
    server: RedisServer, query: str, *, is_late: bool
) -> int | None:
    async with (
        wire_to(server) as wire,
        nodes(f'{server.url}{query}', f'{wire.url}{query}') as (a, b),
    ):
        here, there = await a.member('room'), await b.member('room')
        lease = f'falcon_ws:holds:{there.id.partition(".")[0]}'
        await b.manager.broadcast_to_room('room', '0')
        wire.cut()
        with server.client() as client:  # so that Redis does not go on to count `b` as a listener
            client.execute_command('CLIENT', 'KILL', 'TYPE', 'pubsub', 'SKIPME', 'yes')
            await until(lambda: a.health.connects == 2)
            while is_late and client.exists(lease):
                await asyncio.sleep(0.05)
        await a.manager.leave_room(here.id, 'room')
        await a.manager.get_room_names()  # has brought that
        for text in '12':
            await a.manager.broadcast_to_room('room', text)
        wire.mend()
        await until(lambda: any(gap.name == 'room' for gap in b.gaps))
        assert b.lost('room') == (None if is_late else 2)
        return b.lost('room')


async def gap_by_restart(server: RedisServer) -> int | None:
    async with nodes(server.url, server.url) as (a, b):
        await a.member('room')
        member = await b.member('room')
        await a.manager.broadcast_to_room('room', '0')
        server.kill()
        await until(lambda: b.health.state == 'connecting')
        await asyncio.to_thread(server.start)
        await b.connected()
        await a.manager.broadcast_to_room('room', '1')
        await member.gets(2)
        return b.lost('room')


async def gap_by_joining(server: RedisServer) -> int | None:
    async with nodes(server.url) as (node,):
        server.kill()
        await until(lambda: node.health.state == 'connecting')
        await node.member('room')
        await asyncio.to_thread(server.start)
        await until(lambda: any(gap.name == 'room' for gap in node.gaps))
        return node.lost('room')


GAPS: dict[str, tuple[str, Callable[[RedisServer], Awaitable[int | None]]]] = {
    'connections to Redis were lost, cut off, or Redis stood still': (
        'redis_server',
        gap_by_cutting,
    ),
    'the same, and meanwhile the last process that listened to the room has left it': (
        'redis_server',
        gap_by_leaving,
    ),
    'the same for longer than `lease_seconds`, and by then the last process that listened to the '
    'room has left it': ('redis_server', gap_by_leaving_late),
    'Redis was restarted, and writes each command down first: `appendonly yes`, '
    '`appendfsync always`': ('lasting_redis', gap_by_restart),
    'Redis was restarted otherwise, failed over, or was emptied': ('redis_server', gap_by_restart),
    'somebody was the first of this process to join while Redis was away': (
        'redis_server',
        gap_by_joining,
    ),
}


@pytest.mark.parametrize(('what', 'lost'), table_of(NAME, 'what has happened'))
async def test_the_table_of_gaps(
    what: str, lost: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    fixture, happen = GAPS[what]
    found = await happen(request.getfixturevalue(fixture))
    assert ('`None`' if found is None else 'the number') == lost


# -- what each call costs


def counted(server: RedisServer) -> dict[str, int]:
    """How often each command was done since this was asked last, those of scripts included."""
    with server.client() as client:
        stats: Any = client.info('commandstats')
        client.config_resetstat()
    return {
        name.removeprefix('cmdstat_').lower(): int(said['calls']) for name, said in stats.items()
    }


@dataclass
class Linked:
    """Three processes: two have the room, the user and filters that match; one has nobody."""

    a: Node
    here: Member
    there: Member
    third: Node


@pytest.fixture
async def linked(redis_server: RedisServer) -> AsyncIterator[Linked]:
    async with nodes(*[redis_server.url + LONG_LEASE] * 3) as (a, b, third):
        here, there = [await node.member('room', 'two') for node in (a, b)]
        for member in (here, there):
            await member.manager.identify(member.id, 'ada')
            await member.manager.subscribe(member.id, 'prices/+')
        await there.manager.subscribe(there.id, 'prices/tea')
        counted(redis_server)
        yield Linked(a, here, there, third)


Call = Callable[[Linked], Awaitable[Any]]

COSTS: list[tuple[str, Call, dict[str, int]]] = [
    (
        'broadcast_to_room',
        lambda it: it.a.manager.broadcast_to_room('room', '1'),
        {'evalsha': 1, 'publish': 1},
    ),
    ('broadcast', lambda it: it.a.manager.broadcast('1'), {'evalsha': 1, 'publish': 1}),
    (
        'send_to_user',
        lambda it: it.a.manager.send_to_user('ada', '1'),
        {'evalsha': 1, 'publish': 1},
    ),
    (
        'broadcast_to_room` to several rooms',
        lambda it: it.a.manager.broadcast_to_room(['room', 'two', 'empty'], '1'),
        {'evalsha': 1, 'publish': 2},
    ),
    (
        'publish',
        lambda it: it.a.manager.publish('prices/tea', '1'),
        {'evalsha': 1, 'publish': 2, 'pubsub|numsub': 3},
    ),
    (
        'of the first connection of this process there',
        lambda it: it.a.manager.join_room(it.here.id, 'new'),
        # an HSET and the HGET are its script's
        {'subscribe': 1, 'hset': 2, 'hget': 1, 'evalsha': 1, 'pexpire': 1, 'publish': 1},
    ),
    (
        'of a connection of this process',
        lambda it: it.a.manager.send_to_connection(it.here.id, '1'),
        {},
    ),
    (
        'of a connection of another process',
        lambda it: it.a.manager.send_to_connection(it.there.id, '1'),
        {'evalsha': 2, 'publish': 2},
    ),
    (
        'count_connections_in_room',
        lambda it: it.a.manager.count_connections_in_room('room'),
        {'evalsha': 1, 'hget': 3},
    ),
    (
        'get_users_in_room',
        lambda it: it.a.manager.get_users_in_room('room'),
        {'hget': 3, 'publish': 4},
    ),
    (
        'get_room_names',
        lambda it: it.a.manager.get_room_names(),
        {'evalsha': 1, 'hscan': 3},
    ),
]
SOME = ('evalsha', 'publish', 'subscribe', 'hset', 'hget', 'hscan', 'pexpire', 'unsubscribe')


@pytest.mark.parametrize(('row', 'call', 'expected'), COSTS, ids=[row for row, _, _ in COSTS])
async def test_a_call_costs_what_its_row_says(
    row: str, call: Call, expected: dict[str, int], linked: Linked, redis_server: RedisServer
) -> None:
    assert [cell for cell in first_column(NAME, 'call') if row in cell]
    await call(linked)
    found = counted(redis_server)
    if row == 'get_users_in_room':  # its scripts may be shared: at least 1 to look and 1 to ask
        assert found.pop('evalsha') >= 4
    assert {name: found[name] for name in (*SOME, *expected) if name in found} == expected


async def test_calls_at_the_same_time_share_a_script(
    linked: Linked, redis_server: RedisServer
) -> None:
    said = re.search(r'up to (\d+) messages', PAGE.read_text())
    assert said
    many = int(said[1])
    manager = linked.a.manager
    await asyncio.gather(*(manager.broadcast_to_room('room', '1') for _ in range(many)))
    assert counted(redis_server)['evalsha'] == 1


def test_each_call_that_is_awaited_has_a_row() -> None:
    names = {name for cell in first_column(NAME, 'call') for name in code_in(cell)}
    assert names == {
        name
        for name in dir(WebSocketConnectionManager)
        if not name.startswith('_')
        and asyncio.iscoroutinefunction(getattr(WebSocketConnectionManager, name))
    }
    (publish,) = [row for row in table_of(NAME, 'call') if row[0] == '`publish`']
    assert f'{MAX_LEVELS + 1} at most' in publish[2]


# -- what is in Redis


async def test_each_key_is_in_its_table_and_lasts_as_long(
    linked: Linked, redis_server: RedisServer
) -> None:
    own = '\u00e4 b'
    linked.third.manager.add_connection(own, linked.there)  # type: ignore[arg-type]
    await linked.third.manager.join_room(own, 'a b')
    await linked.a.manager.broadcast_to_room('room', '1')
    rows = {
        re.sub('<[^>]+>', '*', code_in(name)[0]): (kind, lasts)
        for name, kind, _, lasts in table_of(NAME, 'name')
    }
    with redis_server.client() as client:
        kept = redis_server.keys()
        for key in kept:
            kind, lasts = next(row for pattern, row in rows.items() if fnmatchcase(key, pattern))
            seconds = client.ttl(key)
            assert kind != 'a channel', key
            if lasts == '`lease_seconds`':
                assert 3_500 < seconds <= 3_600
            elif lasts == '10 minutes':
                assert 500 < seconds <= 600
            elif lasts.startswith('twice `lease_seconds`'):
                assert 7_100 < seconds <= 7_200
            else:
                assert 86_000 < seconds <= 86_400, key
    for channel in redis_server.channels():
        assert any(fnmatchcase(channel, pattern) for pattern in rows), channel
    assert 'falcon_ws:r:a%20b' in redis_server.channels()
    assert [each for each in redis_server.channels() if each.startswith('falcon_ws:c:')]
    linked.third.manager.remove_connection(own)


@pytest.fixture
def allowed() -> list[str]:
    """What the page has an administrator say to Redis."""
    commands = ' '.join(each.text.replace('\\\n', ' ') for each in blocks_of(PAGE, 'console'))
    _, _, rest = commands.partition('redis-cli ')
    return shlex.split(rest)


@pytest.mark.parametrize('database', [0, 1])
@pytest.mark.parametrize('may_ask', [True, False])
async def test_a_user_of_redis_that_may_do_no_more_is_enough(
    redis_server: RedisServer, allowed: list[str], database: int, may_ask: bool
) -> None:
    commands = [*allowed, *(['+select'] if database else [])]
    if not may_ask:
        commands.remove('+config|get')
    with redis_server.client() as client:
        client.execute_command(*commands)
    at = redis_server.url.replace('redis://', 'redis://chat:password@').removesuffix('0')
    url = f'{at}{database}'
    async with nodes(url, url) as (a, b):
        members = [await node.member('room') for node in (a, b)]
        for member in members:
            await member.manager.identify(member.id, 'ada')
            await member.manager.subscribe(member.id, 'prices/#')
        await a.manager.publish('prices/tea', '1')
        await a.manager.broadcast_to_room('room', '2')
        await a.manager.send_to_connection(members[1].id, '3')
        await members[1].gets(3)
        assert await a.manager.get_users_in_room('room') == {'ada': 2}
        assert await a.manager.get_room_names() == ['room']
        await b.manager.leave_room(members[1].id, 'room')
        assert await a.manager.close_user('ada') == 2
        assert (a.health.last_error, b.health.last_error) == (None, None)
    with redis_server.client() as client:
        denied = {each['object'] for each in client.acl_log()}
    assert denied <= {'config|get', 'client|setinfo'}, 'the latter is redis-py being polite'
    assert ('config|get' in denied) is not may_ask
    assert redis_server.keys() == []


async def test_in_a_cluster_it_needs_what_the_page_says(
    redis_cluster: RedisCluster, allowed: list[str]
) -> None:
    page = PAGE.read_text()
    (also,) = re.findall(r'^- The user of Redis also needs .*\n(?:  .*\n)*', page, re.MULTILINE)
    more = [word for span in code_in(also) for word in shlex.split(span)]
    assert f'to `{{falcon_ws.{PARTS - 1}}}`' in page
    assert f'{PARTS} parts' in page
    assert f'{2 * PARTS} connections' in page
    for server in redis_cluster.servers:
        with server.client() as client:
            client.execute_command(*allowed, *more)
    url = redis_cluster.url.replace('://', '://chat:password@')
    async with nodes(url, url) as (a, b):
        members = [await node.member('room', 'two') for node in (a, b)]
        await a.manager.broadcast_to_room(['room', 'two'], '1')
        await members[1].gets(1)
        assert await b.manager.count_connections_in_room('two') == 2
        assert sorted(await a.manager.get_room_names()) == ['room', 'two']
        clients = 0
        for server in redis_cluster.servers:
            with server.client() as client:
                clients += sum(each['user'] == 'chat' for each in client.client_list())
        assert clients == 2 * 2 * PARTS
        assert a.health.last_error is None


def may_all_but(right: str, allowed: list[str], server: RedisServer) -> str:
    """Have a user of Redis lack a right; the URL by which he comes."""
    assert right in allowed
    with server.client() as client:
        client.execute_command(*(word for word in allowed if word != right))
    return server.url.replace('://', '://chat:password@')


def says_where_rights_are(line: str) -> bool:
    path, heading = re.findall(r'\((docs/\S+), "(.*?)", has the rights .* ACL LOG says', line)[0]
    return f'# {heading}\n' in (DOCS.parent / path).read_text()


@pytest.mark.parametrize(
    ('right', 'words'),
    [
        ('+info', "'info' command, which tells when Redis was restarted"),
        ('+script|load', "'script|load'"),
        ('+evalsha', "'evalsha'"),
        ('+subscribe', "'subscribe'"),
        ('&falcon_ws*', 'channels'),
        ('~falcon_ws*', 'keys'),
        ('+time', 'command'),  # in a script: 7.0 does not say which
    ],
)
async def test_a_user_of_redis_that_may_do_less_never_connects_and_is_told_what_helps(
    redis_server: RedisServer, allowed: list[str], right: str, words: str, logs: Logs
) -> None:
    url = may_all_but(right, allowed, redis_server)
    async with nodes(url) as (node,):
        await until(lambda: node.health.last_error is not None)
        said = str(node.health.last_error)
        assert words in said
        assert says_where_rights_are(said)
        assert [said in line for line in logs.take()] == [True]
        with redis_server.client() as client:
            client.execute_command('ACL', 'SETUSER', 'chat', right)
        await node.connected()
        member = await node.member('room')
        await node.manager.broadcast_to_room('room', '1')
        assert member.texts == ['1']
    logs.take()


async def send(node: Node) -> None:
    await node.manager.broadcast_to_room('room', '1')


async def look(node: Node) -> None:
    await node.manager.get_room_names()


@pytest.mark.parametrize(('right', 'call'), [('+hincrby', send), ('+hscan', look)])
async def test_what_a_user_of_redis_may_not_is_in_the_log_and_not_told_to_clients(
    redis_server: RedisServer,
    allowed: list[str],
    right: str,
    call: Callable[[Node], Awaitable[None]],
    logs: Logs,
) -> None:
    async with nodes(may_all_but(right, allowed, redis_server)) as (node,):
        await node.member('room')
        with pytest.raises(BackendUnavailable, match='Redis says: ') as refused:
            await call(node)
        (line,) = logs.take()
        assert says_where_rights_are(line)
        assert 'docs' not in str(refused.value)


async def test_a_user_of_redis_that_is_unknown_after_an_outage_is_in_the_log(
    redis_server: RedisServer, allowed: list[str], logs: Logs
) -> None:
    with redis_server.client() as client:
        client.execute_command(*allowed)
    async with nodes(redis_server.url.replace('://', '://chat:password@')) as (node,):
        redis_server.kill()
        await until(lambda: 'cannot be reached' in ''.join(logs.lines))
        await asyncio.to_thread(redis_server.start)  # it has kept nothing, nor who may
        await until(lambda: 'refuses: AuthenticationError' in ''.join(logs.lines))
        with redis_server.client() as client:
            client.execute_command(*allowed)
        await node.connected()
    logs.take()


async def test_in_a_cluster_too_a_user_that_may_do_less_is_told_what_helps(
    redis_cluster: RedisCluster, allowed: list[str], logs: Logs
) -> None:
    for server in redis_cluster.servers:
        with server.client() as client:
            client.execute_command('ACL', 'DELUSER', 'chat')
            client.execute_command(*allowed)
    async with nodes(redis_cluster.url.replace('://', '://chat:password@')) as (node,):
        said = str(node.health.last_error)
        assert "'cluster|slots'" in said
        assert says_where_rights_are(said)
    logs.take()


async def test_a_user_of_sentinels_needs_what_the_page_says(
    watched_redis: Watched, logs: Logs
) -> None:
    (right,) = re.findall(r'A user of the sentinels needs `(\S+)`', PAGE.read_text())
    url = f'{watched_redis.url}?sentinel_username=asks&sentinel_password=password'
    address = urlsplit(url)
    with redis_py.Redis(str(address.hostname), address.port or 0) as client:
        client.execute_command('ACL', 'SETUSER', 'asks', 'on', '>password')
        async with nodes(url) as (node,):
            assert says_where_rights_are(str(node.health.last_error))
            assert f"'{right[1:]}'" in str(node.health.last_error)
            client.execute_command('ACL', 'SETUSER', 'asks', right)
            await node.connected()
    logs.take()


async def test_a_handshake_is_refused_that_redis_cannot_answer(
    page_of: Callable[[str], Page], redis_server: RedisServer, logs: Logs
) -> None:
    page = page_of(f'{redis_server.url}?wait_seconds=0.2')

    class Counting:
        async def on_ws_connect(self, req: object, ws: Any) -> None:
            await ws.manager.count_connections_in_room('garden')

        async def on_ws_x(self, ws: object) -> None:
            """Be a message."""

    app = page.apps[0]
    app.add_route('/counting', Counting())
    redis_server.kill()
    async with serve(app) as one:  # it starts without Redis
        with pytest.raises(InvalidStatus) as refused:
            async with one.client('/counting'):
                pass
    assert refused.value.response.status_code == 503
    logs.take()
