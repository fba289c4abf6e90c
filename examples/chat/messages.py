"""What is said on the socket, as types.

Handlers annotate their payloads by them, so what arrives is checked; and the AsyncAPI document at
`/asyncapi` is made of them. Here they are `msgspec.Struct`s; dataclasses, TypedDicts and pydantic
models would do as well.
"""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

from .fields import MAX_TEXT_CHARS

Text = Annotated[
    str,
    # The library answers what does not fit with an error 422 that says where. `\S`: not only space.
    Meta(pattern=r'\S', max_length=MAX_TEXT_CHARS, examples=['Tea is ready.']),
]
User = Annotated[str, Meta(description='The name that somebody logged in by.', examples=['ada'])]
Users = Annotated[
    dict[str, int],
    Meta(description='Who is in the room, each with the number of their connections.'),
]


# -- from clients


class SendMessage(Struct):
    """A text for everybody in the room."""

    text: Text


class SetTyping(Struct):
    """Somebody has started or stopped writing."""

    typing: bool = True


# -- from the server


class Here(Struct):
    """Who is in the room now."""

    users: Users


class Welcome(Struct):
    """Where the new connection is, and who else."""

    room: str
    user: User
    users: Users


class Presence(Struct):
    """Somebody came or left, and who is in the room now."""

    user: User
    users: Users


class NewMessage(Struct):
    """A text that somebody has written."""

    user: User
    text: Text
    sent_at: Annotated[datetime, Meta(tz=True, description='By the clock of the server, in UTC.')]


class UserTyping(Struct):
    """Whether somebody is writing."""

    user: User
    typing: bool


class Announcement(Struct):
    """A text for all rooms."""

    text: Text


class Missed(Struct):
    """Messages of the room were lost between the processes of the server."""

    lost: Annotated[int | None, Meta(description='How many; null where nobody knows.')]
