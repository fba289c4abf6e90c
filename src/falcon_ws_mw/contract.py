"""What a route promises its clients: what it takes, what it answers and what it sends.

This is what documents, pages and listings are made of; nothing here is needed to handle a message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
import inspect
import logging
import re
from typing import Any, NoReturn

from falcon_ws_mw import payloads
from falcon_ws_mw.envelope import AnyEnvelope
from falcon_ws_mw.errors import ConfigurationError
from falcon_ws_mw.options import RouteSettings
from falcon_ws_mw.payloads.base import PayloadType
from falcon_ws_mw.responders import ResponderTable
from falcon_ws_mw.sends import Declared
from falcon_ws_mw.signatures import Responder, annotation_of

logger = logging.getLogger('falcon_ws_mw')


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageContract:
    """One type of message, in one direction.

    Attributes:
        type: Its type on the wire.
        payload: What its payload is; `None` if nothing says so: then it may be anything.
        reply: What the answer to it carries, where that is said. Any message with an `id` is
            answered; the reply of a handler that returns nothing is null.
        is_request: Whether it is meant to be answered: of messages that the server sends those
            that it waits for an answer to, of others those whose handler says what it returns.
        summary: The first line of what is written about it, or `''`.
        description: The rest, as far as it is for clients, or `''`.
        declared_by: What handles it or says that it is sent: `ChatRoom.on_ws_clientTyping`.
    """

    type: str
    payload: PayloadType | None = None
    reply: PayloadType | None = None
    is_request: bool = False
    summary: str = ''
    description: str = ''
    declared_by: str = ''


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelContract:
    """One URI template and the resource on it.

    Attributes:
        address: The URI template with plain fields, `/ws/chat/{room_name}`.
        resource: The resource's class, qualified.
        summary: The first line of its docstring, or `''`.
        description: The rest of it, or `''`.
        fields: The fields of the template: name to Falcon converter (`'int'`, `'uuid'`), `None`
            where there is none.
        receives: What clients may send.
        sends: What clients may get, replies and errors aside.
        envelopes: Subprotocol to envelope, the preferred ones first; at the end, under `None`,
            what is spoken where none was negotiated.
        settings: The route's settings.
        is_adopted: Whether it has an `on_websocket` of its own, which takes whatever else arrives.
        takes_any: Whether messages of other types are handled too.
    """

    address: str
    resource: str
    summary: str = ''
    description: str = ''
    fields: Mapping[str, str | None] = field(default_factory=dict)
    receives: tuple[MessageContract, ...] = ()
    sends: tuple[MessageContract, ...] = ()
    envelopes: Mapping[str | None, AnyEnvelope]
    settings: RouteSettings
    is_adopted: bool = False
    takes_any: bool = False


def contract_of(
    cls: type, table: ResponderTable, uri_template: str, *, is_adopted: bool = False
) -> ChannelContract:
    """What a resource promises on a URI template.

    Args:
        cls: The resource's class.
        table: What it answers.
        uri_template: The template.
        is_adopted: Whether it has an `on_websocket` of its own.
    """
    summary, description = _docstring(cls)
    settings = table.settings
    return ChannelContract(
        address=_FIELD.sub(r'{\1}', uri_template),
        resource=cls.__qualname__,
        summary=summary,
        description=description,
        fields={found[1]: found[2] for found in _FIELD.finditer(uri_template)},
        receives=tuple(_received(cls, name, each) for name, each in table.messages.items()),
        sends=tuple(_sent(each) for each in table.sends.values()),
        envelopes={
            **{name: settings.envelope_for(name) for name in settings.subprotocols},
            None: settings.envelope,
        },
        settings=settings,
        is_adopted=is_adopted,
        takes_any=table.any_message is not None or table.unhandled is not None,
    )


_FIELD = re.compile(r'\{\s*([A-Za-z_]\w*)\s*(?::\s*(\w+)[^{}]*)?\}')


def _received(cls: type, message_type: str, responder: Responder) -> MessageContract:
    summary, description = _docstring(responder.function)
    answers, reply = _reply_of(cls, responder)
    return MessageContract(
        type=message_type,
        payload=responder.payload,
        reply=reply,
        is_request=answers,
        summary=summary,
        description=description,
        declared_by=responder.name,
    )


def _reply_of(cls: type, responder: Responder) -> tuple[bool, PayloadType | None]:
    """Whether a handler says that it answers, and what.

    A return annotation is for readers: one that is no payload, or cannot be resolved, is left out.
    """
    try:
        annotation = annotation_of(responder.function, 'return', cls)
        if annotation in {None, type(None), inspect.Parameter.empty, NoReturn}:
            return False, None
        if responder.payload is not None and annotation == responder.payload.annotation:
            return True, responder.payload
        return True, None if annotation is Any else payloads.payload_type(annotation)
    except (ConfigurationError, TypeError) as error:
        logger.warning('what %s returns is left out of its contract: %s', responder.name, error)
        return True, None


def _sent(declared: Declared) -> MessageContract:
    summary, _, description = declared.description.strip().partition('\n')
    return MessageContract(
        type=declared.type,
        payload=declared.payload,
        reply=declared.reply,
        is_request=declared.is_request,
        summary=summary,
        description=description.strip(),
        declared_by=declared.by,
    )


_SECTION = re.compile(
    r'^(Args|Attributes|Returns|Raises|Yields|Note|Example)s?:$', re.MULTILINE | re.IGNORECASE
)


def _docstring(thing: object) -> tuple[str, str]:
    """The first paragraph of a docstring and the rest, up to what is for Python's readers only."""
    text = inspect.cleandoc(getattr(thing, '__doc__', None) or '')
    section = _SECTION.search(text)
    summary, _, description = text[: section.start() if section else None].partition('\n\n')
    return ' '.join(summary.split()), description.strip()
