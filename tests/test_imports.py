"""The shape of the house: who imports whom, and what only one file may touch."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
import sys

import falcon.asgi
import pytest

import falcon_ws_mw

ROOT = Path(falcon_ws_mw.__file__).parent
PACKAGE = ROOT.name

ABOVE_THE_LINE = (
    '__main__',
    'cli',
    '',
    'installation',
    'prometheus',
    'testing',
    'testing.backend_contract',
    'testing.life',
    'testing.holding',
    'testing.delivery',
    'testing.nodes',
    'lifespan',
    'server_advice',
    'described',
    'passing_through',
    'asyncapi.resource',
    'middleware',
    'admission',
    'adoption',
    'routes',
    'tokens',
    'client_topics',
    'heartbeat',
    'stream',
    'conversation',
    'authentication',
    'handling',
    'parallel',
    'failures',
    'hooks',
    'resource',
    'websocket',
    'requests',
    'falcon_socket',
    'inbox',
    'intake',
    'server_internals',
    'handshake',
    'manager',
    'emitter',
    'everywhere',
    'addressing',
    'cluster',
    'calls',
    'interest',
    'gaps',
    'delivery',
    'fanout',
    'foreign',
    'occasions',
    'registry',
    'presence',
    'deadlines',
    'listeners',
    'sweep',
    'silence',
    'workers',
    'cancellation',
    'connection',
    'sender',
    'writer',
    'backends',
    'backends.opening',
    'backends.redis',
    'backends.redis.link',
    'backends.redis.contact',
    'backends.redis.connecting',
    'backends.redis.holding',
    'backends.redis.lane',
    'backends.redis.session',
    'backends.memory',
    'backends.base',
)
"""What acts, from the top down; `''` is the package itself."""

BELOW_THE_LINE = (
    'asyncapi',
    'asyncapi.page',
    'asyncapi.document',
    'asyncapi.channels',
    'asyncapi.facts',
    'asyncapi.wire',
    'asyncapi.rows',
    'asyncapi.examples',
    'asyncapi.markup',
    'asyncapi.schemas',
    'contract',
    'responders',
    'settings',
    'rights',
    'checked',
    'sends',
    'guards',
    'signatures',
    'seen',
    'answers',
    'packets',
    'codec',
    'reading',
    'media',
    'decoding',
    'payloads',
    'payloads.with_msgspec',
    'payloads.with_pydantic',
    'payloads.own_words',
    'payloads.plain_types',
    'payloads.one_pass',
    'payloads.base',
    'outbox',
    'sides',
    'alarms',
    'topics',
    'rooms',
    'metric_names',
    'reports',
    'backends.redis.keys',
    'backends.redis.scripts',
    'backends.redis.options',
    'backends.redis.refusals',
    'backends.positions',
    'channels',
    'backoff',
    'rates',
    'options',
    'proxies',
    'origins',
    'logs',
    'envelope',
    'frames',
    'close_codes',
    'falcon_internals',
    'errors',
    'errors.callers',
    'errors.clients',
    'errors.base',
    'asgi',
)
"""What only decides: nothing here awaits."""

ORDER = ABOVE_THE_LINE + BELOW_THE_LINE

CORE = frozenset({'falcon', 'orjson', *sys.stdlib_module_names})
"""What may be imported anywhere."""

DRIVERS: dict[str, frozenset[str]] = {
    'payloads.with_msgspec': frozenset({'msgspec'}),
    'payloads.one_pass': frozenset({'msgspec'}),
    'payloads.with_pydantic': frozenset({'pydantic', 'pydantic_core'}),
    'prometheus': frozenset({'prometheus_client'}),
    'asyncapi.resource': frozenset({'yaml'}),
    'backends.redis': frozenset({'redis'}),
    **dict.fromkeys(
        ('backends.redis.connecting', 'backends.redis.lane', 'backends.redis.link'),
        frozenset({'redis'}),
    ),
    'backends.redis.refusals': frozenset({'redis'}),
    'backends.redis.session': frozenset({'redis'}),
}
"""Modules that are built on an extra, and on which: imported only when it is needed."""

MAX_LINES = 400


def module_of(path: Path) -> str:
    """A file's name as a module, without the package's."""
    parts = path.relative_to(ROOT).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


FILES = {module_of(path): path for path in sorted(ROOT.rglob('*.py'))}
TREES = {module: ast.parse(path.read_text()) for module, path in FILES.items()}

each_module = pytest.mark.parametrize('module', FILES)


def imported_names(module: str) -> Iterator[str]:
    """The full name of everything that a module imports, wherever in it, for types or to run."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{module}: imports are absolute'
            yield from (f'{node.module}.{alias.name}' for alias in node.names)


def own_imports(module: str) -> set[str]:
    """The modules of the package that a module imports: the longest name that is one."""
    found = set()
    for name in imported_names(module):
        top, _, rest = name.partition('.')
        if top == PACKAGE:
            found.add(rest if rest in FILES else rest.rpartition('.')[0])
    return found


# -- downwards


def test_every_file_has_its_place_in_the_order() -> None:
    assert sorted(ORDER) == sorted(FILES)


@each_module
def test_a_file_imports_only_from_below_itself(module: str) -> None:
    above = ORDER[: ORDER.index(module) + 1]

    assert own_imports(module).isdisjoint(above)


def test_the_top_imports_only_what_it_names() -> None:
    public = {name.rpartition('.')[2] for name in imported_names('')} | {'__version__'}

    assert public == set(falcon_ws_mw.__all__)


@each_module
def test_a_driver_is_imported_only_by_the_file_that_is_for_it(module: str) -> None:
    tops = {name.partition('.')[0] for name in imported_names(module)}

    assert tops <= CORE | {PACKAGE} | DRIVERS.get(module, frozenset())


# -- below the line


@pytest.mark.parametrize('module', BELOW_THE_LINE)
def test_what_decides_imports_no_asyncio(module: str) -> None:
    assert 'asyncio' not in {name.partition('.')[0] for name in imported_names(module)}


@pytest.mark.parametrize('module', BELOW_THE_LINE)
def test_what_decides_never_awaits(module: str) -> None:
    awaiting = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)

    assert [node for node in ast.walk(TREES[module]) if isinstance(node, awaiting)] == []


@pytest.mark.parametrize('module', sorted({*BELOW_THE_LINE} - {'falcon_internals'}))
def test_what_decides_knows_nothing_of_falcons_app(module: str) -> None:
    assert 'falcon.asgi' not in {name[: len('falcon.asgi')] for name in imported_names(module)}


# -- private names of others


def is_private(name: str) -> bool:
    return name.startswith('_') and not (name.startswith('__') and name.endswith('__'))


def own_names(tree: ast.Module) -> set[str]:
    """Private names that a file gives itself: its functions, classes, slots and attributes."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if is_name(node.value, 'self'):
                names.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def is_name(node: ast.AST, *names: str) -> bool:
    return isinstance(node, ast.Name) and node.id in names


DOCUMENTED = {'_asyncio_future_blocking', '_replace'}
"""What looks private, and is by its documentation not: `asyncio.isfuture`, `namedtuple`."""


def foreign_private_names(tree: ast.Module) -> set[str]:
    """Private names that a file uses on objects which are not its own."""
    used = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and not is_name(node.value, 'self', 'cls'):
            used.add(node.attr)
        elif isinstance(node, ast.Call) and is_name(
            node.func, 'getattr', 'setattr', 'hasattr', 'delattr'
        ):
            used |= {str(arg.value) for arg in node.args[1:2] if isinstance(arg, ast.Constant)}
    return {name for name in used if is_private(name)} - own_names(tree) - DOCUMENTED


@pytest.mark.parametrize('module', sorted(set(FILES) - {'falcon_internals'}))
def test_only_falcon_internals_touches_private_names_of_others(module: str) -> None:
    assert foreign_private_names(TREES[module]) == set()


def test_falcon_internals_does() -> None:
    """So the test above can see them."""
    assert {'_router', '_roots', '_find_error_handler', '_dumps'} <= foreign_private_names(
        TREES['falcon_internals']
    )


@each_module
def test_no_private_name_is_imported(module: str) -> None:
    parts = {part for name in imported_names(module) for part in name.split('.')}

    assert not any(map(is_private, parts))


def test_the_ws_touches_nothing_private_of_the_falcon_socket_that_it_is() -> None:
    used = {
        node.attr
        for node in ast.walk(TREES['websocket'])
        if isinstance(node, ast.Attribute) and is_name(node.value, 'self', 'cls')
    }

    assert not {name for name in used & set(dir(falcon.asgi.WebSocket)) if is_private(name)}


# -- files


@each_module
def test_a_file_says_what_it_is_for(module: str) -> None:
    assert ast.get_docstring(TREES[module])


@each_module
def test_a_file_can_be_read_in_one_go(module: str) -> None:
    assert len(FILES[module].read_text().splitlines()) <= MAX_LINES
