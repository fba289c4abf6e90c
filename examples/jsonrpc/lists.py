"""The to-do lists: what the methods `list.…` do. Nothing here knows of JSON-RPC but one line."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

import falcon
import msgspec

from falcon_ws_mw import Message, ReplyError, ReplyTimeout, WebSocket, handles_message, sends

from .envelope import JsonRpcEnvelope

MAX_ITEMS = 1_000
CONFIRM_TIMEOUT_SECONDS = 60.0

ListName = Annotated[str, msgspec.Meta(pattern=r'^[\w-]{1,32}$')]
Title = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


@dataclass(frozen=True)
class Item:
    """Something to be done."""

    number: int
    title: str
    done: bool = False


@dataclass(frozen=True)
class Named:
    """Params that name a list."""

    list: ListName


@dataclass(frozen=True)
class NewItem:
    """Params of `list.add`."""

    list: ListName
    title: Title


@dataclass(frozen=True)
class Checked:
    """Params of `list.check`, and of what the others hear of it."""

    list: ListName
    number: int
    done: bool = True


@dataclass(frozen=True)
class Added:
    """Params of `list.added`."""

    list: str
    item: Item


@sends('list.added', Added, description='Somebody else has added an item to an open list.')
@sends('list.checked', Checked, description='Somebody else has checked an item, or unchecked it.')
@sends('list.cleared', Named, description='Somebody else has thrown away what was done.')
@sends('confirm', dict[str, str], reply=bool, description='Asks the person: true is a yes.')
class TodoLists:
    """To-do lists that people share: who opens one hears what others do to it.

    Each connection may ask with an id, or just tell without one: then nothing comes back.
    """

    ws_envelope = JsonRpcEnvelope()

    def __init__(self) -> None:
        self._lists: dict[str, dict[int, Item]] = {}
        self._items_so_far = 0

    @handles_message('list.open')
    async def open(self, ws: WebSocket, payload: Named) -> list[Item]:
        """Show a list, and from now on what others do to it."""
        await ws.join_room(_room(payload.list))
        return list(self._lists.get(payload.list, {}).values())

    @handles_message('list.close')
    async def close(self, ws: WebSocket, payload: Named) -> None:
        """Hear no more of a list."""
        await ws.leave_room(_room(payload.list))

    @handles_message('list.add')
    async def add(self, ws: WebSocket, payload: NewItem | tuple[ListName, Title]) -> Item:
        """Add an item. The params may be named, or stand in this order: list, title."""
        new = payload if isinstance(payload, NewItem) else NewItem(*payload)
        if sum(map(len, self._lists.values())) >= MAX_ITEMS:
            raise falcon.HTTPConflict(
                title='Too much to do', description=f'There are {MAX_ITEMS} items.', code=1
            )
        self._items_so_far += 1
        item = Item(self._items_so_far, new.title)
        self._lists.setdefault(new.list, {})[item.number] = item
        await self._tell_others(ws, new.list, Message('list.added', Added(new.list, item)))
        return item

    @handles_message('list.check')
    async def check(self, ws: WebSocket, payload: Checked) -> Item:
        """Say that an item is done, or is not.

        Raises:
            falcon.HTTPNotFound: There is no such item.
        """
        items = self._lists.get(payload.list, {})
        if payload.number not in items:
            raise falcon.HTTPNotFound(
                title='No such item', description=f'"{payload.list}" has no {payload.number}.'
            )
        item = items[payload.number] = replace(items[payload.number], done=payload.done)
        await self._tell_others(ws, payload.list, Message('list.checked', payload))
        return item

    @handles_message('list.clear')
    async def clear(self, ws: WebSocket, payload: Named) -> dict[str, int]:
        """Throw away what is done, if the person who asks for it confirms that."""
        done = self._done(payload.list)
        question = f'Throw away {len(done)} item(s) of "{payload.list}"?'
        if not done or not await _confirmed(ws, question):
            return {'removed': 0}
        removed = done & self._done(payload.list)  # others went on meanwhile
        for number in removed:
            del self._lists[payload.list][number]
        await self._tell_others(ws, payload.list, Message('list.cleared', payload))
        return {'removed': len(removed)}

    def _done(self, name: str) -> set[int]:
        return {item.number for item in self._lists.get(name, {}).values() if item.done}

    async def _tell_others(self, ws: WebSocket, name: str, message: Message) -> None:
        await ws.broadcast_to_room(_room(name), message, exclude_self=True)


def _room(name: str) -> str:
    return f'list:{name}'


async def _confirmed(ws: WebSocket, question: str) -> bool:
    try:
        answer: Any = await ws.request(
            'confirm', {'question': question}, timeout=CONFIRM_TIMEOUT_SECONDS
        )
    except (ReplyError, ReplyTimeout):  # a client that cannot ask, or nobody there
        return False
    return answer is True
