"""One client sends as fast as it can: what does another one, at a steady rate, notice of it?"""

from __future__ import annotations

import argparse
import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
import json
import os
import select
import socket
from time import perf_counter, sleep
from typing import Literal

from benchmarks.load.client import Client, connect_many
from benchmarks.load.frames import client_frame, opening_handshake
from benchmarks.load.process import in_own_process
from benchmarks.servers import cpu_seconds, resident_bytes

from tests.soak.serving import IMPLEMENTATIONS, serving, wait_until, waited_seconds
from tests.soak.verdict import MIB, Check, percentile, verdict

Flooder = Literal['says', 'asks', 'deaf']

FLOODERS: dict[Flooder, str] = {
    'says': 'says messages, and reads',
    'asks': 'asks requests, and reads the answers',
    'deaf': 'asks requests, and reads nothing',
}
NOTIFICATION = client_frame(b'{"type":"echo","payload":"x"}')
REQUEST = client_frame(b'{"type":"echo","payload":"x","id":1}')

START_SECONDS = 3.0
"""How long the processes have to come up."""

QUIET_SECONDS = 3.0
"""How long the steady client is alone before the flood."""

RATE = 50
"""How many requests a second the steady client sends."""

P99_SECONDS = 0.020
STALL_SECONDS = 0.100


@dataclass(frozen=True, slots=True)
class Flood:
    """How a flooder fared.

    Args:
        messages: How many it could send, those in the buffers of the kernel included.
        began: When, by the clock that all processes share.
        ended: When it had a close frame or lost the connection; None if it gave up by itself.
        close_code: The code of the close frame; None if there was none.
        warned: When it read the first error; None if it read none.
    """

    messages: int
    began: float
    ended: float | None
    close_code: int | None
    warned: float | None


@dataclass(frozen=True, slots=True)
class Steady:
    """How the other client fared.

    Args:
        sent: When each request was sent.
        answered: When each was answered, infinity for never.
        late_seconds: How late each was sent: what is slow about the client itself.
    """

    sent: list[float]
    answered: list[float]
    late_seconds: list[float]

    def echoes(self, begin: float, end: float) -> list[float]:
        """How long the echoes took of what was sent in between."""
        pairs = zip(self.sent, self.answered, strict=True)
        return [answered - sent for sent, answered in pairs if begin <= sent < end]


class Asker(Client):
    """Asks, and notes when the answer comes."""

    def __init__(self, requests: int) -> None:
        super().__init__('/echo')
        self.sent: list[float] = []
        self.answered = [float('inf')] * requests

    def ask(self, number: int) -> None:
        """Send a request."""
        frame = client_frame(b'{"type":"echo","payload":"steady","id":%d}' % number)
        self.sent.append(perf_counter())
        self.transport.write(frame)

    def message(self, data: bytes, start: int, end: int) -> None:
        """Note an answer."""
        now = perf_counter()
        message = json.loads(data[start:end])
        if message['type'] == 'reply':
            self.answered[message['id']] = now

    def is_done(self) -> bool:
        """Whether everything that was asked is answered."""
        return float('inf') not in self.answered[: len(self.sent)]


async def ask_steadily(port: int, *, start: float, requests: int, rate: int) -> Steady:
    """Ask at a steady rate, whether or not there are answers."""
    (asker,) = await connect_many(port, 1, lambda: Asker(requests))
    late = []
    for number in range(requests):
        due = start + number / rate
        await asyncio.sleep(max(due - perf_counter(), 0))
        if asker.closed.done():
            break
        late.append(perf_counter() - due)
        asker.ask(number)
    deadline = perf_counter() + 10
    while not asker.is_done() and not asker.closed.done() and perf_counter() < deadline:
        await asyncio.sleep(0.05)
    count = len(asker.sent)
    return Steady(asker.sent, asker.answered[:count], late)


async def flood(port: int, how: Flooder, *, start: float, seconds: float) -> Flood:
    """Send at full speed, until the connection ends or the time is up.

    One that reads is polite: it stops at the close frame. One that is deaf goes on until it is cut.
    """
    os.nice(10)  # it must not take the CPU from the client that measures
    with socket.socket() as sock:
        if how == 'deaf':
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(('127.0.0.1', port))
        sock.sendall(opening_handshake('/echo'))
        head = b''
        while not head.endswith(b'\r\n\r\n'):
            head += sock.recv(1)  # no byte of what comes next
        sock.setblocking(False)
        await asyncio.sleep(start - perf_counter())
        return _Torrent(sock, how, start, seconds).run()


class _Torrent:
    def __init__(self, sock: socket.socket, how: Flooder, start: float, seconds: float) -> None:
        self._sock = sock
        self._frame = NOTIFICATION if how == 'says' else REQUEST
        self._chunk = memoryview(self._frame * (131_072 // len(self._frame)))
        self._reads = how != 'deaf'
        self._start = start
        self._deadline = start + seconds
        self._sent = 0
        self._tail = b''
        self._warned: float | None = None
        self._close_code: int | None = None

    def run(self) -> Flood:
        poll = select.poll()
        poll.register(self._sock, select.POLLOUT | (select.POLLIN if self._reads else 0))
        ended = None
        while ended is None and perf_counter() < self._deadline:
            for _, event in poll.poll(100):
                try:
                    goes_on = self._step(event)
                except BlockingIOError:
                    continue
                except OSError:
                    goes_on = False
                if not goes_on:
                    ended = perf_counter()
        if not self._reads:
            self._drain()
        messages = self._sent // len(self._frame)
        return Flood(messages, self._start, ended, self._close_code, self._warned)

    def _step(self, event: int) -> bool:
        """Do what can be done; whether the connection goes on."""
        if event & select.POLLIN:
            return self._read()
        if not event & select.POLLOUT:
            return False
        self._sent += self._sock.send(self._chunk[self._sent % len(self._frame) :])
        return True

    def _read(self) -> bool:
        """Read some; whether more may come."""
        data = self._sock.recv(262_144)
        if not data:
            return False
        self._tail += data
        if self._warned is None and b'"type":"error"' in self._tail:
            self._warned = perf_counter()
        self._tail = self._tail[-200:]
        # A close frame is the last thing that a server says, so it reaches to the end.
        at = self._tail.rfind(b'\x88')
        if at >= 0 and self._tail[at + 1 : at + 2] == bytes([len(self._tail) - at - 2]):
            self._close_code = int.from_bytes(self._tail[at + 2 : at + 4], 'big')
        return self._close_code is None

    def _drain(self) -> None:
        """Look whether a close frame is among what was never read."""
        deadline = perf_counter() + 1
        while perf_counter() < deadline:
            try:
                if not self._read():
                    return
            except BlockingIOError:
                sleep(0.05)
            except OSError:
                return


def run(options: argparse.Namespace) -> bool:
    """Let each kind of flooder in, one after the other."""
    passed = True
    for how in options.flooders:
        print(f'\nflooder: {FLOODERS[how]}; {options.server}, {options.flood_seconds:g} s')
        passed &= _measure(options.server, how, options.flood_seconds)
    return passed


def _measure(server: str, how: Flooder, seconds: float) -> bool:
    with serving(IMPLEMENTATIONS[server]) as served, ThreadPoolExecutor() as threads:
        served.figures()  # it is up
        start = perf_counter() + START_SECONDS
        begin = start + QUIET_SECONDS
        requests = int((QUIET_SECONDS + seconds) * RATE)
        asking = threads.submit(
            in_own_process,
            ask_steadily,
            served.port,
            start=start,
            requests=requests,
            rate=RATE,
        )
        flooding = threads.submit(
            in_own_process, flood, served.port, how, start=begin, seconds=seconds
        )
        sleep(begin - perf_counter())
        cpu, waited = cpu_seconds(served.pid), waited_seconds(served.pid)
        memory, highest = resident_bytes(served.pid), 0
        while not flooding.done():
            sleep(0.05)
            highest = max(highest, resident_bytes(served.pid))
        cpu, waited = cpu_seconds(served.pid) - cpu, waited_seconds(served.pid) - waited
        flooded, steady = flooding.result(), asking.result()
        _, gone = wait_until(served, lambda figures: figures['connections'] == 0, 15)
        gone_seconds = perf_counter() - begin
    quiet = steady.echoes(start, begin)
    echoes = steady.echoes(begin, begin + seconds)
    print(
        f'  the flooder sent {flooded.messages:,} messages; {_end(flooded)}\n'
        f'  its connection was {f"gone by {gone_seconds:.1f} s" if gone else "still there"}\n'
        f'  server: CPU {cpu:.1f} s, waited for a CPU {waited:.1f} s, '
        f'memory +{(highest - memory) / MIB:.1f} MiB\n'
        f'  echoes before: p50 {percentile(quiet, 0.5) * 1e3:.2f} ms, '
        f'p99 {percentile(quiet, 0.99) * 1e3:.2f} ms, longest {max(quiet) * 1e3:.1f} ms\n'
        f'  echoes meanwhile: {len(echoes)}, p50 {percentile(echoes, 0.5) * 1e3:.2f} ms, '
        f'p99 {percentile(echoes, 0.99) * 1e3:.2f} ms, over 20 ms: '
        f'{sum(each > P99_SECONDS for each in echoes)}, over 100 ms: {_stalls(steady, begin)}\n'
        f'  the steady client itself was late by at most {max(steady.late_seconds) * 1e3:.1f} ms'
    )
    unanswered = steady.answered.count(float('inf')) + requests - len(steady.sent)
    return verdict(
        [
            Check('p99 of the echoes', percentile(echoes, 0.99) * 1e3, P99_SECONDS * 1e3, 'ms'),
            Check('longest stall', max(echoes, default=0) * 1e3, STALL_SECONDS * 1e3, 'ms'),
            Check('requests without an answer', unanswered, 0),
        ]
    )


def _end(flooded: Flood) -> str:
    warned = ''
    if flooded.warned is not None:
        warned = f'first error after {flooded.warned - flooded.began:.2f} s, '
    if flooded.ended is None:
        code = f' (a close {flooded.close_code} was waiting)' if flooded.close_code else ''
        return f'{warned}it was not stopped{code}'
    how = f'close {flooded.close_code}' if flooded.close_code else 'cut without a close frame'
    return f'{warned}{how} after {flooded.ended - flooded.began:.2f} s'


def _stalls(steady: Steady, begin: float) -> str:
    """How many echoes took too long, and when the first and the last of them was asked."""
    pairs = zip(steady.sent, steady.answered, strict=True)
    long = [sent - begin for sent, answered in pairs if answered - sent > STALL_SECONDS]
    return f'{len(long)} (at {long[0]:.1f} to {long[-1]:.1f} s)' if long else '0'
