"""The AsyncAPI 3.0 document of an app: what its clients may say to it, and what they may hear.

A pure function of the contracts of its routes: equal contracts give equal documents, whatever order
they come in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import re
from typing import Any, Final

from falcon_ws_mw.asyncapi.channels import Parts, without_empty
from falcon_ws_mw.asyncapi.facts import close_codes
from falcon_ws_mw.contract import ChannelContract
from falcon_ws_mw.errors import ConfigurationError

VERSION: Final = '3.0.0'
"""The version of the AsyncAPI specification."""

_KEY: Final = re.compile(r'[A-Za-z0-9._-]+')


def asyncapi_document(
    channels: Sequence[ChannelContract],
    *,
    title: str,
    version: str,
    description: str = '',
    info: Mapping[str, Any] | None = None,
    servers: Mapping[str, Mapping[str, Any]] | None = None,
    security_schemes: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Describe an app by an AsyncAPI 3.0 document.

    Args:
        channels: What its routes promise, in any order.
        title: The name of the app.
        version: The version of what it promises.
        description: What it is for; CommonMark is allowed (default: nothing).
        info: Further fields of AsyncAPI's Info Object: `contact`, `license`, `termsOfService`.
        servers: Name to AsyncAPI Server Object: `{'host': 'chat.example.com', 'protocol': 'wss'}`.
        security_schemes: Name to AsyncAPI Security Scheme Object. A server that says nothing of
            `security` takes any of them.

    Returns:
        The document, of dicts, lists, text and numbers; nothing in it is shared with the arguments.

    Raises:
        ConfigurationError: If a server or a security scheme cannot stand in a document, a payload
            library cannot describe a payload, or an envelope of the app's own a message.
    """
    schemes = _security_schemes(security_schemes or {})
    parts = Parts(sorted(channels, key=lambda each: (each.address, each.resource)))
    about = {'title': title, 'version': version}
    if description:
        about['description'] = description
    made = {
        'asyncapi': VERSION,
        'info': {**(info or {}), **about},
        'servers': _servers(servers or {}, schemes),
        'defaultContentType': 'application/json',
        'channels': parts.channels,
        'operations': parts.operations,
        'components': without_empty(
            {
                'messages': parts.messages,
                'schemas': dict(sorted(parts.schemas.components.items())),
                'correlationIds': parts.correlation_ids,
                'securitySchemes': schemes,
            }
        ),
        'x-close-codes': close_codes(),
    }
    if not made['servers']:
        del made['servers']
    # Parts are shared while it is made, and YAML would write anchors for them.
    copied: dict[str, Any] = _copied(made)
    return copied


def _security_schemes(schemes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    for name, scheme in schemes.items():
        _check_key('security_schemes', name)
        if 'type' not in scheme:
            raise ConfigurationError(
                f'security_schemes[{name!r}] has no type: expected an AsyncAPI Security Scheme '
                "Object, for example {'type': 'http', 'scheme': 'bearer'}"
            )
    return {name: dict(scheme) for name, scheme in schemes.items()}


def _servers(
    servers: Mapping[str, Mapping[str, Any]], schemes: Mapping[str, Any]
) -> dict[str, Any]:
    made = {}
    for name, server in servers.items():
        _check_key('servers', name)
        for field in ('host', 'protocol'):
            if not isinstance(server.get(field), str):
                raise ConfigurationError(
                    f'servers[{name!r}] has no {field}: expected an AsyncAPI Server Object, for '
                    "example {'host': 'chat.example.com', 'protocol': 'wss'}"
                )
        security = [{'$ref': f'#/components/securitySchemes/{scheme}'} for scheme in schemes]
        made[name] = {**server}
        if security:
            made[name].setdefault('security', security)
    return made


def _check_key(where: str, name: object) -> None:
    if not isinstance(name, str) or not _KEY.fullmatch(name):
        raise ConfigurationError(
            f'{where}: {name!r} cannot be a name in a document: expected letters of ASCII, '
            'digits, dots, hyphens and underscores'
        )


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _copied(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_copied(inner) for inner in value]
    return value
