"""What one measurement found."""

from __future__ import annotations

from dataclasses import dataclass
import math
import statistics


@dataclass(frozen=True, slots=True)
class Sample:
    """Some stretches of steady traffic.

    Args:
        messages: How many the clients received.
        seconds: How long it took.
        server_cpu_seconds: What the system charged to the server for it.
        load_cpu_seconds: What it charged to the load generator.
        p50_seconds: The median time from sending to receiving.
        p99_seconds: What 99 of 100 messages did not exceed.
        shared_cpu_seconds: What the system charged to a process that all servers use, if one is.
    """

    messages: int
    seconds: float
    server_cpu_seconds: float
    load_cpu_seconds: float
    p50_seconds: float
    p99_seconds: float
    shared_cpu_seconds: float = 0.0

    @property
    def cost_microseconds(self) -> float:
        """Server CPU for each message."""
        return self._for_each(self.server_cpu_seconds)

    @property
    def shared_cost_microseconds(self) -> float:
        """CPU of the process that all servers use, for each message."""
        return self._for_each(self.shared_cpu_seconds)

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.messages / self.seconds

    @property
    def busy(self) -> float:
        """The part of the time that the server was running: near 1 it is the bottleneck."""
        return self.server_cpu_seconds / self.seconds

    @property
    def load_share(self) -> float:
        """CPU of the load generator as a part of the server's."""
        return self.load_cpu_seconds / self.server_cpu_seconds

    def _for_each(self, cpu_seconds: float) -> float:
        return cpu_seconds / self.messages * 1e6 if self.messages else math.inf


def make_sample(
    latencies: list[float],
    seconds: float,
    server_cpu_seconds: float,
    load_cpu_seconds: float,
    shared_cpu_seconds: float,
) -> Sample:
    """A sample of messages that took so long, one by one, in seconds; without any, infinitely."""
    latencies = sorted(latencies)
    return Sample(
        messages=len(latencies),
        seconds=seconds,
        server_cpu_seconds=server_cpu_seconds,
        load_cpu_seconds=load_cpu_seconds,
        p50_seconds=statistics.median(latencies or [math.inf]),
        p99_seconds=latencies[len(latencies) * 99 // 100] if latencies else math.inf,
        shared_cpu_seconds=shared_cpu_seconds,
    )
