"""What has to be said about a connection besides its messages, in sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from falcon_ws_mw.close_codes import CLOSE_CODES
from falcon_ws_mw.contract import ChannelContract
from falcon_ws_mw.envelope import CLIENT_PROTOCOL

_LIMITS: Final[Mapping[str, str]] = {
    'auth_timeout_seconds': 'A client that has not said who it is after {} s is disconnected '
    '(3408).',
    'connect_timeout_seconds': 'A handshake that takes longer than {} s is refused (503).',
    'send_timeout_seconds': 'A client that takes nothing for {} s is disconnected.',
    'idle_timeout_seconds': 'A client that says nothing for {} s is disconnected (1001).',
    'max_auth_attempts': 'A client that fails {} times to say who it is is disconnected (3401).',
    'max_message_bytes': 'A message of a client has at most {} bytes; a longer one ends the '
    'connection (1009).',
    'messages_per_second': 'A client that sends more than {} messages a second is read more '
    'slowly, and disconnected if it goes on (3429).',
    'max_outbox_bytes': 'The server sends no message of more than {} bytes.',
    'max_topic_filters': 'A connection subscribes to at most {} topic filters.',
    'request_timeout_seconds': 'A client answers a request of the server within {} s, unless the '
    'request is given longer.',
}
"""The limits that a client notices, and how. The others are the server's own affair."""

_ASKED_FOR: Final[Mapping[str, Callable[[ChannelContract], bool]]] = {
    'auth_timeout_seconds': lambda channel: channel.settings.authenticate_by is not None,
    'max_auth_attempts': lambda channel: channel.settings.authenticate_by is not None,
    'max_topic_filters': lambda channel: channel.settings.client_topics,
    'request_timeout_seconds': lambda channel: any(each.is_request for each in channel.sends),
}
"""Limits that concern some channels only."""

_SLOW: Final[Mapping[str, str]] = {
    'close': 'A client that reads too slowly is closed (1013).',
    'drop_oldest': 'A client that reads too slowly misses messages, the oldest first.',
    'drop_newest': 'A client that reads too slowly misses messages, the newest first.',
}

_CONVERTERS: Final[Mapping[str, str]] = {
    'int': 'A whole number',
    'float': 'A number',
    'uuid': 'A UUID',
    'dt': 'A date and time',
    'path': 'The rest of the path, slashes included',
}


def limits_of(channel: ChannelContract) -> dict[str, float]:
    """The limits of a channel that concern its clients, by name."""
    values = {name: getattr(channel.settings.limits, name) for name in _LIMITS}
    return {
        name: value
        for name, value in values.items()
        if value is not None and (name not in _ASKED_FOR or _ASKED_FOR[name](channel))
    }


def description_of(channel: ChannelContract) -> str:
    """What is written about a channel: its docstring, and what the library knows."""
    return '\n\n'.join(_paragraphs(channel))


def _paragraphs(channel: ChannelContract) -> Iterator[str]:
    if channel.description:
        yield channel.description
    if channel.is_adopted or channel.takes_any:
        yield 'Other messages than these are possible: this resource handles them in its own way.'
    if channel.settings.authenticate_by is not None:
        yield (
            f'A client has to say first who it is, by `{channel.settings.authenticate_by}`: until '
            'then everything else is answered by an error 401.'
        )
    yield from _about_subprotocols(channel)
    sentences = [
        *_about_heartbeat(channel),
        *(_LIMITS[name].format(_shown(value)) for name, value in limits_of(channel).items()),
        _SLOW[channel.settings.slow_consumer],
    ]
    yield 'Limits:\n\n' + '\n'.join(f'- {sentence}' for sentence in sentences)


def _about_heartbeat(channel: ChannelContract) -> Iterator[str]:
    seconds = channel.settings.heartbeat_seconds
    if seconds is not None:
        yield (
            f'A client that speaks `{CLIENT_PROTOCOL}` and has been silent for {_shown(seconds)} s '
            'is sent a `ping`, and has to say something.'
        )


def _shown(value: float) -> str:
    return (
        f'{int(value):,}'.replace(',', '\N{NO-BREAK SPACE}') if value == int(value) else str(value)
    )


def subprotocols_of(channel: ChannelContract) -> list[str]:
    """The subprotocols that a client may negotiate, the preferred ones first."""
    return [name for name in channel.envelopes if name is not None]


def _about_subprotocols(channel: ChannelContract) -> Iterator[str]:
    names = subprotocols_of(channel)
    if not names:
        return
    listed = ', '.join(f'`{name}`' for name in names)
    yield f'Subprotocols, the preferred ones first: {listed}.'
    first, *others = channel.envelopes.values()
    if any(other != first for other in others):
        under = f'under `{names[0]}`'
        yield f'Messages are described as they are {under}; otherwise their form differs.'


def parameter_of(converter: str | None) -> dict[str, Any]:
    """The description of a field of a URI template."""
    if converter is None:
        return {'description': 'A part of the path.'}
    said = _CONVERTERS.get(converter, 'What the converter takes')
    return {'description': f'{said} (Falcon converter `{converter}`).'}


def close_codes() -> list[dict[str, Any]]:
    """The close codes that a client may see."""
    return [
        {'code': row.code, 'name': row.name, 'meaning': row.meaning, 'retry': row.retry}
        for row in CLOSE_CODES.values()
    ]
