"""Who is really asking: what trusted proxies say, and that nobody else is believed."""

from __future__ import annotations

from typing import Any

import falcon.asgi
import falcon.testing
from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from falcon_ws_mw.errors import ConfigurationError
from falcon_ws_mw.proxies import Proxies, address_block

PROXY = '10.0.0.1'
CLIENT = '203.0.113.7'
FORGED = '6.6.6.6'

anything = settings(deadline=None, database=None)

Headers = dict[str, str]


def request_from(
    peer: object, headers: Headers | None = None, scheme: str = 'ws', host: str = 'inner:8000'
) -> falcon.asgi.Request:
    """A handshake, as falcon gets it; headers that were sent as in HTTP/1.1, in latin-1."""
    scope: dict[str, Any] = falcon.testing.create_scope_ws('/ws', scheme=scheme)
    sent = {'host': host, **(headers or {})}
    scope['headers'] = [
        (name.lower().encode(), value.encode('latin-1')) for name, value in sent.items()
    ]
    scope['client'] = peer if peer is None else (peer, 50_000)
    return falcon.asgi.Request(scope, falcon.testing.ASGIRequestEventEmitter())


def without(req: falcon.asgi.Request, key: str) -> falcon.asgi.Request:
    """The same request from a server that leaves a key of the scope out."""
    del req.scope[key]
    return req


# -- whom is believed


@pytest.mark.parametrize(
    ('trusted', 'peer'),
    [
        (PROXY, PROXY),
        ([PROXY], PROXY),
        ((PROXY, '10.0.0.2'), '10.0.0.2'),
        ('10.0.0.0/8', '10.255.255.255'),
        ('10.0.0.0/255.0.0.0', PROXY),
        ('0.0.0.0/0', '8.8.8.8'),
        (PROXY, '::ffff:10.0.0.1'),
        ('10.0.0.0/8', '::FFFF:a00:1'),
        ('::ffff:10.0.0.1', PROXY),
        ('::ffff:10.0.0.0/104', PROXY),
        ('::ffff:0:0/96', '8.8.8.8'),
        ('fd00::/8', 'fd12::1'),
        ('FD00::1', 'fd00:0::1'),
        ('fe80::/10', 'fe80::1%eth0'),
        ('::1', '::1'),
        (iter([PROXY]), PROXY),
        ('*', PROXY),
        ('*', '8.8.8.8'),
        (['*'], '::1'),
        ('*', None),
        ('*', ''),
        ('*', '/run/server.sock'),
    ],
)
def test_a_peer_is_trusted_that_is_named(trusted: Any, peer: object) -> None:
    assert Proxies(trusted).trusts(request_from(peer))


@pytest.mark.parametrize(
    ('trusted', 'peer'),
    [
        ((), PROXY),
        ((), '127.0.0.1'),
        (PROXY, '10.0.0.2'),
        (PROXY, '110.0.0.1'),
        ('10.0.0.0/8', '11.0.0.1'),
        ('10.0.0.0/8', '::a00:1'),
        ('fd00::/8', 'fe80::1'),
        ('::/0', PROXY),
        ('0.0.0.0/0', '::1'),
        ('127.0.0.1', None),
        ('0.0.0.0/0', None),
        ('127.0.0.1', ''),
        ('127.0.0.1', '/run/server.sock'),
        ('127.0.0.1', 'localhost'),
        ('127.0.0.1', 'testclient'),
    ],
)
def test_no_other_peer_is(trusted: Any, peer: object) -> None:
    assert not Proxies(trusted).trusts(request_from(peer))


@pytest.mark.parametrize('trusted', ['127.0.0.1', '0.0.0.0/0'])
def test_a_peer_that_the_server_does_not_tell_is_not_the_loopback(trusted: str) -> None:
    req = without(request_from('127.0.0.1'), 'client')

    assert req.remote_addr == '127.0.0.1'
    assert not Proxies(trusted).trusts(req)
    assert Proxies('*').trusts(req)


@pytest.mark.parametrize('client', [(), [], (None, None), (1, 2), 'x', {}, object()])
def test_a_client_that_asgi_does_not_know_is_nobody(client: object) -> None:
    req = request_from(PROXY)
    req.scope['client'] = client

    assert not Proxies('0.0.0.0/0').trusts(req)
    assert Proxies().client_address(req) == '127.0.0.1'


@pytest.mark.parametrize('header', ['X-Forwarded-For', 'X-Real-IP', 'Forwarded'])
def test_no_header_makes_a_peer_trusted(header: str) -> None:
    value = f'for={PROXY}' if header == 'Forwarded' else PROXY

    assert not Proxies(PROXY).trusts(request_from(FORGED, {header: value}))


# -- the client's address

TRUSTED = (PROXY, '10.0.0.2', 'fd00::/8')


@pytest.mark.parametrize(
    ('header', 'value', 'client'),
    [
        ('X-Forwarded-For', CLIENT, CLIENT),
        ('X-Forwarded-For', f'{FORGED}, {CLIENT}', CLIENT),
        ('X-Forwarded-For', f'{FORGED},{CLIENT}', CLIENT),
        ('X-Forwarded-For', f'{FORGED}, {CLIENT}, 10.0.0.2', CLIENT),
        ('X-Forwarded-For', f'{FORGED}, {PROXY}, {CLIENT}, 10.0.0.2, fd00::7', CLIENT),
        ('X-Forwarded-For', f'{CLIENT}, {PROXY}', CLIENT),
        ('X-Forwarded-For', f'10.0.0.2, {PROXY}', '10.0.0.2'),
        ('X-Forwarded-For', PROXY, PROXY),
        ('X-Forwarded-For', f'{CLIENT}:47011', CLIENT),
        ('X-Forwarded-For', f'{CLIENT}:_port', CLIENT),
        ('X-Forwarded-For', '[2001:db8::1]:47011', '2001:db8::1'),
        ('X-Forwarded-For', '[2001:DB8:0::1]', '2001:db8::1'),
        ('X-Forwarded-For', '"[2001:db8::1]:47011"', '2001:db8::1'),
        ('X-Forwarded-For', '2001:db8::1', '2001:db8::1'),
        ('X-Forwarded-For', f'::ffff:{CLIENT}', CLIENT),
        ('X-Forwarded-For', f'{CLIENT}, ::ffff:10.0.0.2', CLIENT),
        ('X-Forwarded-For', f'{CLIENT}, 10.0.0.2:8080', CLIENT),
        ('X-Forwarded-For', 'fe80::1%eth0', 'fe80::1'),
        ('X-Forwarded-For', f'{CLIENT}, unknown', 'unknown'),
        ('X-Forwarded-For', f'{CLIENT}, _hidden, 10.0.0.2', '_hidden'),
        ('X-Forwarded-For', 'x' * 100, 'x' * 64),
        ('X-Forwarded-For', f'fe80::1%{"x" * 100}', 'fe80::1'),
        ('X-Forwarded-For', '01.2.3.4', '01.2.3.4'),
        ('X-Forwarded-For', '[::1]x', '[::1]x'),
        ('X-Forwarded-For', f'{FORGED}, , {CLIENT},', CLIENT),
        ('X-Forwarded-For', '', PROXY),
        ('X-Forwarded-For', ' , ', PROXY),
        ('X-Real-IP', CLIENT, CLIENT),
        ('X-Real-IP', f' {CLIENT} ', CLIENT),
        ('X-Real-IP', '[2001:db8::1]:80', '2001:db8::1'),
        ('X-Real-IP', '10.0.0.2', '10.0.0.2'),
        ('X-Real-IP', f'{FORGED},{CLIENT}', f'{FORGED},{CLIENT}'),
        ('X-Real-IP', '', PROXY),
        ('Forwarded', f'for={CLIENT}', CLIENT),
        ('Forwarded', f'For={CLIENT};Proto=https', CLIENT),
        ('Forwarded', f'for="{CLIENT}:47011"', CLIENT),
        ('Forwarded', f'for="{CLIENT}:_port"', CLIENT),
        ('Forwarded', 'for="[2001:db8::1]:47011"', '2001:db8::1'),
        ('Forwarded', 'for="[2001:db8::1]"', '2001:db8::1'),
        ('Forwarded', f'for={FORGED}, for={CLIENT}', CLIENT),
        ('Forwarded', f'for={FORGED}, for={CLIENT} , for=10.0.0.2;by=_x', CLIENT),
        ('Forwarded', f'for={FORGED}, for=unknown', 'unknown'),
        ('Forwarded', f'for={FORGED}, for=_hidden', '_hidden'),
        ('Forwarded', f'for={FORGED}, proto=https', 'unknown'),
        ('Forwarded', f', for={CLIENT},, ', CLIENT),
        ('Forwarded', '', PROXY),
    ],
)
def test_the_client_is_the_nearest_that_is_no_trusted_proxy(
    header: str, value: str, client: str
) -> None:
    assert Proxies(TRUSTED).client_address(request_from(PROXY, {header: value})) == client


@pytest.mark.parametrize(
    'opened',
    [
        f'for={FORGED};by="',
        f'for={FORGED};by="\x80, x=";y=a',
        f'for={FORGED};by="\\',
        f'for={FORGED}, for="{FORGED}',
    ],
)
@pytest.mark.parametrize('appended', [f'for={CLIENT}', 'for="[2001:db8::1]"'])
def test_a_quote_left_open_does_not_hide_what_a_proxy_appended(opened: str, appended: str) -> None:
    req = request_from(PROXY, {'Forwarded': f'{opened}, {appended}'})

    assert Proxies(PROXY).client_address(req) == 'unknown'


@pytest.mark.parametrize(
    ('headers', 'client'),
    [
        ({'X-Forwarded-For': CLIENT, 'Forwarded': f'for={FORGED}'}, CLIENT),
        ({'X-Forwarded-For': CLIENT, 'X-Real-IP': FORGED}, CLIENT),
        ({'Forwarded': f'for={CLIENT}', 'X-Real-IP': FORGED}, CLIENT),
        ({'X-Forwarded-For': '', 'Forwarded': f'for={CLIENT}'}, CLIENT),
        ({}, PROXY),
    ],
)
def test_x_forwarded_counts_before_forwarded_and_that_before_x_real_ip(
    headers: Headers, client: str
) -> None:
    assert Proxies(PROXY).client_address(request_from(PROXY, headers)) == client


ALL_FORGED = {
    'Forwarded': f'for={FORGED};host=evil.example;proto=https',
    'X-Forwarded-For': FORGED,
    'X-Real-IP': FORGED,
    'X-Forwarded-Host': 'evil.example',
    'X-Forwarded-Proto': 'https',
}


@pytest.mark.parametrize(
    ('peer', 'client'),
    [
        (CLIENT, CLIENT),
        (f'::ffff:{CLIENT}', CLIENT),
        ('2001:DB8:0::1', '2001:db8::1'),
        ('fe80::1%eth0', 'fe80::1'),
        ('testclient', 'testclient'),
        ('x' * 100, 'x' * 64),
        ('', '127.0.0.1'),
        (None, '127.0.0.1'),
    ],
)
@pytest.mark.parametrize('trusted', [(), PROXY])
def test_an_untrusted_peer_is_the_client_whatever_it_says(
    trusted: Any, peer: object, client: str
) -> None:
    assert Proxies(trusted).client_address(request_from(peer, ALL_FORGED)) == client


@pytest.mark.parametrize('peer', [None, PROXY, '127.0.0.1'])
@pytest.mark.parametrize(
    ('route', 'client'),
    [
        (CLIENT, CLIENT),
        (f'{FORGED}, {CLIENT}', CLIENT),
        (f'{FORGED}, 127.0.0.1', '127.0.0.1'),
        (f'{FORGED}, {PROXY}', PROXY),
    ],
)
def test_who_trusts_any_peer_trusts_no_address_in_a_header(
    peer: object, route: str, client: str
) -> None:
    req = request_from(peer, {'X-Forwarded-For': route})

    assert Proxies('*').client_address(req) == client


# -- host and scheme


@pytest.mark.parametrize(
    ('headers', 'seen'),
    [
        ({}, ('ws', 'inner:8000')),
        ({'X-Forwarded-Proto': 'https'}, ('https', 'inner:8000')),
        ({'X-Forwarded-Proto': 'WSS'}, ('wss', 'inner:8000')),
        ({'X-Forwarded-Proto': 'http, https'}, ('https', 'inner:8000')),
        ({'X-Forwarded-Proto': 'javascript'}, ('ws', 'inner:8000')),
        ({'X-Forwarded-Proto': ''}, ('ws', 'inner:8000')),
        ({'X-Forwarded-Host': 'chat.example'}, ('ws', 'chat.example')),
        ({'X-Forwarded-Host': 'chat.example:8443'}, ('ws', 'chat.example:8443')),
        ({'X-Forwarded-Host': 'evil.example, chat.example'}, ('ws', 'chat.example')),
        ({'X-Forwarded-Host': ' , '}, ('ws', 'inner:8000')),
        (
            {'X-Forwarded-Proto': 'https', 'X-Forwarded-Host': 'chat.example'},
            ('https', 'chat.example'),
        ),
        ({'Forwarded': 'proto=https'}, ('https', 'inner:8000')),
        ({'Forwarded': 'proto=gopher;host=chat.example'}, ('ws', 'chat.example')),
        ({'Forwarded': 'Proto=HTTPS;Host="chat.example:8443"'}, ('https', 'chat.example:8443')),
        ({'Forwarded': 'host=evil.example, host=chat.example'}, ('ws', 'chat.example')),
        (
            {'Forwarded': f'host=evil.com, for={CLIENT};host=chat.example, for=10.0.0.2;host=a'},
            ('ws', 'chat.example'),
        ),
        (
            {'Forwarded': f'for={CLIENT};proto=https, for=10.0.0.2;host=middle;proto=http'},
            ('https', 'middle'),
        ),
        ({'Forwarded': f'for={CLIENT};host="chat.example'}, ('ws', 'inner:8000')),
        (
            {'Forwarded': 'host=evil.example;proto=http', 'X-Forwarded-Host': 'chat.example'},
            ('http', 'chat.example'),
        ),
        (
            {'Forwarded': 'host=chat.example;proto=http', 'X-Forwarded-Proto': 'https'},
            ('https', 'chat.example'),
        ),
    ],
)
def test_a_trusted_proxy_tells_host_and_scheme(headers: Headers, seen: tuple[str, str]) -> None:
    assert Proxies(TRUSTED).host_and_scheme(request_from(PROXY, headers)) == seen


@pytest.mark.parametrize('scheme', ['ws', 'wss', 'http', 'https'])
@pytest.mark.parametrize('peer', [CLIENT, None])
def test_nobody_else_does(peer: object, scheme: str) -> None:
    req = request_from(peer, ALL_FORGED, scheme, 'chat.example:8443')

    assert Proxies(PROXY).host_and_scheme(req) == (scheme, 'chat.example:8443')


def test_without_a_host_header_the_host_is_where_the_server_listens() -> None:
    scope: dict[str, Any] = falcon.testing.create_scope_ws('/ws', scheme='wss', port=8443)
    scope['headers'] = []
    req = falcon.asgi.Request(scope, falcon.testing.ASGIRequestEventEmitter())

    assert Proxies().host_and_scheme(req) == ('wss', 'falconframework.org:8443')


# -- nothing raises

values = (
    st.text(st.characters(max_codepoint=255), max_size=40)
    | st.text('for=host,;"\\[]:. 1a_%', max_size=40)
    | st.lists(
        st.sampled_from([f'for={PROXY}', 'host=a', '"', ',', ';', PROXY, '[::1]:x', '\\', '%']),
        max_size=9,
    ).map(''.join)
)
names = st.sampled_from(sorted(ALL_FORGED))
peers = st.sampled_from([PROXY, CLIENT, None]) | values


@anything
@given(st.dictionaries(names, values), peers, st.sampled_from([(), '*', TRUSTED]))
def test_nothing_that_a_header_says_raises(headers: Headers, peer: object, trusted: Any) -> None:
    proxies = Proxies(trusted)
    req = request_from(peer, headers)
    address = proxies.client_address(req)

    assert len(address) <= 64
    assert proxies.host_and_scheme(req)


@anything
@given(st.dictionaries(names, values), st.ip_addresses().map(str))
def test_what_a_client_writes_before_a_proxy_appends_is_not_believed(
    forged: Headers, client: str
) -> None:
    route = forged.pop('X-Forwarded-For', '')
    headers = {**forged, 'X-Forwarded-For': f'{route}, {client}'}
    proxies = Proxies(PROXY)

    assert proxies.client_address(request_from(PROXY, headers)) == proxies.client_address(
        request_from(PROXY, {'X-Forwarded-For': client})
    )


@anything
@given(values, st.ip_addresses(v=6).map(lambda address: f'"[{address}]"'))
def test_a_forwarded_element_that_a_proxy_appends_is_believed_or_nothing_is(
    forged: str, client: str
) -> None:
    req = request_from(PROXY, {'Forwarded': f'{forged}, for={client}'})
    expected = Proxies().client_address(request_from(client))

    assert Proxies(PROXY).client_address(req) in (expected, 'unknown')


# -- what can be trusted


@pytest.mark.parametrize(
    'entry',
    [
        '',
        ' ',
        'proxy.example',
        'localhost',
        'unix',
        '10.0.0',
        '10.0.0.0/33',
        '10.0.0.1/8',
        '10.0.0.1:80',
        '10.0.0.*',
        '10.0.0.1, 10.0.0.2',
        '[::1]',
        'fd00::/129',
        None,
        5,
        b'10.0.0.1',
        ('10.0.0.1',),
    ],
)
def test_a_proxy_is_an_address_or_a_network(entry: Any) -> None:
    with pytest.raises(ConfigurationError, match='expected an IP address or a network') as caught:
        Proxies([PROXY, entry])

    assert str(caught.value).startswith(f'{entry!r} is not a proxy that can be trusted')
    assert "or '*' alone for whoever connects" in str(caught.value)


def test_a_network_has_no_bits_of_a_host_and_the_refusal_says_so() -> None:
    with pytest.raises(ConfigurationError, match='has host bits set'):
        Proxies('10.0.0.1/8')


@pytest.mark.parametrize('trusted', [None, 5, True, b'10.0.0.1', object()])
def test_anything_else_names_no_proxies(trusted: Any) -> None:
    with pytest.raises(ConfigurationError, match='names no proxies: expected') as caught:
        Proxies(trusted)

    assert repr(trusted) in str(caught.value)


@pytest.mark.parametrize('entries', [['*', PROXY], [PROXY, '*']])
def test_a_star_stands_alone(entries: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="'\\*' trusts whoever connects") as caught:
        Proxies(entries)

    assert repr(entries) in str(caught.value)


@pytest.mark.parametrize(
    ('one', 'same'),
    [
        ((), []),
        (PROXY, [PROXY]),
        (PROXY, '10.0.0.1/32'),
        (PROXY, '::ffff:10.0.0.1'),
        ([PROXY, '::1'], ('::1', PROXY)),
        ('*', ['*']),
    ],
)
def test_proxies_are_equal_that_trust_the_same(one: Any, same: Any) -> None:
    assert Proxies(one) == Proxies(same)
    assert hash(Proxies(one)) == hash(Proxies(same))


@pytest.mark.parametrize(('one', 'other'), [((), '*'), ((), PROXY), (PROXY, '10.0.0.0/8')])
def test_proxies_differ_that_do_not(one: Any, other: Any) -> None:
    assert Proxies(one) != Proxies(other)
    assert Proxies(one) != one


@pytest.mark.parametrize(
    ('trusted', 'shown'),
    [
        ((), 'Proxies([])'),
        ('*', "Proxies('*')"),
        (PROXY, "Proxies('10.0.0.1')"),
        (iter(['10.0.0.0/8', '::1']), "Proxies(['10.0.0.0/8', '::1'])"),
    ],
)
def test_proxies_show_what_was_given(trusted: Any, shown: str) -> None:
    assert repr(Proxies(trusted)) == shown


# -- what counts as one client


@pytest.mark.parametrize(
    ('address', 'block'),
    [
        (CLIENT, CLIENT),
        (f'::ffff:{CLIENT}', CLIENT),
        ('2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'),
        ('2001:DB8:1:2::', '2001:db8:1:2::/64'),
        ('2001:db8:1:3::', '2001:db8:1:3::/64'),
        ('::1', '::/64'),
        ('fe80::1%eth0', 'fe80::/64'),
        ('2001:db8:1:2::/64', '2001:db8:1:2::/64'),
        ('unknown', 'unknown'),
        ('', ''),
        ('x' * 100, 'x' * 64),
    ],
)
def test_a_client_is_an_ipv4_address_or_an_ipv6_network_of_64_bits(
    address: str, block: str
) -> None:
    assert address_block(address) == block


@anything
@given(st.text(max_size=100) | st.ip_addresses().map(str))
def test_a_block_is_short_and_its_own_block(address: str) -> None:
    block = address_block(address)

    assert len(block) <= 64
    assert address_block(block) == block
