"""Who may open a socket at all: by rate, by number, and by the page that asks.

It is asked once the app's own middleware has had its say, before anything of the resource runs.
"""

from __future__ import annotations

import math
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

import falcon
import falcon.asgi

from falcon_ws_mw.logs import quoted
from falcon_ws_mw.origins import own_origin
from falcon_ws_mw.proxies import Proxies, address_block
from falcon_ws_mw.rates import AddressRates

if TYPE_CHECKING:
    from falcon_ws_mw.manager import WebSocketConnectionManager
    from falcon_ws_mw.options import Limits
    from falcon_ws_mw.responders import ResponderTable

RETRY_AFTER_SECONDS = 5
"""When a client may come back that was refused since there are too many connections."""


class Refusal(NamedTuple):
    """Why a handshake is refused, as it is counted, and what its client is told."""

    reason: str
    error: falcon.HTTPError


class Admission:
    """Decides about the handshakes of an app.

    Args:
        manager: Knows who is connected.
        limits: The app's limits.
        proxies: The proxies whose word is taken for whom they ask.
    """

    def __init__(
        self, manager: WebSocketConnectionManager, limits: Limits, proxies: Proxies
    ) -> None:
        self._manager = manager
        self._proxies = proxies
        self._rates = _rates(limits)
        self._rates_by_resource: dict[type, AddressRates | None] = {}

    def refuse(
        self, req: falcon.asgi.Request, cls: type, table: ResponderTable, *, lets_pages_in: bool
    ) -> Refusal | None:
        """Decide about a handshake.

        Args:
            req: Its request.
            cls: The class of the resource that it leads to.
            table: What that answers.
            lets_pages_in: Whether pages of any origin are let in, and only logged: as an old
                `on_websocket` has done so far.

        Returns:
            Why it is refused; `None` if it is not.
        """
        return (
            self._comes_too_fast(req, cls, table)
            or self.one_too_many(table)
            or self._is_foreign(req, table, lets_pages_in=lets_pages_in)
        )

    def _hit(self, limit: str, message: str, *args: object) -> None:
        self._manager.counters.limits_hit[limit] += 1
        self._manager.faults.warn(limit, message, *args, limit=limit)

    def _comes_too_fast(
        self, req: falcon.asgi.Request, cls: type, table: ResponderTable
    ) -> Refusal | None:
        rates = self._rates
        if not table.settings.named.isdisjoint({'handshakes_per_second', 'handshake_burst'}):
            if cls not in self._rates_by_resource:
                self._rates_by_resource[cls] = _rates(table.settings.limits)
            rates = self._rates_by_resource[cls]
        if rates is None:
            return None
        address = address_block(self._proxies.client_address(req))
        early = rates.delay(address, monotonic())
        if early <= 0:
            return None
        self._hit(
            'handshakes_per_second', 'handshakes of %s come too fast: refused', quoted(address)
        )
        error = falcon.HTTPTooManyRequests(
            description='too many connections are being opened from this address',
            retry_after=math.ceil(early),
        )
        return Refusal('limit', error)

    def one_too_many(self, table: ResponderTable) -> Refusal | None:
        """Decide about a handshake by the number of connections alone."""
        most = table.settings.limits.max_connections
        if most is None or len(self._manager.connections) < most:
            return None
        self._hit('max_connections', 'there are max_connections=%d already: refused', most)
        error = falcon.HTTPServiceUnavailable(
            description='there are too many connections', retry_after=RETRY_AFTER_SECONDS
        )
        return Refusal('limit', error)

    def _is_foreign(
        self, req: falcon.asgi.Request, table: ResponderTable, *, lets_pages_in: bool
    ) -> Refusal | None:
        rule = table.settings.allowed_origins
        origin = req.get_header('Origin')
        if origin is None or rule.allows_any:
            return None
        own = own_origin(*self._proxies.host_and_scheme(req)) if rule.needs_own else None
        if rule.admits(origin, own, req):
            return None
        self._manager.faults.warn(
            'origin',
            '%s: a page of the origin %s %s; %s. If it may, name it in allowed_origins; if that is '
            'this server behind a proxy, have the proxy pass host and scheme on, and name it in '
            'trusted_proxies',
            table.name,
            quoted(origin),
            'was let in, since on_websocket has let in all so far' if lets_pages_in else 'may not',
            f'this server is {quoted(own)}' if rule.needs_own else f'allowed are {rule!r}',
            resource=table.name,
        )
        if lets_pages_in:
            return None
        return Refusal(
            'origin',
            falcon.HTTPForbidden(description='pages of this origin may not open a socket here'),
        )


def _rates(limits: Limits) -> AddressRates | None:
    if limits.handshakes_per_second is None:
        return None
    return AddressRates(limits.handshakes_per_second, limits.handshake_burst)
