"""Who is told of what: the `on_…` of the manager, each of which fits as a decorator."""

from __future__ import annotations

from falcon_ws_mw.listeners import AnyListener, Listeners, Occasion
from falcon_ws_mw.presence import Presence
from falcon_ws_mw.registry import Registry


class Occasions:
    """Tells the app what happens to connections and users, and between processes.

    Args:
        presence_debounce_seconds: How long after a user's last connection he has left.
    """

    def __init__(self, presence_debounce_seconds: float) -> None:
        self.listeners = Listeners()
        """Who is told of connections and users, by `on_connect` and its like."""
        self.presence = Presence(self.listeners, presence_debounce_seconds)
        """Who is to be told of users."""
        self._registry = Registry(self.presence)

    def on_connect(self, listener: AnyListener) -> AnyListener:
        """Have a function called with the `ws` of each connection, once it is accepted.

        Listeners run in the connection's own task, before its first message is handled. They may be
        coroutine functions, and what they raise is logged and harms nobody. Fit as decorators.

        Args:
            listener: A function of `(ws)`.

        Raises:
            ConfigurationError: If it is none.
        """
        return self.listeners.add('connect', listener)

    def on_disconnect(self, listener: AnyListener) -> AnyListener:
        """Have a function called when a connection has ended, after its `on_ws_disconnect`.

        Args:
            listener: A function of `(ws, close_code)`. Else like `on_connect`.

        Raises:
            ConfigurationError: If it is none.
        """
        return self.listeners.add('disconnect', listener)

    def on_error(self, listener: AnyListener) -> AnyListener:
        """Have a function called when a method of a resource raises what nobody expected.

        Args:
            listener: A function of `(ws, error)`. Else like `on_connect`.

        Raises:
            ConfigurationError: If it is none.
        """
        return self.listeners.add('error', listener)

    def on_user_online(self, listener: AnyListener) -> AnyListener:
        """Have a function called when a user's first connection is accepted.

        That of his second device is nothing new. Listeners of users are called one after the other,
        in a task of their own: of each user in the order of what happened, of several users in
        turn. What they raise is logged; after 30 s they are cancelled, since all others wait behind
        them. Fit as decorators.

        Args:
            listener: A function, or a coroutine function, of `(user_id)`.

        Raises:
            ConfigurationError: If it is none.
        """
        return self._tell_of_users('user_online', listener)

    def on_user_offline(self, listener: AnyListener) -> AnyListener:
        """Have a function called when a user's last connection has been gone for a while.

        That is `presence_debounce_seconds`, and up to 0.2 s more. Who is back by then was never
        away. When the app stops, it is told of at once.

        Args:
            listener: A function of `(user_id)`. Else like `on_user_online`.

        Raises:
            ConfigurationError: If it is none.
        """
        return self._tell_of_users('user_offline', listener)

    def on_user_joined(self, listener: AnyListener) -> AnyListener:
        """Have a function called when a user's first connection is in a room.

        Args:
            listener: A function of `(room, user_id)`. Else like `on_user_online`.

        Raises:
            ConfigurationError: If it is none.
        """
        return self._tell_of_users('user_joined', listener)

    def on_user_left(self, listener: AnyListener) -> AnyListener:
        """Have a function called when no connection of a user has been in a room for a while.

        Args:
            listener: A function of `(room, user_id)`. Else like `on_user_offline`.

        Raises:
            ConfigurationError: If it is none.
        """
        return self._tell_of_users('user_left', listener)

    def on_gap(self, listener: AnyListener) -> AnyListener:
        """Have a function called when messages from other processes have been lost.

        Whoever was in that room has missed something: have its clients load their state anew.
        Listeners of gaps are called one after the other, in a task of their own.

        Args:
            listener: A function, or a coroutine function, of `(gap)`, a `Gap`.

        Raises:
            ConfigurationError: If it is none.
        """
        return self.listeners.add('gap', listener)

    def _tell_of_users(self, occasion: Occasion, listener: AnyListener) -> AnyListener:
        listener = self.listeners.add(occasion, listener)
        self.presence.begin(self._registry.connections.values())
        return listener
