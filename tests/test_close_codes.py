"""Which close codes there are, which may be sent, and what fits beside them."""

from __future__ import annotations

from enum import IntEnum
from http import HTTPStatus

import falcon
import pytest

from falcon_ws_mw.close_codes import (
    CLOSE_CODES,
    MAX_REASON_BYTES,
    check_code,
    fit_reason,
    from_http_status,
)
from falcon_ws_mw.errors import InvalidCloseCode


def may_be_sent(code: object) -> bool:
    try:
        check_code(code)
    except InvalidCloseCode:
        return False
    return True


# -- the table


@pytest.mark.parametrize('code', CLOSE_CODES)
def test_a_row_is_filed_under_its_own_number(code: int) -> None:
    assert CLOSE_CODES[code].code == code


@pytest.mark.parametrize('code', CLOSE_CODES)
def test_a_row_says_whether_its_code_may_be_sent(code: int) -> None:
    assert CLOSE_CODES[code].sendable == may_be_sent(code)


def test_every_row_has_a_name_of_its_own() -> None:
    assert len({row.name for row in CLOSE_CODES.values()}) == len(CLOSE_CODES)


@pytest.mark.parametrize('code', [code for code in CLOSE_CODES if code >= 3000])
def test_a_code_of_frameworks_is_falcons_and_named_by_its_http_status(code: int) -> None:
    assert CLOSE_CODES[code].name == HTTPStatus(code - 3000).phrase


def test_the_codes_of_the_protocol_have_the_names_that_iana_registered() -> None:
    assert {code: row.name for code, row in CLOSE_CODES.items() if code < 3000} == {
        1000: 'Normal Closure',
        1001: 'Going Away',
        1002: 'Protocol Error',
        1003: 'Unsupported Data',
        1005: 'No Status Received',
        1006: 'Abnormal Closure',
        1007: 'Invalid Payload',
        1008: 'Policy Violation',
        1009: 'Message Too Big',
        1010: 'Mandatory Extension',
        1011: 'Internal Error',
        1012: 'Service Restart',
        1013: 'Try Again Later',
        1014: 'Bad Gateway',
        1015: 'TLS Handshake',
    }


def test_a_client_comes_back_where_that_may_help() -> None:
    assert {code for code, row in CLOSE_CODES.items() if row.retry} == {
        *(1001, 1005, 1006, 1015),  # the link ended, not the conversation
        *(1011, 1012, 1013, 1014),  # the server's trouble, which may pass
        *(3429, 3500, 3503),
    }


def test_no_code_of_the_application_is_in_the_table() -> None:
    assert max(CLOSE_CODES) < 4000


def test_an_http_status_becomes_falcons_close_code() -> None:
    assert from_http_status(falcon.HTTPForbidden().status_code) == 3403


# -- what may be sent


def test_these_codes_may_be_sent_and_no_others() -> None:
    sendable = {code for code in range(-1, 70_000) if may_be_sent(code)}

    assert sendable == {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}


@pytest.mark.parametrize('code', [True, '1000', 1000.0, None])
def test_what_is_no_whole_number_is_no_code(code: object) -> None:
    with pytest.raises(InvalidCloseCode) as caught:
        check_code(code)

    assert caught.value.code is code


class Codes(IntEnum):
    KICKED = 4001


def test_a_member_of_an_enum_goes_out_as_a_plain_number() -> None:
    assert type(check_code(Codes.KICKED)) is int


# -- reasons


@pytest.mark.parametrize(
    ('reason', 'fitted'),
    [
        ('', ''),
        ('bye', 'bye'),
        ('a' * 123, 'a' * 123),
        ('a' * 124, 'a' * 123),
        ('é' * 61, 'é' * 61),
        ('é' * 62, 'é' * 61),
        ('a' + 'é' * 61, 'a' + 'é' * 61),
        ('€' * 42, '€' * 41),
        ('a' * 121 + '😀', 'a' * 121),
        ('a' * 119 + '😀', 'a' * 119 + '😀'),
        ('\ud800', '?'),
        ('\ud800' * 200, '?' * 123),
    ],
)
def test_a_reason_is_cut_at_a_character_to_what_a_close_frame_holds(
    reason: str, fitted: str
) -> None:
    assert fit_reason(reason) == fitted


@pytest.mark.parametrize('character', ['a', 'é', '€', '😀', '\ud800'])
@pytest.mark.parametrize('count', range(120, 126))
def test_a_fitted_reason_always_fits(character: str, count: int) -> None:
    assert len(fit_reason(character * count).encode()) <= MAX_REASON_BYTES
