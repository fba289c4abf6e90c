"""Clients that subscribe to topics by message, on routes that let them (`ws_client_topics`).

`{"type": "subscribe", "payload": {"topic_filter": "prices/+"}}` and `unsubscribe` alike.
Nobody gets in by himself: the resource's `ws_authorize` is asked for each filter (`rights`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypedDict

import falcon

from falcon_ws_mw.errors import ConfigurationError
from falcon_ws_mw.payloads.own_words import described_by
from falcon_ws_mw.responders import ResponderTable
from falcon_ws_mw.rights import DECLARATION, SUBSCRIBE
from falcon_ws_mw.signatures import Responder, place
from falcon_ws_mw.topics import check_topic_filter

if TYPE_CHECKING:
    from falcon_ws_mw.websocket import WebSocket


class TopicFilter(TypedDict):
    """What both messages carry, and their replies."""

    topic_filter: str


_PAYLOAD: Final = described_by(
    {
        'type': 'object',
        'properties': {'topic_filter': {'type': 'string', 'examples': ['prices/+']}},
        'required': ['topic_filter'],
    },
    TopicFilter,
)


def with_client_topics(cls: type, table: ResponderTable) -> ResponderTable:
    """The table of a class, and what answers `subscribe` and `unsubscribe`.

    Args:
        cls: The resource's class.
        table: What it answers by itself.

    Raises:
        ConfigurationError: If it does not say who may subscribe, or answers these types itself.
    """
    where = f'{place(cls)}: {cls.__qualname__}'
    if table.authorize is None:
        raise ConfigurationError(
            f'{where} has ws_client_topics, so it has to say who may subscribe to what: '
            f'declare {DECLARATION}'
        )
    limit = table.settings.limits.max_topic_filters

    async def subscribe(_: Any, ws: WebSocket, *, payload: Any) -> TopicFilter:
        """Get what is published on the topics that a filter matches.

        A topic is text in levels, as `prices/tea`. In a filter `+` stands for any one level, and
        `#` at the end for any number of them. What the client may not have is refused by a 403.
        """
        topic_filter = _filter_of(payload)
        await ws.authorize(SUBSCRIBE, topic_filter)
        if ws.closed:  # its client has left meanwhile
            raise falcon.WebSocketDisconnected
        filters = ws.topic_filters
        if limit is not None and len(filters) >= limit and topic_filter not in filters:
            raise falcon.HTTPTooManyRequests(
                description=f'a connection may have {limit} topic filters: unsubscribe from one'
            )
        await ws.manager.subscribe(ws.id, topic_filter)
        return {'topic_filter': topic_filter}

    async def unsubscribe(_: Any, ws: WebSocket, *, payload: Any) -> TopicFilter:
        """Get no more of what was subscribed to by this filter."""
        topic_filter = _filter_of(payload)
        await ws.unsubscribe(topic_filter)
        return {'topic_filter': topic_filter}

    messages = dict(table.messages)
    for function in (subscribe, unsubscribe):
        name = function.__name__
        if name in messages:
            raise ConfigurationError(
                f'{where} has ws_client_topics, by which the library answers messages of type '
                f'{name!r}, and so does {messages[name].name}: rename it, or leave the setting out'
            )
        messages[name] = Responder(
            f'{cls.__qualname__}: {name}',
            function,
            named=frozenset({'payload'}),
            takes_more=False,
            payload=_PAYLOAD,
        )
    # Readers convert nothing here: what is wrong with a filter is a 400, in words of its own.
    payloads = {**dict.fromkeys(messages), **table.payloads}
    return replace(table, messages=messages, payloads=payloads)


def _filter_of(payload: object) -> str:
    """The topic filter that a client names.

    Raises:
        HTTPBadRequest: If the payload has none.
        InvalidTopic: If it is none.
    """
    if not isinstance(payload, dict) or 'topic_filter' not in payload:
        raise falcon.HTTPBadRequest(
            title='No topic filter', description='expected the payload {"topic_filter": text}'
        )
    return check_topic_filter(payload['topic_filter'])
