"""Who may use the app: a hook that stands on the resource classes."""

import os
from typing import Any

import falcon
from falcon.asgi import Request


def read_tokens(listed: str) -> dict[str, str]:
    """Return the user of each token in a list like `token=user,token=user`."""
    pairs = (entry.partition('=') for entry in listed.split(',') if entry)
    return {token: user for token, _, user in pairs}


TOKENS = read_tokens(os.environ.get('BOARD_TOKENS', 'demo-ada=ada,demo-bob=bob'))
"""The user that each valid token belongs to."""


async def authenticate(
    req: Request,
    resp: Any,  # noqa: ARG001  # Falcon gives it to each hook, like what follows
    resource: object,  # noqa: ARG001
    params: dict[str, Any],  # noqa: ARG001
) -> None:
    """Put the user's name on `req.context.user`: a Falcon `before` hook.

    Programs send the token as `Authorization: Bearer`. A page cannot set headers on a handshake:
    it puts the token into the query.

    Args:
        req: An HTTP request, or a handshake.
        resp: The response, or Falcon's WebSocket.
        resource: The resource.
        params: The fields of the URI template.

    Raises:
        falcon.HTTPUnauthorized: The token is missing or unknown.
    """
    scheme, _, token = (req.auth or '').partition(' ')
    if scheme.lower() != 'bearer':
        token = req.get_param('token', default='')
    user = TOKENS.get(token.strip())
    if user is None:
        raise falcon.HTTPUnauthorized(
            title='Unknown token', description='Send one that is valid.', challenges=['Bearer']
        )
    req.context.user = user
