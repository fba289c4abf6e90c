"""The reference backend: what is sent has arrived when the call returns.

`memory://` is one manager by itself. Managers of one process whose URLs name the same hub, as
`memory://tests`, are linked as those of several processes are by another backend: for tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from falcon_ws_mw.backends.base import NOT_STARTED, Backend, Guarantee, Receiver
from falcon_ws_mw.channels import Channel, Kind
from falcon_ws_mw.errors import BackendUnavailable, ConfigurationError, without_password
from falcon_ws_mw.reports import BackendHealth


class _Hub:
    """The managers that are linked, by their node ids."""

    def __init__(self) -> None:
        self.nodes: dict[str, MemoryBackend] = {}


_HUBS: Final[WeakValueDictionary[str, _Hub]] = WeakValueDictionary()


class MemoryBackend(Backend):
    """Links managers of one process and event loop.

    Args:
        url: `memory://`, or `memory://` and the name of a hub.

    Raises:
        ConfigurationError: If there is more in the URL.
    """

    guarantee: ClassVar[Guarantee] = Guarantee(
        reaches='process',
        delivery='exactly_once',
        reports_loss=True,
        words=(
            'One process. A message is handed to every member that joined before it, in the order '
            'of the calls, at most once, before the call returns.'
        ),
    )

    def __init__(self, url: str) -> None:
        super().__init__(url)
        parts = urlsplit(url)
        if parts.path.strip('/') or parts.query or parts.fragment or '@' in parts.netloc:
            raise ConfigurationError(
                f"backend={without_password(url)!r}: expected 'memory://', or that and a name"
            )
        self._hub: _Hub | None = None
        if parts.netloc:
            self._hub = _HUBS.setdefault(parts.netloc, _Hub())
        self._node_id = ''
        self._receiver: Receiver | None = None
        self._counts: dict[Channel, int] = {}
        self._sent = self._received = 0

    @property
    def is_shared(self) -> bool:
        """Whether it has a hub."""
        return self._hub is not None

    async def start(self, node_id: str, receiver: Receiver) -> None:
        """Join the hub."""
        if self._receiver is not None:
            raise RuntimeError('the backend is started already: stop it first')
        self._node_id, self._receiver = node_id, receiver
        if self._hub is not None:
            self._hub.nodes[node_id] = self

    async def stop(self) -> None:
        """Leave the hub."""
        if self._hub is not None:
            self._hub.nodes.pop(self._node_id, None)
        self._receiver = None
        self._counts.clear()

    async def hold(self, counts: Mapping[Channel, int]) -> None:
        """Say how many connections there are under some channels."""
        self._counts |= counts
        for channel, count in counts.items():
            if not count:
                del self._counts[channel]

    async def send(self, channels: Sequence[Channel], data: bytes) -> int | None:
        """Hand it to all who hold one of the channels."""
        linked = self._linked()
        self._sent += 1
        reached = set()
        for channel in channels:
            for node_id, node in linked.items():
                if channel in node._counts:
                    reached.add(node_id)
                    node._take(channel, data)
        return len(reached)

    def _take(self, channel: Channel, data: bytes) -> None:
        if self._receiver is not None:
            self._received += 1
            self._receiver.receive(channel, data)

    async def holders(self, channel: Channel) -> dict[str, int]:
        """Who holds a channel, and for how many."""
        nodes = self._linked().items()
        return {name: node._counts[channel] for name, node in nodes if channel in node._counts}

    async def listening(self, channel: Channel) -> int | None:
        """How many hold a channel."""
        return len(await self.holders(channel))

    async def names(self, kind: Kind, prefix: str = '') -> list[str]:
        """The names of all channels of a kind with a prefix."""
        held = {channel: None for node in self._linked().values() for channel in node._counts}
        return [each.name for each in held if each.kind == kind and each.name.startswith(prefix)]

    def health(self) -> BackendHealth:
        """How it stands."""
        return BackendHealth(
            'stopped' if self._receiver is None else 'connected',
            channels=len(self._counts),
            sent=self._sent,
            received=self._received,
        )

    def _linked(self) -> dict[str, MemoryBackend]:
        """Those it is linked with, as they are now.

        Raises:
            BackendUnavailable: If it is not started.
        """
        if self._receiver is None:
            raise BackendUnavailable(NOT_STARTED)
        return {} if self._hub is None else dict(self._hub.nodes)
