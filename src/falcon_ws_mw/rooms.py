"""Who is under which name: rooms of connections, and users of connections.

Every change is one synchronous step, so nobody ever sees half of it. A name exists as long as it
has a member. Joining, leaving and listing cost the same however many other names there are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

from falcon_ws_mw.errors import MAX_NAME_BYTES, InvalidName

Member = TypeVar('Member')


def check_name(kind: str, name: object) -> str:
    """Return `name` if it can name a room or a user.

    Raises:
        InvalidName: If it is not non-empty text of at most 255 bytes in UTF-8.
    """
    if isinstance(name, str) and name:
        try:
            if len(name) <= MAX_NAME_BYTES and len(name.encode()) <= MAX_NAME_BYTES:
                return name
        except UnicodeEncodeError:  # a lone surrogate has no UTF-8 form
            pass
    raise InvalidName(kind, name)


class Membership(Generic[Member]):
    """An index from name to members, in the order in which they came."""

    __slots__ = ('_members',)

    def __init__(self) -> None:
        self._members: dict[str, dict[Member, None]] = {}

    def add(self, name: str, member: Member) -> None:
        """Put a member under a name. Doing it twice changes nothing."""
        self._members.setdefault(name, {})[member] = None

    def discard(self, name: str, member: Member) -> None:
        """Take a member from a name, and the name away with its last member."""
        members = self._members.get(name)
        if members is not None:
            members.pop(member, None)
            if not members:
                del self._members[name]

    def members(self, name: str) -> list[Member]:
        """The members of a name, as a copy that no later change touches."""
        return list(self._members.get(name, ()))

    def union(self, names: Iterable[str]) -> list[Member]:
        """The members of all the names, each once."""
        found: dict[Member, None] = {}
        for name in names:
            found.update(self._members.get(name, {}))
        return list(found)

    def under(self, kind: str, names: str | Iterable[str]) -> list[Member]:
        """The members of a name, or of several, each once.

        Args:
            kind: What the names are to be, for the error.
            names: One name or several.

        Raises:
            InvalidName: If one of them is none.
        """
        if isinstance(names, str) or not isinstance(names, Iterable):
            return self.members(check_name(kind, names))
        return self.union([check_name(kind, name) for name in names])

    def first(self, name: str, default: Member) -> Member:
        """The member that has been under a name for longest; `default` if there is none."""
        return next(iter(self._members.get(name, ())), default)

    def count(self, name: str) -> int:
        """How many members a name has."""
        return len(self._members.get(name, ()))

    def names(self, prefix: str = '') -> list[str]:
        """All names that begin with a prefix. Its cost grows with the number of names."""
        return [name for name in self._members if name.startswith(prefix)]

    def __len__(self) -> int:
        return len(self._members)
