"""JSON-RPC 2.0 as an envelope: which member of a frame is what (https://www.jsonrpc.org/specification).

A method is a message type, its params are the payload, and the id is the id. What is no request, or
no JSON at all, raises an error that already knows its JSON-RPC code; `encode` puts it on the wire.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, TypeGuard

import falcon
import orjson

from falcon_ws_mw import MalformedMessage, UnknownMessageType

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603

_MESSAGES: Final = {
    PARSE_ERROR: 'Parse error',
    INVALID_REQUEST: 'Invalid Request',
    METHOD_NOT_FOUND: 'Method not found',
    INVALID_PARAMS: 'Invalid params',
    INTERNAL_ERROR: 'Internal error',
}
"""What the specification calls its own errors (§5.1)."""

_LARGEST_ID: Final = 2**53 - 1
"""Beyond it, readers of JSON disagree on what number it is (RFC 8259 §6)."""

_NOBODYS_ID: Final = ''
"""Stands for the null of a response: no request of the server has this id."""


class InvalidRequest(MalformedMessage):
    """The frame is JSON, and no JSON-RPC message."""

    title = _MESSAGES[INVALID_REQUEST]
    code: ClassVar[int] = INVALID_REQUEST

    def to_http_error(self) -> falcon.HTTPError:
        """Falcon's errors may carry a code: there it waits for `encode`."""
        return falcon.HTTPError(
            self.status, title=self.title, description=self.description, code=self.code
        )


class ParseError(InvalidRequest):
    """The frame is no JSON."""

    title = _MESSAGES[PARSE_ERROR]
    code = PARSE_ERROR


@dataclass(frozen=True, slots=True)
class JsonRpcEnvelope:
    """Speaks JSON-RPC 2.0 in text frames, in both directions; one message a frame.

    Without state: all of them are equal, so connections of different routes can share rooms.
    """

    content_type: ClassVar[str] = 'application/json'

    # -- in

    def decode(self, raw: str | bytes) -> tuple[str, Any, str | int | None]:
        """Read a request, a notification, or the response to a request of the server.

        Raises:
            ParseError: If it is no JSON text.
            InvalidRequest: If it is nothing of these.
            UnknownMessageType: For a method that nobody may have.
        """
        message = _json(raw)
        if isinstance(message, list):
            raise InvalidRequest('batches are not taken here: send each message in its own frame')
        if not isinstance(message, dict):
            raise InvalidRequest('expected an object')
        if 'method' not in message and ('result' in message or 'error' in message):
            return _response(message)
        message_id = _id(message)
        if message.get('jsonrpc') != '2.0':
            raise InvalidRequest('expected "jsonrpc": "2.0"', id=message_id)
        method = message.get('method')
        if not isinstance(method, str):
            raise InvalidRequest('expected a "method", as text', id=message_id)
        if method in {'reply', 'error'} or method.startswith('rpc.'):
            # The first two are the library's words, the others the specification's (§4.1).
            raise UnknownMessageType(method, id=message_id)
        params = message.get('params')
        if not isinstance(params, (dict, list)) and 'params' in message:
            raise InvalidRequest('"params" are an object or an array, or left out', id=message_id)
        return method, params, message_id

    # -- out

    def encode(self, type: str, payload: Any, id: str | int | None) -> str:
        """Make a response of a reply or an error, of all else a request or a notification.

        Raises:
            TypeError: If a payload can be no params, or no JSON.
        """
        if type == 'reply':
            return _text({'result': payload, 'id': id})
        if type != 'error':
            return _text(_call(type, payload, id))
        error = _error(payload)
        if id is None and error['code'] not in {PARSE_ERROR, INVALID_REQUEST}:
            # A notification gets no response, even if it fails (§4.1); null is the id of what could
            # not be read only (§5). So nobody takes it for an answer, the server notifies in turn.
            return _text(_call('error', error, None))
        return _text({'error': error, 'id': id})

    # -- for the AsyncAPI document

    def describe(
        self, type: str, payload: dict[str, Any] | None, *, id: Literal['never', 'maybe', 'always']
    ) -> dict[str, Any]:
        """The JSON Schema of a whole message.

        Args:
            type: Its type.
            payload: The schema of its payload; `None` for anything. It admits null where the
                payload may be missing.
            id: Whether it has an id: a client may always leave it out, for a notification.
        """
        if type == 'reply':
            return _object({'result': payload or {}, 'id': _ID})
        if type == 'error':
            return _described_error(payload or {}, answers=id == 'always')
        params, may_be_missing = _described_params(payload)
        members = {'method': {'const': type}, 'params': params}
        if id != 'never':
            members['id'] = _ID
        optional = {'params': may_be_missing, 'id': id == 'maybe'}
        return _object(members, optional=[name for name in optional if optional[name]])


# -- reading


def _json(raw: str | bytes) -> Any:
    if isinstance(raw, bytes):
        raise ParseError('binary frames are not understood here: send text', decoded=False)
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ParseError('the text is not valid JSON', decoded=False) from error


def _is_id(value: object) -> TypeGuard[str | int]:
    if isinstance(value, int) and not isinstance(value, bool):
        return -_LARGEST_ID <= value <= _LARGEST_ID
    return isinstance(value, str)


def _id(message: dict[str, Any]) -> str | int | None:
    """The id of a request, `None` for a notification."""
    message_id = message.get('id')
    if 'id' in message and not _is_id(message_id):
        # The specification discourages null and fractions (§4); no answer could be told apart.
        raise InvalidRequest(
            '"id" is text or a whole number within ±(2⁵³-1); leave it out of a notification'
        )
    known: str | int | None = message_id
    return known


def _response(message: dict[str, Any]) -> tuple[str, Any, str | int]:
    """What the client answers to a request of the server."""
    if message.get('jsonrpc') != '2.0':
        raise InvalidRequest('expected "jsonrpc": "2.0"')
    message_id = message.get('id')
    known = message_id if _is_id(message_id) else _NOBODYS_ID
    if 'error' not in message:
        return 'reply', message['result'], known
    error = message['error']
    if 'result' in message or not isinstance(error, dict):
        raise InvalidRequest('a response has either a "result" or an "error", which is an object')
    # Under these names `ReplyError` knows them.
    facts = {'code': error.get('code'), 'title': error.get('message'), 'data': error.get('data')}
    return 'error', facts, known


# -- making


def _text(members: dict[str, Any]) -> str:
    return orjson.dumps({'jsonrpc': '2.0', **members}).decode()


def _call(method: str, params: Any, id: str | int | None) -> dict[str, Any]:
    call: dict[str, Any] = {'method': method}
    if params is not None:
        if not isinstance(params, (dict, list, tuple)):
            raise TypeError(f'the params of {method!r} are {params!r:.50}: expected a dict or list')
        call['params'] = params
    if id is not None:
        call['id'] = id
    return call


def _error(payload: dict[str, Any]) -> dict[str, Any]:
    """The error object of what Falcon says about an error."""
    code = _code(payload)
    return {'code': code, 'message': _MESSAGES.get(code, payload['title']), 'data': payload}


def _code(payload: dict[str, Any]) -> int:
    """The code that an error was given, or the one for its HTTP status.

    What has none of the specification's is the app's own affair, and keeps its status: -32768 to
    -32000 are reserved, all other numbers are free (§5.1).
    """
    status: int = payload['status']
    if 'code' in payload:
        code: int = payload['code']
        return code
    if payload['title'] == UnknownMessageType.title:  # a handler's own 404 is another thing
        return METHOD_NOT_FOUND
    return {422: INVALID_PARAMS, 500: INTERNAL_ERROR}.get(status, status)


# -- describing


_ID: Final = {'type': ['string', 'integer']}
_PARAMS: Final = {'type': ['object', 'array']}


def _described_params(payload: dict[str, Any] | None) -> tuple[dict[str, Any], bool]:
    """The schema of params, and whether they may be missing: that is what null stands for."""
    if payload is None:
        return _PARAMS, True
    types = [each.get('type', ()) for each in payload.get('anyOf', [payload])]
    if any('null' in each for each in types):  # each is a word, or a list of them
        return {'allOf': [payload, _PARAMS]}, True
    return payload, False


def _described_error(data: dict[str, Any], *, answers: bool) -> dict[str, Any]:
    """The schema of an error; those that answer the server may come without data."""
    error = _object(
        {'code': {'type': 'integer'}, 'message': {'type': 'string'}, 'data': data},
        optional=['data'] if answers else (),
        jsonrpc=False,
    )
    if answers:
        return _object({'error': error, 'id': _ID})
    response = _object({'error': error, 'id': {'type': ['string', 'integer', 'null']}})
    return {'anyOf': [response, _object({'method': {'const': 'error'}, 'params': error})]}


def _object(
    members: dict[str, Any], *, optional: Container[str] = (), jsonrpc: bool = True
) -> dict[str, Any]:
    if jsonrpc:
        members = {'jsonrpc': {'const': '2.0'}, **members}
    return {
        'type': 'object',
        'properties': members,
        'required': [name for name in members if name not in optional],
    }
