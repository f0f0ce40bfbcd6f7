"""A seal: the hash that a JSON document holds of its own bytes."""

from __future__ import annotations

import hashlib
from typing import Annotated, TypeAlias

from pydantic import Field

UNSEALED = "0" * 64
Seal: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def sealed(document: bytes) -> bytes:
    """`document`, which says ``"seal": UNSEALED``, with the hash of its bytes in that place.

    >>> sealed(b'{"seal": "' + UNSEALED.encode() + b'"}')[:22]
    b'{"seal": "3922ac9b4b5c'
    """
    return _exchanged(document, UNSEALED, hashlib.sha256(document).hexdigest())


def is_intact(document: bytes, seal: str) -> bool:
    """Whether `document`, which says that it is sealed with `seal`, has the bytes it had then."""
    return hashlib.sha256(_exchanged(document, seal, UNSEALED)).hexdigest() == seal


def _exchanged(document: bytes, old: str, new: str) -> bytes:
    for seal in ('"seal": "{}"', '"seal":"{}"'):
        document = document.replace(seal.format(old).encode(), seal.format(new).encode())
    return document
