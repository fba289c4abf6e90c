"""Who takes part."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.load.dialects import PLAIN, SOCKET_IO, Dialect


@dataclass(frozen=True, slots=True)
class Contender:
    """An app to measure.

    Args:
        name: What `--only` calls it.
        title: What the table calls it.
        app: What `benchmarks.serve` calls it.
        dialect: How clients speak to it.
    """

    name: str
    title: str
    app: str
    dialect: Dialect = PLAIN


RAW = Contender('raw', 'raw ASGI', 'benchmarks.apps.raw:app')
OURS = Contender('ours', 'falcon_ws_mw', 'benchmarks.apps.ours:app')
LIMITED = Contender('limited', 'falcon_ws_mw, every limit on', 'benchmarks.apps.ours:limited')
FALCON = Contender('falcon', 'Falcon loop as documented', 'benchmarks.apps.falcon_loop:app')
TUNED = Contender('tuned', 'Falcon loop, tuned', 'benchmarks.apps.falcon_tuned:app')
STARLETTE = Contender('starlette', 'Starlette', 'benchmarks.apps.starlette_app:app')
LITESTAR = Contender('litestar', 'Litestar', 'benchmarks.apps.litestar_app:app')
SOCKETIO = Contender('socketio', 'python-socketio', 'benchmarks.apps.socketio_app:app', SOCKET_IO)
CHANNELS = Contender('channels', 'Django Channels', 'benchmarks.apps.channels_app:app')
WEBSOCKETS = Contender(
    'websockets', 'websockets.broadcast (no ASGI)', 'benchmarks.apps.websockets_app:serve'
)
OURS_REDIS = Contender('ours', 'falcon_ws_mw', 'benchmarks.apps.ours_redis:app')
SOCKETIO_REDIS = Contender(
    'socketio',
    'python-socketio, AsyncRedisManager',
    'benchmarks.apps.socketio_redis_app:app',
    SOCKET_IO,
)
CHANNELS_REDIS = Contender(
    'channels', 'Django Channels, RedisChannelLayer', 'benchmarks.apps.channels_redis_app:app'
)
CHANNELS_PUBSUB = Contender(
    'channels_pubsub',
    'Django Channels, RedisPubSubChannelLayer',
    'benchmarks.apps.channels_pubsub_app:app',
)
OURS_BUSY = Contender('ours', 'falcon_ws_mw', 'benchmarks.apps.ours_busy:app')
FALCON_BUSY = Contender('falcon', 'Falcon loop as documented', 'benchmarks.apps.falcon_busy:app')
UNTOUCHED_WITHOUT = Contender('without', 'without the library', 'benchmarks.apps.untouched:without')
UNTOUCHED_WITH = Contender('with', 'with the library', 'benchmarks.apps.untouched:with_library')

TYPED = (
    Contender('untyped', 'no annotation', 'benchmarks.apps.typed:untyped'),
    Contender('dict', 'dict[str, Any]', 'benchmarks.apps.typed:plain_dict'),
    Contender('msgspec', 'msgspec.Struct', 'benchmarks.apps.typed:struct'),
    Contender('dataclass', 'dataclass', 'benchmarks.apps.typed:a_dataclass'),
    Contender('typeddict', 'TypedDict', 'benchmarks.apps.typed:typed_dict'),
    Contender('pydantic', 'pydantic model', 'benchmarks.apps.typed:model'),
)


def chosen(contenders: tuple[Contender, ...], only: list[str] | None) -> list[Contender]:
    """Those that were asked for, the base always among them and first.

    Raises:
        SystemExit: If one of the names is not known here.
    """
    if only is None:
        return list(contenders)
    names = [contender.name for contender in contenders]
    if unknown := sorted(set(only) - set(names)):
        raise SystemExit(f'not measured here: {", ".join(unknown)}; there are {", ".join(names)}')
    return [each for each in contenders if each is contenders[0] or each.name in only]
