"""Payloads of the library's own messages: described for documents, and taken as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from falcon_ws_mw.payloads.base import Direction, PayloadType, Schema, Schemas
from falcon_ws_mw.payloads.plain_types import PlainTypes


def described_by(schema: Schema, annotation: Any) -> PayloadType:
    """A payload that is an object of this schema. Whether it is that is checked by who gets it.

    Args:
        schema: The JSON Schema.
        annotation: The same for readers of Python.
    """
    return PayloadType(
        annotation,
        _ForDocuments(schema),
        convert=lambda value: value,
        admits_null=False,
        is_mapping=True,
    )


class _ForDocuments(PlainTypes):
    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def schemas(
        self, annotations: Sequence[Any], ref_template: str, direction: Direction
    ) -> Schemas:
        return Schemas([self._schema for _ in annotations], {})
