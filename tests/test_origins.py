"""Which origins are one, which are allowed, and that nothing else gets in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
import logging
import re
from typing import Any, cast

import falcon.asgi
import falcon.testing
from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from falcon_ws_mw.errors import ConfigurationError
from falcon_ws_mw.origins import OriginRule, normalised, own_origin

from .conftest import Logs, shown

OWN = 'https://chat.example'
PARTNER = 'https://partner.example'

REQ = falcon.testing.create_asgi_req()

anything = settings(deadline=None, database=None)

headers = st.text(max_size=40) | st.text('htps:/.*@[]01a,-_ \n', max_size=40)
"""What a header may hold: anything, and what looks more like an origin."""

hosts = st.from_regex(r'[a-zA-Z0-9_-]{1,9}(\.[a-zA-Z0-9_-]{1,9}){0,3}', fullmatch=True)
ports = st.none() | st.integers(1, 65_535)
origins = st.builds(
    lambda scheme, host, port: f'{scheme}://{host}' + ('' if port is None else f':{port}'),
    st.sampled_from(['http', 'HTTPS', 'app', 'moz-extension']),
    hosts | st.ip_addresses(v=6).map(lambda address: f'[{address.exploded}]'),
    ports,
)

NO_ORIGINS = [
    '',
    ' ',
    'null',
    'NULL',
    '*',
    'chat.example',
    '//chat.example',
    '://chat.example',
    'https:chat.example',
    'https:/chat.example',
    'https://',
    'https://:443',
    'https://chat.example/',
    'https://chat.example/path',
    'https://chat.example?query',
    'https://chat.example#fragment',
    'https://chat.example\\',
    'https://user@chat.example',
    'https://user:secret@chat.example',
    'https://partner.example@evil.example',
    ' https://chat.example',
    'https://chat.example ',
    'https://chat.example\n',
    'https://chat.example\r\n',
    'https://chat.example\0',
    'https://chat\t.example',
    'https://chat.example,https://partner.example',
    'https://chat.example, https://partner.example',
    'https://chat.example https://partner.example',
    'https://chat.example:',
    'https://chat.example:0',
    'https://chat.example:0443',
    'https://chat.example:65536',
    'https://chat.example:99999',
    'https://chat.example:443443',
    'https://chat.example:-1',
    'https://chat.example:+443',
    'https://chat.example:x',
    'https://chat.example:\uff14\uff14\uff13',  # digits, but not ASCII's
    'https://chat.example:443:443',
    'https://.chat.example',
    'https://chat..example',
    'https://chat.example..',
    'https://*.chat.example',
    'https://chat%2eexample',
    'https://bücher.example',
    'https://chat.example\u212a',  # the sign for kelvin, in lower case a 'k'
    'https://\ud800.example',
    'https://::1',
    'https://[::1',
    'https://[]',
    'https://[::1]8000',
    'https://[::1%eth0]',
    'https://[fe80::1::2]',
    'https://[1.2.3.4]',
    'https://[chat.example]',
    'file://',
    'file:///etc/passwd',
    'about:blank',
    'data:text/html,x',
    'ht_tp://chat.example',
    '1http://chat.example',
    f'https://{"a" * 64}.example',
    f'https://{"a." * 150}example',
]
"""What no header of a browser holds, and no list should."""

# -- one form


@pytest.mark.parametrize(
    ('origin', 'form'),
    [
        ('https://chat.example', 'https://chat.example'),
        ('HTTPS://Chat.Example', 'https://chat.example'),
        ('https://chat.example:443', 'https://chat.example'),
        ('http://chat.example:80', 'http://chat.example'),
        ('http://chat.example:443', 'http://chat.example:443'),
        ('https://chat.example:80', 'https://chat.example:80'),
        ('https://chat.example:8443', 'https://chat.example:8443'),
        ('https://chat.example:1', 'https://chat.example:1'),
        ('https://chat.example:65535', 'https://chat.example:65535'),
        ('http://localhost', 'http://localhost'),
        ('http://127.0.0.1:8000', 'http://127.0.0.1:8000'),
        ('http://[::1]', 'http://[::1]'),
        ('http://[::1]:8000', 'http://[::1]:8000'),
        ('http://[2001:DB8:0:0::0:1]:80', 'http://[2001:db8::1]'),
        ('https://xn--bcher-kva.example', 'https://xn--bcher-kva.example'),
        ('https://under_score.example', 'https://under_score.example'),
        ('https://ends-.example', 'https://ends-.example'),
        ('https://chat.example.', 'https://chat.example.'),  # another one than without
        ('chrome-extension://abcdefgh', 'chrome-extension://abcdefgh'),
        ('tauri://localhost:443', 'tauri://localhost:443'),  # which has no port of its own
    ],
)
def test_an_origin_has_one_form(origin: str, form: str) -> None:
    assert normalised(origin) == form


@pytest.mark.parametrize('text', NO_ORIGINS)
def test_anything_else_is_no_origin(text: str) -> None:
    assert normalised(text) is None


def test_an_origin_has_at_most_300_characters() -> None:
    longest = 'https://' + '.'.join(['a' * 50] * 5) + '.' + 'a' * 37

    assert (len(longest), normalised(longest)) == (300, longest)
    assert normalised(f'{longest}a') is None


@anything
@given(origins | headers)
def test_the_form_of_a_form_is_itself(text: str) -> None:
    form = normalised(text)

    assert form is None or normalised(form) == form


@anything
@given(origins)
def test_case_makes_no_other_origin(origin: str) -> None:
    assert normalised(origin) == normalised(origin.upper()) is not None


# -- the server's own


@pytest.mark.parametrize(
    ('scheme', 'host', 'own'),
    [
        ('http', 'chat.example', 'http://chat.example'),
        ('https', 'chat.example', 'https://chat.example'),
        ('ws', 'chat.example', 'http://chat.example'),
        ('wss', 'chat.example', 'https://chat.example'),
        ('WSS', 'Chat.Example', 'https://chat.example'),
        ('ws', 'chat.example:80', 'http://chat.example'),
        ('wss', 'chat.example:443', 'https://chat.example'),
        ('wss', 'chat.example:80', 'https://chat.example:80'),
        ('ws', 'chat.example:8000', 'http://chat.example:8000'),
        ('ws', '[::1]:8000', 'http://[::1]:8000'),
        ('ws', '[0:0::1]', 'http://[::1]'),
        ('ftp', 'chat.example', None),
        ('', 'chat.example', None),
        ('ws', '', None),
        ('ws', '::1', None),
        ('ws', 'chat.example/', None),
        ('ws', 'chat.example:port', None),
        ('ws', 'user@chat.example', None),
        ('ws', 'chat.example, other.example', None),
        ('ws', '/run/server.sock:None', None),
    ],
)
def test_a_server_has_an_origin_by_its_host(scheme: str, host: str, own: str | None) -> None:
    assert own_origin(scheme, host) == own


@anything
@given(st.sampled_from(['ws', 'wss', 'http', 'https']) | headers, headers)
def test_nothing_that_a_host_says_raises(scheme: str, host: str) -> None:
    own = own_origin(scheme, host)

    assert own is None or normalised(own) == own


# -- what a rule admits

SUBDOMAINS = 'https://*.chat.example'
STAGING = re.compile(r'https://pr-[0-9]+\.chat\.example')


@pytest.mark.parametrize(
    ('allowed', 'origin'),
    [
        (None, OWN),
        (None, 'HTTPS://CHAT.EXAMPLE:443'),
        ('same-origin', OWN),
        (['same-origin'], OWN),
        (['same-origin', PARTNER], OWN),
        (['same-origin', PARTNER], PARTNER),
        (PARTNER, PARTNER),
        (PARTNER, 'https://PARTNER.example'),
        (PARTNER, 'https://partner.example:443'),
        ('HTTPS://Partner.Example:443', PARTNER),
        ('https://partner.example:8443', 'https://partner.example:8443'),
        ('http://[::1]:8000', 'http://[0:0:0::1]:8000'),
        ((PARTNER, OWN), OWN),
        ({PARTNER}, PARTNER),
        (iter([PARTNER]), PARTNER),
        ('chrome-extension://abcdefgh', 'chrome-extension://abcdefgh'),
        (SUBDOMAINS, 'https://a.chat.example'),
        (SUBDOMAINS, 'https://a.b.chat.example'),
        (SUBDOMAINS, 'https://A.CHAT.EXAMPLE:443'),
        ('HTTPS://*.Chat.Example:443', 'https://a.chat.example'),
        ('https://*.chat.example:8443', 'https://a.chat.example:8443'),
        ('http://*.localhost', 'http://a.localhost'),
        ([SUBDOMAINS, OWN], OWN),
        (STAGING, 'https://pr-7.chat.example'),
        ([STAGING], 'HTTPS://PR-7.chat.example:443'),
        (re.compile('moz-extension://[0-9a-f-]+'), 'moz-extension://00-ff'),
        ('*', OWN),
        ('*', PARTNER),
        ('*', 'null'),
        ('*', 'https://chat.example/path'),
        ('*', ''),
        (['*'], PARTNER),
    ],
)
def test_what_is_allowed_is_admitted(allowed: Any, origin: str) -> None:
    assert OriginRule(allowed).admits(origin, OWN, REQ)


@pytest.mark.parametrize(
    ('allowed', 'origin'),
    [
        (None, PARTNER),
        (None, 'http://chat.example'),
        (None, 'https://chat.example:8443'),
        (None, 'https://a.chat.example'),
        (None, 'https://chat.example.'),
        (PARTNER, OWN),
        (PARTNER, 'http://partner.example'),
        (PARTNER, 'https://partner.example:80'),
        (PARTNER, 'https://partner.example.evil.example'),
        (PARTNER, 'https://evilpartner.example'),
        ('https://partner.example:8443', PARTNER),
        ([PARTNER], OWN),
        ([], OWN),
        ('chrome-extension://abcdefgh', 'chrome-extension://zyxwvuts'),
        (['same-origin', PARTNER], 'chrome-extension://abcdefgh'),
        (SUBDOMAINS, 'https://chat.example'),
        (SUBDOMAINS, 'https://.chat.example'),
        (SUBDOMAINS, 'https://evilchat.example'),
        (SUBDOMAINS, 'https://chat.example.evil.example'),
        (SUBDOMAINS, 'https://a.chat.example.evil.example'),
        (SUBDOMAINS, 'https://evil.example/.chat.example'),
        (SUBDOMAINS, 'https://evil.example#.chat.example'),
        (SUBDOMAINS, 'https://evil.example:1.chat.example'),
        (SUBDOMAINS, 'https://user@a.chat.example'),
        (SUBDOMAINS, 'https://a.chat.example.'),
        (SUBDOMAINS, 'https://*.chat.example'),
        (SUBDOMAINS, 'http://a.chat.example'),
        (SUBDOMAINS, 'https://a.chat.example:8443'),
        ('https://*.chat.example:8443', 'https://a.chat.example'),
        ('https://*.chat.example:8443', 'https://a.chat.example:18443'),
        (STAGING, 'https://pr-7.chat.example.evil.example'),
        (STAGING, 'https://pr-7.chat.example:8443'),
        (STAGING, 'http://evil.example/https://pr-7.chat.example'),
        (re.compile('.*'), 'https://chat.example/'),
        (re.compile('.*'), 'null'),
    ],
)
def test_what_is_not_allowed_is_refused(allowed: Any, origin: str) -> None:
    assert not OriginRule(allowed).admits(origin, OWN, REQ)


@pytest.mark.parametrize('allowed', [None, PARTNER, [], SUBDOMAINS, re.compile('.*'), '*'])
def test_who_sends_no_origin_is_no_browser_and_admitted(allowed: Any) -> None:
    assert OriginRule(allowed).admits(None, OWN, REQ)


@pytest.mark.parametrize('origin', NO_ORIGINS)
@pytest.mark.parametrize('allowed', [None, ['same-origin', PARTNER, SUBDOMAINS], re.compile('.*')])
def test_what_is_no_origin_is_refused(allowed: Any, origin: str) -> None:
    assert not OriginRule(allowed).admits(origin, OWN, REQ)


@pytest.mark.parametrize('origin', [OWN, 'null', '', 'None'])
def test_nothing_equals_an_own_origin_that_is_not_known(origin: str) -> None:
    assert not OriginRule().admits(origin, None, REQ)


@anything
@given(headers)
def test_nothing_that_a_header_says_raises(origin: str) -> None:
    rule = OriginRule(['same-origin', PARTNER, SUBDOMAINS, STAGING])

    assert rule.admits(origin, OWN, REQ) in (True, False)


@anything
@given(origins)
def test_by_default_an_origin_is_admitted_that_is_the_servers(origin: str) -> None:
    assert OriginRule().admits(origin, normalised(origin), REQ)


@anything
@given(hosts, hosts)
def test_a_star_stands_for_whole_labels_at_the_left(left: str, domain: str) -> None:
    rule = OriginRule('https://*.chat.example')
    host = f'{left}{domain}'.lower()

    assert rule.admits(f'https://{host}.chat.example', None, REQ)
    assert not rule.admits(f'https://{host}chat.example', None, REQ)


# -- what is decided by a function


@pytest.mark.parametrize('origin', ['null', OWN, 'HTTPS://Chat.Example:443/', 'file://', ' '])
def test_a_function_gets_the_header_as_sent_and_the_request(origin: str) -> None:
    got: list[object] = []

    def allows(*args: object) -> bool:
        got.extend(args)
        return True

    assert OriginRule(allows).admits(origin, None, REQ)
    assert got == [origin, REQ]


@pytest.mark.parametrize('origin', [None, ''])
def test_a_function_is_not_asked_where_nothing_was_sent(origin: str | None) -> None:
    asked: list[object] = []

    def allows(*args: object) -> bool:
        asked.append(args)
        return origin is not None

    assert OriginRule(allows).admits(origin, None, REQ) is (origin is None)
    assert asked == []


def test_a_function_refuses_by_false(logs: Logs) -> None:
    assert not OriginRule(lambda origin, req: False).admits(OWN, OWN, REQ)
    assert logs.take() == []


async def later() -> bool:
    return True


@pytest.mark.parametrize('answer', [1, 'yes', None, [OWN], object(), later], ids=shown)
def test_only_true_admits_and_what_is_no_bool_is_logged(answer: Any, logs: Logs) -> None:
    def allows(origin: str, req: object) -> bool:
        return cast('bool', later() if answer is later else answer)

    assert OriginRule(allows).admits(OWN, OWN, REQ) is False
    (line,) = logs.take()
    assert 'neither True nor False' in line


def test_what_a_function_raises_refuses_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    error = LookupError('no tenant has that origin')

    def allows(origin: str, req: object) -> bool:
        raise error

    assert not OriginRule(allows).admits(OWN, OWN, REQ)
    (record,) = caplog.records
    assert record.name == 'falcon_ws_mw'
    assert record.levelno == logging.ERROR
    assert record.exc_info
    assert record.exc_info[1] is error
    caplog.clear()


def test_what_ends_the_process_is_not_caught() -> None:
    def allows(origin: str, req: object) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        OriginRule(allows).admits(OWN, OWN, REQ)


class Tenants:
    def __call__(self, origin: str, req: falcon.asgi.Request) -> bool:
        return self.allows(origin, req)

    def allows(self, origin: str, req: falcon.asgi.Request) -> bool:
        return origin == PARTNER and req is REQ


def by_three(tenant: str, origin: str, req: object) -> bool:
    return origin == f'https://{tenant}.example'


@pytest.mark.parametrize(
    'function', [Tenants(), Tenants().allows, partial(by_three, 'partner'), PARTNER.startswith]
)
def test_whatever_can_be_called_with_two_is_a_function(function: Callable[..., bool]) -> None:
    OriginRule(function)


@pytest.mark.parametrize('function', [Tenants(), Tenants().allows, partial(by_three, 'partner')])
def test_a_function_decides(function: Callable[..., bool]) -> None:
    rule = OriginRule(function)

    assert rule.admits(PARTNER, OWN, REQ)
    assert not rule.admits(OWN, OWN, REQ)


# -- what can be allowed


async def asks_a_database(origin: str, req: object) -> bool:
    return True


async def yields(origin: str, req: object) -> Any:
    yield True


class AsyncTenants:
    async def __call__(self, origin: str, req: object) -> bool:
        return True


@pytest.mark.parametrize(
    ('function', 'cure'),
    [
        (asks_a_database, 'make it a plain def'),
        (partial(asks_a_database), 'make it a plain def'),
        (yields, 'make it a plain def'),
        (AsyncTenants(), 'make it a plain def'),
        (AsyncTenants().__call__, 'make it a plain def'),
        (Tenants, 'give an instance'),
        (lambda origin: True, 'change its parameters'),
        (lambda: True, 'change its parameters'),
        (lambda origin, req, own: True, 'change its parameters'),
    ],
)
def test_a_function_has_to_answer_at_once_for_origin_and_request(function: Any, cure: str) -> None:
    with pytest.raises(ConfigurationError, match=cure) as caught:
        OriginRule(function)

    assert repr(function) in str(caught.value)
    assert 'expected a function of (origin, req)' in str(caught.value)


@pytest.mark.parametrize('allowed', [5, True, 0, b'https://chat.example', bytearray(), object()])
def test_anything_else_cannot_be_allowed(allowed: Any) -> None:
    with pytest.raises(ConfigurationError, match='allows no origins: expected None') as caught:
        OriginRule(allowed)

    assert repr(allowed) in str(caught.value)


@pytest.mark.parametrize(
    'entry', [None, 5, b'https://chat.example', [OWN], lambda origin, req: True]
)
def test_a_list_has_only_texts_and_patterns(entry: Any) -> None:
    with pytest.raises(ConfigurationError, match='not an entry of a list of origins') as caught:
        OriginRule([OWN, entry])

    assert repr(entry) in str(caught.value)
    assert "the own origin is 'same-origin'" in str(caught.value)


@pytest.mark.parametrize('entries', [['*', OWN], ['same-origin', '*'], ['*', '*']])
def test_a_star_stands_alone(entries: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="'\\*' allows any origin") as caught:
        OriginRule(entries)

    assert repr(entries) in str(caught.value)


@pytest.mark.parametrize('entry', ['null', 'NULL'])
def test_null_cannot_be_listed_as_any_page_can_have_it(entry: str) -> None:
    with pytest.raises(ConfigurationError, match='any page can have it') as caught:
        OriginRule(['same-origin', entry])

    assert "allow any origin by '*', or decide by a function" in str(caught.value)


@pytest.mark.parametrize('pattern', [re.compile(b'https://.*'), [re.compile(b'')]])
def test_a_pattern_is_one_of_text(pattern: Any) -> None:
    with pytest.raises(ConfigurationError, match='compile it from a str'):
        OriginRule(pattern)


@pytest.mark.parametrize(
    'text', [text for text in NO_ORIGINS if text.lower() != 'null' and '*' not in text]
)
def test_what_is_no_origin_cannot_be_listed(text: str) -> None:
    with pytest.raises(ConfigurationError, match='is not an origin: expected scheme://') as caught:
        OriginRule([OWN, text])

    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ('entry', 'cure'),
    [
        ('https://chat.example/', "write 'https://chat.example'"),
        ('https://chat.example/path?query', "write 'https://chat.example'"),
        (' https://chat.example:8443 ', "write 'https://chat.example:8443'"),
        ('chat.example', "write 'https://chat.example'"),
        ('localhost:8000/', "write 'https://localhost:8000'"),
        ('wss://chat.example', "write 'https://chat.example'"),
        ('ws://localhost:8000', "write 'http://localhost:8000'"),
        ('https://bücher.example', 'xn--'),
        ('https://*.chat.example/', 'no path'),
    ],
)
def test_a_refusal_says_what_to_write_instead(entry: str, cure: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(cure)):
        OriginRule(entry)


@pytest.mark.parametrize(
    'text',
    [
        '*.chat.example',
        '*://chat.example',
        'https://*',
        'https://*:8443',
        'https://*.',
        'https://*chat.example',
        'https://a*.chat.example',
        'https://a.*.example',
        'https://chat.*',
        'https://*.*.example',
        'https://chat.example:*',
        'https://*.chat.example/',
        'https://*.chat.example:0',
        'https://user@*.chat.example',
        'https://*.0.0.1',
        'https://*.0x7f',
        'https://*.1',
        'https://*.1:8000',
        'https://*.1.',
        'https://*.[::1]',
        'wss://*.chat.example',
        'chrome-extension://*.abc',
        'chrome-extension://*',
    ],
)
def test_a_star_stands_for_labels_of_a_domain_or_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match='is not a pattern of origins: expected') as caught:
        OriginRule(text)

    assert repr(text) in str(caught.value)


@anything
@given(headers.filter(lambda text: '://*.' not in text and not text.startswith('ws')))
def test_a_listed_text_is_refused_or_an_origin(text: str) -> None:
    is_origin = text in ('*', 'same-origin') or normalised(text) is not None

    with nullcontext() if is_origin else pytest.raises(ConfigurationError):
        OriginRule(text)


# -- what can be seen of a rule


def len_is_even(origin: str, req: object) -> bool:
    return len(origin) % 2 == 0


@pytest.mark.parametrize(
    ('allowed', 'allows_any', 'needs_own'),
    [
        (None, False, True),
        ('same-origin', False, True),
        ([PARTNER, 'same-origin'], False, True),
        (PARTNER, False, False),
        ([], False, False),
        (STAGING, False, False),
        (lambda origin, req: True, False, False),
        ('*', True, False),
    ],
)
def test_a_rule_tells_what_it_needs(allowed: Any, allows_any: bool, needs_own: bool) -> None:
    rule = OriginRule(allowed)

    assert (rule.allows_any, rule.needs_own) == (allows_any, needs_own)


@pytest.mark.parametrize(
    ('one', 'same'),
    [
        (None, 'same-origin'),
        (PARTNER, [PARTNER]),
        (PARTNER, 'HTTPS://partner.example:443'),
        ([PARTNER, OWN], (OWN, PARTNER, OWN)),
        ('*', ['*']),
        (SUBDOMAINS, 'HTTPS://*.CHAT.example'),
        (STAGING, [re.compile(STAGING.pattern)]),
        (len_is_even, len_is_even),
    ],
)
def test_rules_are_equal_that_allow_the_same(one: Any, same: Any) -> None:
    assert OriginRule(one) == OriginRule(same)
    assert hash(OriginRule(one)) == hash(OriginRule(same))


@pytest.mark.parametrize(
    ('one', 'other'),
    [
        (None, '*'),
        (None, []),
        (None, OWN),
        (PARTNER, OWN),
        (SUBDOMAINS, OWN),
        (STAGING, SUBDOMAINS),
    ],
)
def test_rules_differ_that_do_not(one: Any, other: Any) -> None:
    assert OriginRule(one) != OriginRule(other)
    assert OriginRule(one) != one


@pytest.mark.parametrize(
    ('allowed', 'shown'),
    [
        (None, 'OriginRule(None)'),
        ('*', "OriginRule('*')"),
        ('HTTPS://Partner.example', "OriginRule('HTTPS://Partner.example')"),
        ((PARTNER, OWN), f'OriginRule([{PARTNER!r}, {OWN!r}])'),
        (iter([PARTNER]), f'OriginRule([{PARTNER!r}])'),
        (STAGING, f'OriginRule({STAGING!r})'),
    ],
)
def test_a_rule_shows_what_was_given(allowed: Any, shown: str) -> None:
    assert repr(OriginRule(allowed)) == shown
