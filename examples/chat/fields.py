"""Checks on the fields of HTTP bodies; what is said on the socket is checked by its types.

What does not fit raises `falcon.HTTPUnprocessableEntity`.
"""

import falcon

MAX_NAME_CHARS = 32
MAX_TEXT_CHARS = 2_000


def read_text(media: object, field: str, max_chars: int = MAX_TEXT_CHARS) -> str:
    """Return the text in `field` without the white space around it.

    Args:
        media: The decoded JSON; anything but an object is refused.
        field: The name of the field.
        max_chars: The longest text accepted.

    Raises:
        falcon.HTTPUnprocessableEntity: It is missing, no text, blank or too long.
    """
    value = media.get(field) if isinstance(media, dict) else None
    text = value.strip() if isinstance(value, str) else ''
    if not 1 <= len(text) <= max_chars:
        raise refuse(f'"{field}" must be text of 1 to {max_chars} characters.')
    try:
        text.encode()
    except UnicodeEncodeError:
        # JSON can spell half a surrogate pair ("\ud800"), but no text frame can carry it (RFC 6455,
        # 5.6): let in here, it would fail in every later broadcast.
        raise refuse(f'"{field}" is not valid Unicode.') from None
    return text


def read_name(media: object, field: str) -> str:
    """Return the name in `field`: text that others will see as the author's name.

    Raises:
        falcon.HTTPUnprocessableEntity: It is no text of 1 to 32 printable characters.
    """
    name = read_text(media, field, MAX_NAME_CHARS)
    # Not printable are also the invisible characters and the writing-direction overrides, by which
    # one name could be made to look like another.
    if not name.isprintable():
        raise refuse(f'"{field}" must be of printable characters.')
    return name


def refuse(description: str) -> falcon.HTTPUnprocessableEntity:
    """Return the error for a field that does not fit."""
    return falcon.HTTPUnprocessableEntity(title='Invalid field', description=description)
