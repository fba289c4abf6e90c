"""The errors: their family, and what their texts say."""

from __future__ import annotations

import inspect
import re

import falcon
import pytest

from falcon_ws_mw import errors
from falcon_ws_mw.errors import (
    ConfigurationError,
    ConnectionNotFound,
    FalconWebSocketError,
    InvalidCloseCode,
    InvalidName,
    MalformedMessage,
    OutboxFull,
    UnhandledMessage,
    UnknownMessageType,
)

LONG = 'x' * 100_000

# -- the family


def drawn_family() -> dict[str, list[str]]:
    """Each error in the module's docstring, with the names of its bases."""
    family = {'FalconWebSocketError': ['Exception']}
    ancestors = ['FalconWebSocketError']
    drawing = re.compile(r'^(?P<branch>[│ ]*)[├└]── (?P<name>\w+)(?: \((?P<builtin>\w+)\))?', re.M)
    for found in drawing.finditer(errors.__doc__ or ''):
        depth = len(found['branch']) // 4 + 1
        family[found['name']] = [ancestors[depth - 1], *filter(None, [found['builtin']])]
        ancestors[depth:] = [found['name']]
    return family


def real_family() -> dict[str, list[str]]:
    return {
        name: [base.__name__ for base in cls.__bases__]
        for name, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, FalconWebSocketError)
    }


def test_the_family_is_the_one_that_is_drawn() -> None:
    assert drawn_family() == real_family()


@pytest.mark.parametrize(
    ('error', 'builtin'),
    [
        (ConfigurationError('it cannot work'), ValueError),
        (InvalidName('room', ''), ValueError),
        (InvalidCloseCode(1006), ValueError),
        (ConnectionNotFound('c1'), LookupError),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else '',
)
def test_an_error_is_the_builtin_that_says_the_same(
    error: FalconWebSocketError, builtin: type[Exception]
) -> None:
    assert isinstance(error, builtin)


# -- facts


def test_an_invalid_name_knows_what_was_to_be_named_and_how() -> None:
    error = InvalidName('user', 7)

    assert (error.kind, error.name) == ('user', 7)


def test_a_full_outbox_knows_its_bounds() -> None:
    error = OutboxFull(3, None)

    assert (error.max_messages, error.max_bytes) == (3, None)


def test_a_connection_not_found_knows_the_id() -> None:
    assert ConnectionNotFound('c1').connection_id == 'c1'


@pytest.mark.parametrize('id', [None, '', 'a', 0, -1])
def test_an_unhandled_message_knows_its_id(id: str | int | None) -> None:
    assert UnknownMessageType('x', id=id).id == id


def test_an_unknown_message_type_knows_the_type_in_full() -> None:
    assert UnknownMessageType(LONG).type == LONG


# -- texts


@pytest.mark.parametrize(
    ('error', 'found', 'expected'),
    [
        (InvalidName('room', ''), "'' is not a room name", 'text of at most 255 bytes'),
        (InvalidName('user', 7), '7 is not a user name', 'non-empty text'),
        (InvalidCloseCode(1006), '1006', 'expected 1000-1003, 1007-1014 or 3000-4999'),
        (InvalidCloseCode('1000'), "'1000'", '4000-4999 are yours'),
        (ConnectionNotFound('c1'), "'c1'", 'it may have ended'),
        (OutboxFull(3, 9), 'max_outbox_messages=3', 'call `await ws.accept()` first'),
        (OutboxFull(3, 9), 'max_outbox_bytes=9', 'before the connection is accepted'),
        (UnknownMessageType('nix'), "'nix'", 'nothing here handles messages of type'),
        (MalformedMessage('the id is null: leave it out'), 'is null', 'leave it out'),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else '',
)
def test_a_text_says_what_was_found_and_what_to_do(
    error: FalconWebSocketError, found: str, expected: str
) -> None:
    text = str(error)

    assert found in text
    assert expected in text


@pytest.mark.parametrize(
    'error',
    [
        InvalidName('room', LONG),
        ConnectionNotFound(LONG),
        UnknownMessageType(LONG),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_text_stays_short_whatever_was_given(error: FalconWebSocketError) -> None:
    assert len(str(error)) < 200


@pytest.mark.parametrize('character', ['\n', '\x00', '\x1b', '\ud800', '\u2028'])
def test_what_was_given_brings_no_control_character_into_a_text(character: str) -> None:
    assert character not in str(UnknownMessageType(character))


# -- what a client is told


@pytest.mark.parametrize(
    ('error', 'status', 'title'),
    [
        (UnhandledMessage('odd'), 400, 'Unhandled message'),
        (MalformedMessage('odd'), 400, 'Malformed message'),
        (UnknownMessageType('nix'), 404, 'Unknown message type'),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else '',
)
def test_a_client_is_told_in_falcons_form(error: UnhandledMessage, status: int, title: str) -> None:
    answer = error.to_http_error()

    assert isinstance(answer, falcon.HTTPError)
    assert (answer.status_code, answer.title) == (status, title)
    assert answer.description == str(error)
