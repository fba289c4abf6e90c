"""The ASGI wrapper: what starts and stops with the app."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
import logging
from typing import Any

from falcon_ws_mw import falcon_internals, server_internals
from falcon_ws_mw.asgi import ASGIApp, Event, Receive, Scope, Send
from falcon_ws_mw.codec import Codecs
from falcon_ws_mw.decoding import DEFAULT_DECODING, Decoding
from falcon_ws_mw.described import Described
from falcon_ws_mw.envelope import DEFAULT_ENVELOPE
from falcon_ws_mw.errors import ConfigurationError
from falcon_ws_mw.handshake import SCOPE_KEY, ConversationStarts, Handshake
from falcon_ws_mw.manager import WebSocketConnectionManager
from falcon_ws_mw.middleware import WebSocketDispatchMiddleware, media_of
from falcon_ws_mw.options import (
    Refusals,
    RestartPolicy,
    check_choice,
)
from falcon_ws_mw.passing_through import check_app
from falcon_ws_mw.resource import PerConnectionResource, WebSocketResource
from falcon_ws_mw.responders import has_responders
from falcon_ws_mw.server_advice import advice
from falcon_ws_mw.workers import Worker, WorkerFunction

logger = logging.getLogger('falcon_ws_mw')


class WebSocketLifespan(Described):
    """The app to serve: owns the connection manager and the workers.

    Everything that it does not have itself is the Falcon app's, for reading and for setting, so
    it can be used wherever the app was: `app.add_route(…)`, `app.ws_options = …`,
    `isinstance(app, falcon.asgi.App)`, `falcon.testing`.

    Args:
        app: The Falcon app, with a `WebSocketDispatchMiddleware(manager)` as its last middleware.
        manager: The connection manager, the middleware's own.
        workers: Workers to add, each a coroutine function or `(function, *args)`.
        refusals: How a handshake is refused: `'http'` (default) with the status, headers and body
            of the `HTTPError` where the server can, or `'close'`, the plain 403 of ASGI.
        decoding: What of JSON is taken from clients: see `Decoding`.
        check_sends: Whether what is sent is checked against what the resources declare by `@sends`
            (default: in asyncio's debug mode).
        make_dispatcher: Makes the middleware, which then is added to the app when it is first
            needed, so that it is the last one whatever is added until then (default: the app has
            one already).

    Raises:
        ConfigurationError: If the app is none for this, or a worker is none.
    """

    __slots__ = (
        '_asgi_app',
        '_check_sends',
        '_conversations',
        '_decoding',
        '_dispatcher',
        '_make_dispatcher',
        '_manager',
        '_refusals',
        '_serving',
        '_spoken_by',
        '_warned',
    )

    def __init__(
        self,
        app: falcon_internals.App,
        manager: WebSocketConnectionManager,
        *,
        workers: Iterable[WorkerFunction | tuple[Any, ...]] = (),
        refusals: Refusals = 'http',
        decoding: Decoding = DEFAULT_DECODING,
        check_sends: bool | None = None,
        make_dispatcher: Callable[[], WebSocketDispatchMiddleware] | None = None,
    ) -> None:
        check_app(app)
        check_choice('refusals', refusals, Refusals)
        if not isinstance(decoding, Decoding):
            raise ConfigurationError(f'decoding={decoding!r}: expected a falcon_ws_mw.Decoding')
        super().__init__(app)
        self._check_sends = check_sends
        self._decoding = decoding
        self._asgi_app: ASGIApp = app  # type: ignore[assignment]  # Falcon narrows the scope to dict
        self._manager = manager
        self._refusals: Refusals = refusals
        self._make_dispatcher = make_dispatcher
        self._dispatcher: WebSocketDispatchMiddleware | None = None
        self._spoken_by: tuple[object, ...] = ()
        self._conversations: set[asyncio.Task[Any]] = set()
        self._serving = False
        self._warned = False
        for worker in workers:
            function, *args = worker if isinstance(worker, tuple) else (worker,)
            self.add_websocket_worker(function, *args)

    # -- what it adds to the app

    @property
    def ws_connection_manager(self) -> WebSocketConnectionManager:
        """The connection manager."""
        return self._manager

    def add_websocket_route(
        self, uri_template: str, resource: type | object, *args: Any, **kwargs: Any
    ) -> None:
        """Add a WebSocket route: a class, of which each connection gets a fresh instance.

        Args:
            uri_template: A Falcon URI template without a resource.
            resource: A class; or an instance of a plain resource, which all connections share.
            args: Positional arguments for the class.
            kwargs: Keyword arguments for the class.

        Raises:
            ConfigurationError: If the class cannot be made with the arguments, the template has a
                resource, or an instance is given that must not be shared.
        """
        if isinstance(resource, WebSocketResource):
            raise ConfigurationError(
                f'an instance of {type(resource).__qualname__} was given for {uri_template!r}, but '
                'a WebSocketResource belongs to one connection: give the class, its arguments '
                'behind it'
            )
        self._check_template_is_free(uri_template)
        cls = resource if isinstance(resource, type) else type(resource)
        if not has_responders(cls) and not issubclass(cls, WebSocketResource):
            raise ConfigurationError(
                f'{cls.__qualname__} has no on_ws_* method to answer {uri_template!r}: declare one'
            )
        if isinstance(resource, type):
            resource = PerConnectionResource(resource, args, kwargs)
        elif args or kwargs:
            raise ConfigurationError(
                f'arguments were given for {uri_template!r} with an instance of '
                f'{cls.__qualname__}: they are for a class'
            )
        self._app.add_route(uri_template, resource)

    def add_websocket_worker(
        self,
        worker: WorkerFunction,
        *args: Any,
        name: str | None = None,
        restart: RestartPolicy = 'on_failure',
    ) -> None:
        """Run a coroutine function for as long as the app runs. Every process runs its own.

        Args:
            worker: A coroutine function.
            args: Its arguments.
            name: Its name in logs and statistics (default: its qualified name).
            restart: When it is started again: `'on_failure'` (default) after a crash, `'always'`
                also when it returns, `'never'`. Before that it pauses 0.1 s, doubling to 30 s;
                after 30 s of running, 0.1 s again; jittered.

        Raises:
            ConfigurationError: If it is no coroutine function or does not take the arguments.
        """
        self._manager.workers.add(Worker(worker, args, name=name, restart=restart))

    # -- what it knows of the app

    # -- ASGI

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application (ASGI 3.0)."""
        if scope['type'] == 'lifespan':
            await self._lifespan(scope, receive, send)
            return
        if scope['type'] != 'websocket':
            await self._asgi_app(scope, receive, send)
            return
        # PERF: what waits as long as the connection does is awaited here, and not a call further
        # down: each is passed whenever a message wakes the connection.
        handshake = self._handshake(scope, receive, send)
        try:
            await self._asgi_app({**scope, SCOPE_KEY: handshake}, receive, handshake.send)
        except ConversationStarts:
            pass
        except BaseException:  # an old loop may end by what the app lets through
            if handshake.conversation is not None:
                await handshake.conversation.run()
            raise
        conversation, handshake.conversation = handshake.conversation, None
        if conversation is None:
            reason = handshake.counted_reason
            if reason is not None:
                self._manager.counters.refusals[reason] += 1
            return
        task = asyncio.current_task()
        if task is not None:  # else there is no asyncio, and nobody to end it
            self._conversations.add(task)
        try:
            await conversation.run()
        finally:
            if task is not None:
                self._conversations.discard(task)

    def _handshake(self, scope: Scope, receive: Receive, send: Send) -> Handshake:
        self._prepare()
        if not isinstance(scope.get('client'), (tuple, list, type(None))):
            scope['client'] = tuple(scope['client'])  # any iterable will do, and it is read twice
        if len(self._manager.workers) and not self._serving and not self._warned:
            self._warned = True
            logger.error(
                'the server serves without ASGI lifespan: no worker runs; remove --lifespan off'
            )
        dispatcher = self._dispatcher
        handshake = Handshake(
            self._app,
            scope,
            receive,
            send,
            self._refusals,
            lambda handshake: dispatcher is not None and dispatcher.is_ours(handshake),
        )
        handshake.dispatcher = dispatcher
        return handshake

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def receive_first_checked() -> Event:
            event = await receive()
            if event['type'] == 'lifespan.startup':
                self.check_websockets()
                self._advise(receive)
            elif event['type'] == 'lifespan.shutdown':
                await self._stop()  # workers first: they use what the app is about to close
            return event

        async def send_with_workers(event: Event) -> None:
            if event['type'] == 'lifespan.startup.complete':
                await self._start()
            await send(event)

        # asgi-lifespan leaves the version out, for which Falcon reads 2.0 and refuses to start; but
        # whoever calls with three arguments speaks ASGI 3.
        scope = {'asgi': {'version': '3.0'}, **scope, SCOPE_KEY: self}
        try:
            await self._asgi_app(scope, receive_first_checked, send_with_workers)
        except ConfigurationError as error:
            await send({'type': 'lifespan.startup.failed', 'message': str(error)})
        finally:
            await self._stop()

    def _advise(self, receive: Receive) -> None:
        """Say what the server's own settings do to the limits."""
        dispatcher = self._checked_dispatcher()
        most_bytes = dispatcher.longest_message_bytes(self._app)
        server, settings = server_internals.settings_of(receive)
        for sentence in advice(server, settings, most_bytes, dispatcher.proxies):
            logger.warning('%s', sentence)

    async def _start(self) -> None:
        self._manager.forget_all()
        self._serving = True
        await self._manager.start()
        self._manager.workers.start()

    async def _stop(self) -> None:
        if self._serving:
            self._serving = False
            await self._end_conversations()
            await self._manager.presence.settle()
            await self._manager.workers.stop()
            await self._manager.stop()

    async def _end_conversations(self) -> None:
        """See that connections end which the server left open; then their hooks run.

        granian 2.8 tells them at about the same time as `lifespan.shutdown`, and stops the event
        loop when that is complete.
        """
        for wait_seconds in (0.5, 5):
            if self._conversations:
                await asyncio.wait(self._conversations, timeout=wait_seconds)
            for task in self._conversations:
                task.cancel()

    # -- putting it together

    def _checked_dispatcher(self) -> WebSocketDispatchMiddleware:
        self._prepare()
        if self._dispatcher is None:
            raise ConfigurationError(
                'WebSocketLifespan stands around an app without WebSocketDispatchMiddleware: '
                'give the app `middleware=[…, WebSocketDispatchMiddleware(manager)]`, or use '
                '`install(app)`'
            )
        if self._dispatcher.manager is not self._manager:
            raise ConfigurationError(
                'WebSocketLifespan and WebSocketDispatchMiddleware have different managers: '
                'give both the same'
            )
        self._dispatcher.check_order(self._app)
        return self._dispatcher

    def _prepare(self) -> None:
        """See that the dispatching middleware is there, and speaks as the app does."""
        components = falcon_internals.middleware_of(self._app)
        if self._make_dispatcher is None:
            if self._dispatcher is None:
                found = [c for c in components if isinstance(c, WebSocketDispatchMiddleware)]
                self._dispatcher = found[-1] if found else None
        elif self._dispatcher is None or (components and components[-1] is not self._dispatcher):
            # Also when a component was added since: the new one is last, the old one steps back.
            self._dispatcher = self._make_dispatcher()
            self._app.add_middleware(self._dispatcher)
        envelope = DEFAULT_ENVELOPE if self._dispatcher is None else self._dispatcher.envelope
        check_sends = self._check_sends
        if check_sends is None:
            check_sends = _is_debugging()
        spoken_by = (envelope, check_sends, *self._app.ws_options.media_handlers.values())
        if spoken_by != self._spoken_by:
            self._spoken_by = spoken_by
            self._manager.codecs = Codecs(
                media_of(self._app, self._decoding), envelope, check_sends=check_sends
            )

    def _check_template_is_free(self, uri_template: str) -> None:
        for route in falcon_internals.all_routes(self._app) or ():
            if route.uri_template == uri_template:
                raise ConfigurationError(
                    f'{uri_template!r} has a resource, {type(route.resource).__qualname__}, which '
                    'Falcon would replace: choose another template, or declare the on_ws_* '
                    'methods on that resource'
                )


def _is_debugging() -> bool:
    try:
        return asyncio.get_running_loop().get_debug()
    except RuntimeError:  # looked at without being served
        return False
