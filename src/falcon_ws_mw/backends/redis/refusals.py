"""What Redis says when it refuses something, and what helps against it."""

from __future__ import annotations

from typing import Final

from redis.exceptions import NoPermissionError

RIGHTS: Final = (
    'docs/many-machines.md, "Who may do what", has the rights that the user of Redis needs, and '
    'ACL LOG says which is missing'
)
"""The cure where a user of Redis may not do what the library does."""

_NOT_IN_A_SCRIPT: Final = "The user executing the script can't "
"""How Redis 7.0 begins to say it of a script: by no code, and without the name of the command."""

_MAX_QUOTED: Final = 200


def is_about_rights(error: BaseException) -> bool:
    """Whether Redis refuses something since its user may not do it."""
    return isinstance(error, NoPermissionError) or str(error).startswith(_NOT_IN_A_SCRIPT)


def in_words(error: BaseException) -> str:
    """What Redis says, cut, with the cure if there is one."""
    said = f'{error!s:.{_MAX_QUOTED}}'
    return f'{said} ({RIGHTS})' if is_about_rights(error) else said
