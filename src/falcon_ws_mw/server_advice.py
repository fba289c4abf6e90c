"""What a server's own settings do to the library's limits, in plain words, once at the start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from falcon_ws_mw.proxies import Proxies

FAR_ABOVE: Final = 16
"""A server that takes messages so many times as long as the limit undermines it."""


def advice(
    server: str,
    settings: Mapping[str, Any],
    most_bytes: int | None = None,
    proxies: Proxies = Proxies(),  # noqa: B008  # it never changes
) -> Iterator[str]:
    """What is to be changed on the server's command line, and why.

    Args:
        server: The server: `'uvicorn'` or `'hypercorn'`; of others nothing is known.
        settings: Its settings, by their names there. What is missing is not known either.
        most_bytes: The longest message that a route takes, `None` for any.
        proxies: The proxies that the app trusts.
    """
    if server == 'uvicorn':
        yield from _uvicorn(settings, most_bytes, proxies)
    elif server == 'hypercorn':
        yield from _hypercorn(settings, most_bytes)


def _uvicorn(
    settings: Mapping[str, Any], most_bytes: int | None, proxies: Proxies
) -> Iterator[str]:
    longest = settings.get('ws_max_size')
    yield from _about_length('uvicorn', longest, most_bytes, '--ws-max-size {}')
    if settings.get('ws_per_message_deflate') and settings.get('ws') == 'wsproto':
        yield (
            'uvicorn inflates compressed messages under --ws wsproto before it measures them, so '
            'that a small one may take all memory: start it with --ws-per-message-deflate false'
        )
    if 'timeout_graceful_shutdown' in settings and settings['timeout_graceful_shutdown'] is None:
        yield (
            'uvicorn waits for ever at its shutdown for a client that does not read: start it with '
            '--timeout-graceful-shutdown 10'
        )
    allowed = settings.get('forwarded_allow_ips') or ()
    allowed = allowed.split(',') if isinstance(allowed, str) else allowed
    if settings.get('proxy_headers') and any(proxies.includes(each.strip()) for each in allowed):
        yield (
            'uvicorn puts the client in the place of a proxy of trusted_proxies, which is not seen '
            'then, nor what it says of host and scheme: start it with --no-proxy-headers'
        )


def _hypercorn(settings: Mapping[str, Any], most_bytes: int | None) -> Iterator[str]:
    longest = settings.get('websocket_max_message_size')
    cure = 'websocket_max_message_size = {} in its configuration file'
    yield from _about_length('hypercorn', longest, most_bytes, cure)
    yield (
        'hypercorn inflates compressed messages before it measures them, so that a small one may '
        'take all memory, and cannot be told not to: put a proxy in front of it that drops '
        'Sec-WebSocket-Extensions, or take another server'
    )


def _about_length(server: str, longest: int | None, most: int | None, cure: str) -> Iterator[str]:
    if most is not None and longest is not None and longest > FAR_ABOVE * most:
        yield (
            f'{server} reads messages of up to {longest} bytes before max_message_bytes={most} can '
            f'refuse them: start it with {cure.format(most)}'
        )
