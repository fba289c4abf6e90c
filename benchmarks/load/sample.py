"""What one measurement found."""

from __future__ import annotations

from dataclasses import dataclass
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
    """

    messages: int
    seconds: float
    server_cpu_seconds: float
    load_cpu_seconds: float
    p50_seconds: float
    p99_seconds: float

    @property
    def cost_microseconds(self) -> float:
        """Server CPU for each message."""
        return self.server_cpu_seconds / self.messages * 1e6

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


def make_sample(
    latencies: list[float], seconds: float, server_cpu_seconds: float, load_cpu_seconds: float
) -> Sample:
    """A sample of messages that took so long, one by one, in seconds.

    Raises:
        RuntimeError: If there are no messages.
    """
    if not latencies:
        raise RuntimeError('the server answered nothing')
    latencies = sorted(latencies)
    return Sample(
        messages=len(latencies),
        seconds=seconds,
        server_cpu_seconds=server_cpu_seconds,
        load_cpu_seconds=load_cpu_seconds,
        p50_seconds=statistics.median(latencies),
        p99_seconds=latencies[len(latencies) * 99 // 100],
    )
