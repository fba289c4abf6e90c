"""Members of a room that never read: what do the others, and the memory, notice of them?"""

from __future__ import annotations

import argparse
import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import count
import os
from pathlib import Path
import socket
import time
from time import perf_counter
from typing import Self

from benchmarks.load.client import Client, connect_many
from benchmarks.load.frames import opening_handshake
from benchmarks.load.process import in_own_process
from benchmarks.servers import cpu_seconds, resident_bytes

from tests.soak.app import NUMBER_DIGITS, TICK_HEAD, TIME_DIGITS
from tests.soak.serving import IMPLEMENTATIONS, Served, serving, wait_until, waited_seconds
from tests.soak.verdict import MIB, Check, percentile, verdict

MESSAGE_BYTES = 1024
FRAME_HEAD = b'\x81\x7e' + MESSAGE_BYTES.to_bytes(2, 'big')
FRAME_BYTES = len(FRAME_HEAD) + MESSAGE_BYTES
NUMBER_AT = len(TICK_HEAD)
TIME_AT = NUMBER_AT + NUMBER_DIGITS + 1
WARM_UP_SECONDS = 5
PROCESSES = 2
SAMPLED = 10
"""Of how many readers in each process the latency is noted: the clock costs too."""

PATIENCE_SECONDS = 15
MEMORY_BYTES = 20 * MIB
RATIO = 2.0
BUSY = 0.9
"""What part of the time a process may run before it counts as saturated."""

WAITED = 0.2
"""What part of any second it may wait for a CPU before the machine counts as busy with other work.
Nobody who stalls makes it wait for one, so a run may be repeated by this and by nothing else."""

ATTEMPTS = 3

TCP_ESTABLISHED = 1


@dataclass(slots=True)
class Heard:
    """What the readers of one process heard.

    Args:
        missing: How many deliveries are missing.
        disordered: How many came out of their order.
        ended: How many readers lost their connection.
        latencies: Of the sampled readers, in seconds, without those of the warm-up.
        cpu_seconds: What the readers took.
    """

    missing: int = 0
    disordered: int = 0
    ended: int = 0
    latencies: list[float] = field(default_factory=list)
    cpu_seconds: float = 0.0


class Reader(Client):
    """A member that reads, and checks the number of each message."""

    def __init__(self, heard: Heard, warm_up: int, *, sampled: bool) -> None:
        super().__init__('/room', greetings=1)
        self.heard = heard
        self.next = 0
        self.count = 0
        self._warm_up = warm_up
        self._sampled = sampled

    def data_received(self, data: bytes) -> None:
        """Take the short way for what is nothing but whole messages."""
        if self._rest or len(data) % FRAME_BYTES or not self.ready.done():
            super().data_received(data)
            return
        for at in range(0, len(data), FRAME_BYTES):
            if data[at : at + 4] != FRAME_HEAD:
                super().data_received(data[at:])  # a ping is among them
                return
            self.message(data, at + 4, at + FRAME_BYTES)

    def message(self, data: bytes, start: int, end: int) -> None:
        """Check the number, and in a sampled reader the time."""
        at = start + NUMBER_AT
        number = int(data[at : at + NUMBER_DIGITS])
        if number != self.next:
            self.heard.disordered += 1
        self.next = number + 1
        self.count += 1
        if self._sampled and number >= self._warm_up:
            at = start + TIME_AT
            self.heard.latencies.append(perf_counter() - float(data[at : at + TIME_DIGITS]))


async def read(port: int, *, readers: int, warm_up: int, messages: int) -> Heard:
    """Connect readers, and read until all have all, or nothing more comes."""
    heard = Heard()
    numbers = count()
    every = max(readers // SAMPLED, 1)
    clients = await connect_many(
        port, readers, lambda: Reader(heard, warm_up, sampled=not next(numbers) % every)
    )
    cpu = time.process_time()
    total, expected, progress_at = 0, readers * (warm_up + messages), None
    while total < expected:
        await asyncio.sleep(0.1)
        before, total = total, sum(client.count for client in clients)
        if total > before or progress_at is None:
            progress_at = perf_counter() if total else None
        elif perf_counter() > progress_at + PATIENCE_SECONDS:
            break
    heard.cpu_seconds = time.process_time() - cpu
    heard.missing = expected - total
    heard.ended = sum(client.closed.done() for client in clients)
    return heard


class Deaf:
    """Connections that never read, and when the server gave each of them up.

    Args:
        port: The server's.
        members: How many.
    """

    def __init__(self, port: int, members: int) -> None:
        self.given_up: list[float] = []
        self._sockets = [_never_reading(port) for _ in range(members)]
        self._start = perf_counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._sockets:
            each.close()

    def look(self) -> None:
        """Note who has been given up: a reset is known without reading."""
        for each in list(self._sockets):
            state = each.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
            if state != TCP_ESTABLISHED:
                self.given_up.append(perf_counter() - self._start)
                each.close()
                self._sockets.remove(each)


def _never_reading(port: int) -> socket.socket:
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.connect(('127.0.0.1', port))
    deaf.sendall(opening_handshake('/room'))
    return deaf


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the room.

    Args:
        heard: What the readers heard, all processes together.
        busy: What part of the time the server was running.
        waited: What part of the worst second it would have run, but other processes did.
        late_p99_seconds: How late the publisher was.
        growth_bytes: How much the server's memory grew at its highest.
        kernel_bytes: How much more the kernel held for sockets, at its highest.
        lost: Deliveries that are missing or came out of order, and readers that were ended.
        saturated: Whether the server or the readers could not keep the pace.
    """

    heard: Heard
    busy: float
    waited: float
    late_p99_seconds: float
    growth_bytes: int
    kernel_bytes: int
    lost: int
    saturated: bool

    @property
    def p99_seconds(self) -> float:
        """The latency that 99 of 100 deliveries did not exceed."""
        return percentile(self.heard.latencies, 0.99)


def run(options: argparse.Namespace) -> bool:
    """The room without those who never read, then with them."""
    rate = options.rate
    while True:
        without = _calm(options, rate, 0)
        if not without.saturated:
            break
        rate = int(rate * 0.75)
        print(f'  saturated, though nobody stalls: again, with {rate} messages a second')
    stalled = _calm(options, rate, options.deaf)
    worst = without.p99_seconds * RATIO * 1e3
    waited = max(without.waited, stalled.waited)
    return verdict(
        [
            Check('growth of memory', stalled.growth_bytes / MIB, MEMORY_BYTES / MIB, 'MiB'),
            Check("p99 of the others' latency", stalled.p99_seconds * 1e3, worst, 'ms'),
            Check('what the others lost', stalled.lost, 0),
            Check('lost with nobody stalled', without.lost, 0),
            Check('waiting for a CPU; beyond it, latency proves nothing', waited, WAITED),
        ]
    )


def _calm(options: argparse.Namespace, rate: int, deaf: int) -> Run:
    """The run in which other work on the machine disturbed least; what any run lost counts."""
    runs: list[Run] = []
    while True:
        runs.append(_measure(options, rate, deaf))
        if runs[-1].waited <= WAITED or len(runs) == ATTEMPTS:
            break
        print('  other work kept the server from running: again')
    calm = min(runs, key=lambda each: each.waited)
    return replace(
        calm,
        lost=max(each.lost for each in runs),
        growth_bytes=max(each.growth_bytes for each in runs),
    )


def _measure(options: argparse.Namespace, rate: int, deaf: int) -> Run:
    readers = options.members - options.deaf
    print(
        f'\nstalled: {readers} who read and {deaf} who never do, {rate} messages a second of '
        f'{MESSAGE_BYTES} bytes; {options.server}, {options.stall_seconds:g} s'
    )
    warm_up, messages = WARM_UP_SECONDS * rate, int(options.stall_seconds * rate)
    shares = [len(range(number, readers, PROCESSES)) for number in range(PROCESSES)]
    with (
        serving(IMPLEMENTATIONS[options.server]) as served,
        ThreadPoolExecutor() as threads,
        ExitStack() as stack,
    ):
        served.figures()  # it is up
        reading = [
            threads.submit(
                in_own_process,
                read,
                served.port,
                readers=share,
                warm_up=warm_up,
                messages=messages,
            )
            for share in shares
        ]
        _await_members(served, readers)
        _publish(served, 0, warm_up, rate)
        memory = highest = resident_bytes(served.pid)
        members = stack.enter_context(Deaf(served.port, deaf))
        _await_members(served, readers + deaf)
        times = [_times(served.pid)]
        kernel, most_kernel = _kernel_bytes(), 0
        publishing = threads.submit(_publish, served, warm_up, messages, rate)
        while not _done(publishing, *reading):
            time.sleep(0.05)
            highest = max(highest, resident_bytes(served.pid))
            members.look()
            if not publishing.done():
                times.append(_times(served.pid))
                most_kernel = max(most_kernel, _kernel_bytes() - kernel)
        figures = served.figures()
        late = publishing.result()
        heard = _together([each.result() for each in reading])
    (start, cpu, _), (end, cpu_at_end, _) = times[0], times[-1]
    busy, waited = (cpu_at_end - cpu) / (end - start), _worst_second(times)
    reading_part = heard.cpu_seconds / PROCESSES * rate / (warm_up + messages)
    behind = late[-1] > 0.1 and waited <= WAITED
    found = Run(
        heard,
        busy,
        waited,
        percentile(late, 0.99),
        highest - memory,
        most_kernel,
        heard.missing + heard.disordered + heard.ended,
        max(busy, reading_part) > BUSY or behind,
    )
    _tell(found, members, figures, readers * messages / options.stall_seconds)
    return found


def _times(pid: int) -> tuple[float, float, float]:
    return perf_counter(), cpu_seconds(pid), waited_seconds(pid)


def _worst_second(times: list[tuple[float, float, float]]) -> float:
    """The largest part of a second that a process waited for a CPU."""
    worst, first = 0.0, 0
    for now, _, waited in times:
        while now - times[first][0] > 1:
            first += 1
        worst = max(worst, waited - times[first][2])
    return worst


def _kernel_bytes() -> int:
    """What the kernel holds for all TCP sockets of the machine."""
    for line in Path('/proc/net/sockstat').read_text().splitlines():
        if line.startswith('TCP:'):
            return int(line.split()[-1]) * os.sysconf('SC_PAGE_SIZE')
    return 0


def _await_members(served: Served, members: int) -> None:
    found, reached = wait_until(served, lambda each: each['connections'] == members, 60)
    if not reached:
        raise RuntimeError(f'{found["connections"]} of {members} members came')


def _publish(served: Served, first: int, messages: int, rate: int) -> list[float]:
    """Have messages published; how late each was, in seconds."""
    plan = {'first': first, 'count': messages, 'rate': rate, 'size': MESSAGE_BYTES}
    late: list[float] = served.ask('POST', '/publish', plan)['late_seconds']
    return late


def _done(*futures: Future[list[float]] | Future[Heard]) -> bool:
    return all(future.done() for future in futures)


def _together(parts: list[Heard]) -> Heard:
    return Heard(
        missing=sum(part.missing for part in parts),
        disordered=sum(part.disordered for part in parts),
        ended=sum(part.ended for part in parts),
        latencies=[latency for part in parts for latency in part.latencies],
        cpu_seconds=sum(part.cpu_seconds for part in parts),
    )


def _tell(found: Run, members: Deaf, figures: dict[str, int], rate: float) -> None:
    heard = found.heard
    given_up = 'nobody'
    if members.given_up:
        first, last = min(members.given_up), max(members.given_up)
        given_up = f'{len(members.given_up)}, after {first:.1f} to {last:.1f} s'
    print(
        f'  latency: p50 {percentile(heard.latencies, 0.5) * 1e3:.2f} ms, '
        f'p99 {found.p99_seconds * 1e3:.2f} ms, longest {max(heard.latencies) * 1e3:.1f} ms '
        f'({len(heard.latencies):,} sampled of {rate:,.0f} deliveries a second)\n'
        f'  lost {heard.missing}, out of order {heard.disordered}, readers ended {heard.ended}\n'
        f'  server: busy {found.busy:.2f}, waiting for a CPU {found.waited:.2f} of the worst '
        f'second, publisher '
        f'late by p99 {found.late_p99_seconds * 1e3:.1f} ms, '
        f'memory +{found.growth_bytes / MIB:.1f} MiB, '
        f'kernel +{found.kernel_bytes / MIB:.1f} MiB\n'
        f'  readers: CPU {heard.cpu_seconds:.1f} s\n'
        f'  given up: {given_up}; dropped {figures["dropped"]}, '
        f'evicted {figures["evicted"]}, closed as slow {figures["slow_consumers"]}',
        flush=True,
    )
