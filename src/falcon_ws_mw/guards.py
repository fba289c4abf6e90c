"""Which hooks stand around what, and which of them would be lost.

Falcon's hooks on a class wrap what Falcon knows as responders, and pass over `on_ws_*` without a
word. So what looks like a hook on a class has to be found again around the messages: around
`on_websocket`, or as one of ours. A false alarm is cheaper than a hook that guards nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
import inspect
import re
from types import CellType, FunctionType, MethodType
from typing import Any, Final, NamedTuple, TypeVar

import falcon

from falcon_ws_mw import falcon_internals
from falcon_ws_mw.errors import ConfigurationError
from falcon_ws_mw.falcon_internals import FalconHook
from falcon_ws_mw.signatures import Responder, place

BEFORE_ATTRIBUTE: Final = '_falcon_ws_before'
AFTER_ATTRIBUTE: Final = '_falcon_ws_after'
_ALONE_ATTRIBUTE: Final = '_falcon_ws_alone'
_DISPATCH_ATTRIBUTE: Final = '_falcon_ws_dispatch'

AnyFunction = TypeVar('AnyFunction', bound=Callable[..., Any])

_ORDINARY: Final = re.compile(rf'on_({"|".join(falcon.COMBINED_METHODS).lower()})(_\w+)?')
"""Names of the responders that Falcon's hooks on a class wrap; `on_ws_*` are none of them."""

_DEFAULT: Final = re.compile(r'on_request(_\w+)?')
"""Names of those that they wrap only on demand (`falcon.hooks.decorate_on_request`)."""


class Hook(NamedTuple):
    """An action of one of our own hooks, and its further arguments."""

    action: Callable[..., Awaitable[None]]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __call__(self, *positional: Any) -> Awaitable[None]:
        """Run it."""
        return self.action(*positional, *self.args, **self.kwargs)


def mark_of(member: object, attribute: str, default: Any) -> Any:
    """A mark of ours on a function. Other things are not asked: they may answer anything."""
    function = member.__func__ if isinstance(member, (staticmethod, classmethod)) else member
    return vars(function).get(attribute, default) if inspect.isfunction(function) else default


def mark_dispatch(function: AnyFunction) -> AnyFunction:
    """Mark the responder that stands for a dispatched conversation."""
    setattr(function, _DISPATCH_ATTRIBUTE, True)
    return function


def is_dispatch(on_websocket: object) -> bool:
    """Whether an `on_websocket` is that responder, whatever hooks are around it."""
    function = getattr(on_websocket, '__func__', on_websocket)
    while inspect.isroutine(function) and hasattr(function, '__wrapped__'):
        function = function.__wrapped__
    return bool(mark_of(function, _DISPATCH_ATTRIBUTE, False))


def mark_alone(hooked: Callable[..., Any]) -> None:
    """Mark what a hook made of a single responder: that hook was not put on the class."""
    earlier = mark_of(hooked, _ALONE_ATTRIBUTE, ())
    setattr(hooked, _ALONE_ATTRIBUTE, (*earlier, hooked))


def recorded(cls: type, attribute: str) -> tuple[Hook, ...]:
    """Our own hooks on a class and on the classes it is made of, in the order in which they run."""
    bases = cls.__mro__ if attribute == BEFORE_ATTRIBUTE else reversed(cls.__mro__)
    return tuple(hook for base in bases for hook in vars(base).get(attribute, ()))


# -- what would be lost


def check_hooks(cls: type, names: Collection[str]) -> None:
    """Refuse Falcon's own hooks where they would be lost.

    Each class that this one is made of is looked at by itself: what a subclass adds or replaces
    takes nothing away from what was asked of the class before.

    Args:
        cls: The resource's class.
        names: Its attributes that are for the library and not for Falcon.

    Raises:
        ConfigurationError: Naming the hook and the cure.
    """
    for base in cls.__mro__:
        for name in sorted(names & vars(base).keys()):
            _check_method(base, name)
    guards = falcon_internals.falcon_hooks(getattr(cls, 'on_websocket', None))
    for kind, attribute in (('before', BEFORE_ATTRIBUTE), ('after', AFTER_ATTRIBUTE)):
        guards += [FalconHook(kind, *hook) for hook in recorded(cls, attribute)]
    for base in cls.__mro__:
        loop = falcon_internals.falcon_hooks(vars(base).get('on_websocket'))
        for hook in (*loop, *_hooks_on_class(base, names)):
            if hook not in guards:
                raise _lost(cls, base, hook)


def _check_method(base: type, name: str) -> None:
    function = vars(base)[name]
    for hook in falcon_internals.falcon_hooks(function):
        raise ConfigurationError(
            f"{place(function, base)}: {base.__qualname__}.{name} carries one of Falcon's hooks, "
            f'which do not know its arguments: write falcon_ws_mw.{hook.kind} instead, on the '
            'method or on the class, wherever that hook stands'
        )


def _hooks_on_class(base: type, names: Collection[str]) -> list[FalconHook]:
    """What looks like Falcon's hooks on a class: those around everything that it answers with.

    A hook on one responder of several is that one's business. A hook that misses `on_websocket`
    was not put on the class, and one of ours on a method says so by itself.
    """
    responders = _responders(base, names, _ORDINARY) or _responders(base, names, _DEFAULT)
    found = [falcon_internals.falcon_hooks(responder) for responder in responders]
    return [
        hook
        for hook in (found[0] if found else [])
        if all(hook in [other for other in others if not _is_alone(other)] for others in found)
    ]


def _is_alone(hook: FalconHook) -> bool:
    return hook.function in mark_of(hook.function, _ALONE_ATTRIBUTE, ())


def _responders(base: type, names: Collection[str], pattern: re.Pattern[str]) -> list[object]:
    candidates = [name for name in dir(base) if pattern.fullmatch(name) and name not in names]
    return [member for name in candidates if callable(member := getattr(base, name))]


def _lost(cls: type, base: type, hook: FalconHook) -> ConfigurationError:
    action = getattr(hook.action, '__qualname__', repr(hook.action))
    return ConfigurationError(
        f"{place(base)}: the other responders of {base.__qualname__} carry Falcon's hooks "
        f'({hook.kind} {action}), and nothing around the on_ws_* methods of {cls.__qualname__} '
        f'does the same, so their messages are not guarded by it: write `@falcon_ws_mw.{hook.kind}'
        f'(…)` with the same action and arguments on {cls.__qualname__}; or, where the hook is '
        f'meant for a single HTTP method, `@falcon_ws_mw.{hook.kind}(…)` on that method'
    )


# -- a loop of the resource's own


def check_loop(cls: type, connect: Responder | None) -> None:
    """Check the hooks around an old loop beside `on_ws_*` methods.

    Args:
        cls: The resource's class.
        connect: Its `on_ws_connect`, if there is one.

    Raises:
        ConfigurationError: Naming the cure.
    """
    loops = [vars(base).get('on_websocket') for base in cls.__mro__]
    hooks = [hook for loop in loops for hook in falcon_internals.falcon_hooks(loop)]
    if connect is not None and any(hook.kind == 'before' for hook in hooks):
        raise ConfigurationError(
            f'{connect.name} would run before the hook that guards on_websocket: do its '
            'work at the start of on_websocket, or end the loop by '
            '`on_websocket = falcon_ws_mw.dispatch`, where the hook comes first'
        )
    let_through(getattr(cls, 'on_websocket', None), lambda: None)


def let_through(on_websocket: Any, passed: Callable[[], None]) -> Any:
    """An old loop that says when the hooks before it have let its client through.

    Falcon's innermost hook calls the loop by a name in its closure. The hooks are copied, with
    that name leading to one of ours: the class stays as it is.

    Args:
        on_websocket: The loop, a bound method or the function of one.
        passed: Called when the last action before the loop has passed, before the loop runs.

    Returns:
        The loop to call. It is `on_websocket` itself where nothing of Falcon's comes before.

    Raises:
        ConfigurationError: If a decorator stands around the hook and hides it.
    """
    function: Any = getattr(on_websocket, '__func__', on_websocket)
    before = [hook for hook in falcon_internals.falcon_hooks(function) if hook.kind == 'before']
    if not before:
        return on_websocket
    around: list[Any] = []
    while not around or around[-1] is not before[-1].function:
        around.append(function)
        function = function.__wrapped__
    loop = function

    def start(*args: Any, **kwargs: Any) -> Any:
        passed()
        return loop(*args, **kwargs)

    copied: Callable[..., Any] = start
    wrapped = loop
    for wrapper in reversed(around):
        copied, wrapped = _around(wrapper, wrapped, copied), wrapper
    owner = getattr(on_websocket, '__self__', None)
    return copied if owner is None else MethodType(copied, owner)


def _around(wrapper: Any, wrapped: object, replacement: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator's function as it is, around something else."""
    cells = (wrapper.__closure__ if inspect.isfunction(wrapper) else None) or ()
    if not any(_holds(cell, wrapped) for cell in cells):
        raise ConfigurationError(
            f'{place(wrapper)}: a decorator stands around a hook of Falcon on {wrapper.__name__}, '
            'and hides it, so nobody can tell when the hook has let a client through: put the '
            'hook above the decorator, or on the class'
        )
    copy = FunctionType(
        wrapper.__code__,
        wrapper.__globals__,
        wrapper.__name__,
        wrapper.__defaults__,
        tuple(CellType(replacement) if _holds(cell, wrapped) else cell for cell in cells),
    )
    copy.__kwdefaults__ = wrapper.__kwdefaults__
    copy.__dict__.update(vars(wrapper))
    return copy


def _holds(cell: CellType, content: object) -> bool:
    try:
        return cell.cell_contents is content
    except ValueError:  # it is empty
        return False
