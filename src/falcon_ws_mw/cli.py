"""The command line: what an app's WebSocket routes are, without serving them.

    falcon-ws-mw routes module:app
    falcon-ws-mw asyncapi module:app
    falcon-ws-mw check module:app

`module:app` is what is served: what `install(app)` returned, or with `--factory` a function that
returns it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import fields
import importlib
from operator import attrgetter
from pathlib import Path
import sys
import traceback
from typing import Any, Final, get_origin

import orjson

from falcon_ws_mw.contract import ChannelContract
from falcon_ws_mw.errors import ConfigurationError
from falcon_ws_mw.lifespan import WebSocketLifespan
from falcon_ws_mw.options import DEFAULT_SETTINGS, Limits
from falcon_ws_mw.payloads.base import PayloadType

FINE: Final = 0
WRONG: Final = 1
"""Something is wrong with the app."""
USAGE: Final = 2
"""Something is wrong with the call; the status of `argparse` too."""


class _CannotLoad(Exception):
    """There is no such app."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: Those of the command line (default: the process's own).

    Returns:
        The exit status: 0, or 1 if something is wrong with the app, or 2 if there is none.
    """
    options = _parser().parse_args(arguments)
    try:
        app = load(options.app, directory=options.app_dir, factory=options.factory)
    except _CannotLoad as error:
        print(f'falcon-ws-mw: {error}', file=sys.stderr)
        return USAGE
    try:
        status: int = options.run(app, options)
    except ConfigurationError as error:
        print(f'falcon-ws-mw: {error}', file=sys.stderr)
        return WRONG
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='falcon-ws-mw', description="What an app's WebSocket routes are, without serving them."
    )
    commands = parser.add_subparsers(required=True, metavar='command')
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument('app', help='what is served, as in "chat.main:app"')
    common.add_argument('--factory', action='store_true', help='it is a function that returns it')
    common.add_argument(
        '--app-dir', default='.', metavar='DIR', help='look for it here (default: %(default)s)'
    )
    routes = commands.add_parser(
        'routes', parents=[common], help='list the routes, their messages and settings'
    )
    routes.set_defaults(run=_list_routes)
    asyncapi = commands.add_parser(
        'asyncapi', parents=[common], help='write the AsyncAPI 3.0 document'
    )
    asyncapi.add_argument('--yaml', action='store_true', help='as YAML (default: JSON)')
    asyncapi.add_argument('--title', help="default: the app's own, else its name")
    asyncapi.add_argument('--version', help="default: the app's own, else 0.0.0")
    asyncapi.set_defaults(run=_write_asyncapi)
    check = commands.add_parser(
        'check', parents=[common], help='do what the start of the app checks; exit status for CI'
    )
    check.set_defaults(run=_check)
    return parser


def load(target: str, *, directory: str = '.', factory: bool = False) -> WebSocketLifespan:
    """Import an app.

    Args:
        target: `module:attribute`.
        directory: Where the module is looked for first.
        factory: Whether it is a function that returns the app.

    Raises:
        _CannotLoad: If there is none, or it is not what `install` returns.
    """
    module_name, _, path = target.partition(':')
    if not module_name or not path:
        raise _CannotLoad(f'{target!r}: expected module:attribute, as in "chat.main:app"')
    where = str(Path(directory).resolve())
    if where not in sys.path:
        sys.path.insert(0, where)
    try:
        found: Any = importlib.import_module(module_name)
        for name in path.split('.'):
            found = getattr(found, name)
        app = found() if factory else found
    except Exception as error:
        reason = traceback.format_exception_only(error)[-1].strip()
        raise _CannotLoad(f'{target!r} cannot be loaded: {reason}') from error
    if type(app) is not WebSocketLifespan:
        hint = '' if factory or not callable(app) else '; is it a factory (--factory)?'
        raise _CannotLoad(
            f'{target!r} is {app!r}: expected what install(app) or WebSocketLifespan(app, manager) '
            f'returns{hint}'
        )
    return app


# -- routes


def _list_routes(app: WebSocketLifespan, _: argparse.Namespace) -> int:
    for number, channel in enumerate(app.describe_websockets()):
        print('\n' * (number > 0) + '\n'.join(_described(channel)))
    return FINE


def _described(channel: ChannelContract) -> Iterator[str]:
    yield f'{channel.address}  {channel.resource}'
    for message in channel.receives:
        reply = f' -> {_name_of(message.reply)}' if message.is_request else ''
        yield f'  < {message.type}: {_name_of(message.payload)}{reply}  ({message.declared_by})'
    if channel.is_adopted:
        yield '  < anything else  (on_websocket)'
    elif channel.takes_any:
        yield '  < anything else'
    for message in channel.sends:
        reply = f' -> {_name_of(message.reply)}' if message.is_request else ''
        yield f'  > {message.type}: {_name_of(message.payload)}{reply}'
    for name, value in _settings_of(channel):
        yield f'    {name} = {value}'


def _name_of(payload: PayloadType | None) -> str:
    """A payload as an annotation would be written."""
    annotation = Any if payload is None else payload.annotation
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return annotation.__qualname__
    return str(annotation).replace('typing.', '')


def _settings_of(channel: ChannelContract) -> Iterator[tuple[str, object]]:
    """What of its settings is not the library's default."""
    for setting in filter(attrgetter('compare'), fields(channel.settings)):
        value = getattr(channel.settings, setting.name)
        default = getattr(DEFAULT_SETTINGS, setting.name)
        if isinstance(value, Limits):
            changed = {
                limit.name: getattr(value, limit.name)
                for limit in fields(value)
                if limit.compare and getattr(value, limit.name) != getattr(default, limit.name)
            }
            if changed:
                yield 'limits', ', '.join(f'{name}={each}' for name, each in changed.items())
        elif value != default:
            yield setting.name, value if not isinstance(value, dict) else ', '.join(value)


# -- asyncapi


def _write_asyncapi(app: WebSocketLifespan, options: argparse.Namespace) -> int:
    given = {name: getattr(options, name) for name in ('title', 'version')}
    document = app.asyncapi_document(**{name: each for name, each in given.items() if each})
    if options.yaml:
        from falcon_ws_mw.asyncapi.resource import to_yaml  # noqa: PLC0415  # needs an extra

        sys.stdout.write(to_yaml(document))
    else:
        sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + '\n')
    return FINE


# -- check


def _check(app: WebSocketLifespan, _: argparse.Namespace) -> int:
    problems = app.find_websocket_problems()
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        return WRONG
    channels = app.describe_websockets()
    received = sum(len(channel.receives) for channel in channels)
    print(f'{len(channels)} WebSocket routes, {received} types of messages: nothing is wrong')
    return FINE
