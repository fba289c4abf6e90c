"""Sending from outside the app: from a script, a thread, a forked worker, a coroutine."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import Any

import pytest

from falcon_ws_mw import (
    AsyncEmitter,
    BackendUnavailable,
    ConfigurationError,
    ConnectionNotFound,
    Emitter,
    Envelope,
    InvalidName,
    Message,
    WebSocketConnectionManager,
)
from falcon_ws_mw.everywhere import Everywhere

from .linked import nodes
from .redis_server import RedisServer, redis_server
from .servers import PATIENCE_SECONDS
from .test_processes import serve

__all__ = ['redis_server']


def awaited_calls(cls: type) -> set[str]:
    return {
        name
        for name in dir(cls)
        if not name.startswith('_') and asyncio.iscoroutinefunction(getattr(cls, name))
    }


def test_it_has_every_call_that_is_awaited_on_a_manager() -> None:
    of_the_manager = awaited_calls(WebSocketConnectionManager) - {'start', 'stop'}
    assert of_the_manager == awaited_calls(Everywhere) - {'start', 'stop'}
    for name in of_the_manager:
        own, theirs = getattr(Emitter, name), getattr(WebSocketConnectionManager, name)
        assert (own.__name__, own.__doc__) == (theirs.__name__, theirs.__doc__)


SCRIPT = """
import sys
from falcon_ws_mw import Emitter

emitter = Emitter(sys.argv[1])
emitter.broadcast_to_room('room', {'type': 'news', 'payload': 1})
print(emitter.count_connections_in_room('room'), emitter.get_users_in_room('room'))
"""


async def test_a_script_reaches_the_clients_of_all_processes(redis_server: RedisServer) -> None:
    url = redis_server.url
    async with (
        serve(url) as a,
        serve(url) as b,
        a.client('room', 'ada') as ada,
        b.client('room', 'bob') as bob,
    ):
        script = await asyncio.create_subprocess_exec(
            sys.executable, '-W', 'error', '-c', SCRIPT, url, stdout=subprocess.PIPE
        )
        async with asyncio.timeout(3 * PATIENCE_SECONDS):
            said, _ = await script.communicate()
        assert script.returncode == 0
        assert said.decode().strip() in {"2 {'ada': 1, 'bob': 1}", "2 {'bob': 1, 'ada': 1}"}
        for client in (ada, bob):
            assert await client.receive() == {'type': 'news', 'payload': 1}
    assert redis_server.keys() == []


async def test_threads_may_share_one(redis_server: RedisServer) -> None:
    async with nodes(redis_server.url) as (node,):
        member = await node.member('room')
        emitter = Emitter(redis_server.url)

        def say(number: int) -> None:
            for each in range(10):
                emitter.broadcast_to_room('room', str(10 * number + each))

        await asyncio.gather(*(asyncio.to_thread(say, number) for number in range(8)))
        await member.gets(80)
        assert sorted(member.numbers) == list(range(80))
        await asyncio.to_thread(emitter.close)
        assert not [each for each in threading.enumerate() if 'emitter' in each.name]
        await asyncio.to_thread(emitter.broadcast_to_room, 'room', '80')
        await member.gets(81)
        await asyncio.to_thread(emitter.close)


FORKING = ('-W', 'ignore:This process:DeprecationWarning')
"""From Python 3.12 on a fork with threads has a warning of its own: it is what is tried here."""


def test_a_forked_process_has_a_connection_of_its_own(redis_server: RedisServer) -> None:
    script = """
import os, sys
from falcon_ws_mw import Emitter

with Emitter(sys.argv[1]) as emitter:
    emitter.send_to_user('ada', 'before')
    child = os.fork()
    emitter.send_to_user('ada', 'after')
    if child:
        assert os.waitpid(child, 0)[1] == 0
"""
    done = subprocess.run(
        [sys.executable, *FORKING, '-c', script, redis_server.url],
        timeout=3 * PATIENCE_SECONDS,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr.decode()) == (0, '')
    assert redis_server.keys() == []


async def test_in_a_coroutine_the_other_one_is_named(redis_server: RedisServer) -> None:
    emitter = Emitter(redis_server.url)
    with pytest.raises(RuntimeError, match='use AsyncEmitter'):
        emitter.broadcast('x')


async def test_a_coroutine_reaches_everyone_and_each_connection(redis_server: RedisServer) -> None:
    url = redis_server.url
    async with nodes(url, url) as (a, b), AsyncEmitter(url) as emitter:
        members = [await node.member('room') for node in (a, b)]
        await emitter.identify(members[0].id, 'ada')
        report = await emitter.broadcast_to_room('room', 'all')
        assert (report.queued, report.dropped) == (0, 0), 'nobody is here'
        report = await emitter.send_to_connection(members[1].id, 'one')
        assert report.queued == 1
        await emitter.send_to_user('ada', 'ada')
        await emitter.join_room(members[1].id, 'other')
        assert sorted(await emitter.get_room_names()) == ['other', 'room']
        await members[0].gets(2)
        await members[1].gets(2)
        assert (members[0].texts, members[1].texts) == (['all', 'ada'], ['all', 'one'])
        assert await emitter.close_user('ada') == 1
        with pytest.raises(ConnectionNotFound):
            await emitter.close_connection(members[0].id)
        with pytest.raises(InvalidName):
            await emitter.broadcast_to_room('', 'x')
        assert emitter.health().state == 'connected'


async def test_it_speaks_the_envelope_of_the_app(redis_server: RedisServer) -> None:
    short = Envelope(type_field='t', payload_field='p')
    async with nodes(redis_server.url) as (node,):
        member = await node.member('room')
        member.connection.codec = node.manager.codecs.speaking(short)
        async with AsyncEmitter(redis_server.url, envelope=short) as emitter:
            await emitter.broadcast_to_room('room', Message('hi', 1))
        await member.gets(1)
        assert member.texts == ['{"t":"hi","p":1}']


@pytest.mark.parametrize('kind', [Emitter, AsyncEmitter])
@pytest.mark.parametrize('url', ['memory://', 'amqp://x'])
def test_a_backend_that_reaches_nobody_is_refused(kind: Any, url: str) -> None:
    with pytest.raises(ConfigurationError, match=r'redis://'):
        kind(url)


def test_without_redis_it_says_so_in_time(redis_server: RedisServer) -> None:
    redis_server.kill()
    with Emitter(f'{redis_server.url}?wait_seconds=0.2') as emitter:
        with pytest.raises(BackendUnavailable, match=r'within 0\.2 s'):
            emitter.broadcast('x')


def test_nothing_runs_before_the_first_call(redis_server: RedisServer) -> None:
    before = threading.active_count()
    emitter = Emitter(redis_server.url)
    emitter.close()
    assert threading.active_count() == before


SCRIPTS = {
    'left to the garbage collector': """
emitter = Emitter(url)
emitter.broadcast('x')
del emitter
gc.collect()
for thread in threading.enumerate():
    if thread is not threading.main_thread():
        thread.join(10)
assert threading.active_count() == 1
""",
    'collected by its own thread': """
emitter = Emitter(url)
emitter.broadcast('x')
running = emitter._running
async def collect():
    gc.collect()
me = weakref.ref(emitter)
cycle = [emitter]
cycle.append(cycle)
del emitter, cycle
running.wait_for(collect())
running._thread.join(10)
assert me() is None and not running._thread.is_alive()
""",
    'forked while it connects': """
emitter = Emitter(url)
thread = threading.Thread(target=emitter.broadcast, args=('x',))
thread.start()
while not emitter._lock.locked() and thread.is_alive():
    pass
child = os.fork()
if child:
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
else:
    emitter.close()
emitter.broadcast('y')
emitter.close()
""",
    'left open, with the name of a host': """
emitter = Emitter(url.replace('127.0.0.1', 'localhost'))
emitter.broadcast('x')
""",
}


@pytest.mark.parametrize('script', SCRIPTS)
def test_it_ends_however_it_is_left(redis_server: RedisServer, script: str) -> None:
    code = (
        'import gc, os, sys, threading, weakref\nfrom falcon_ws_mw import Emitter\n'
        f'url = sys.argv[1]\n{SCRIPTS[script]}'
    )
    done = subprocess.run(
        [sys.executable, *FORKING, '-c', code, redis_server.url],
        timeout=3 * PATIENCE_SECONDS,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr.decode()) == (0, '')
    assert redis_server.keys() == []


def test_what_links_one_event_loop_is_not_for_it() -> None:
    with pytest.raises(ConfigurationError, match='use AsyncEmitter there'):
        Emitter('memory://hub')
