"""What a bundle keeps of its training beside the models: the fitted preprocessing."""

from __future__ import annotations

import json

from pipeline.bundle import Bundle
from pipeline.errors import BundleError
from pipeline.prologue import Prologue


def open_prologue(bundle: Bundle) -> Prologue:
    """The fitted preprocessing that a bundle was trained with.

    Raises:
        BundleError: if ``spec.json`` does not describe one.
    """
    try:
        return Prologue.from_json(json.loads(bundle.read("spec.json"))["prologue"])
    except (KeyError, TypeError, ValueError, RecursionError):
        raise BundleError(
            f"{bundle.path}/spec.json must describe a prologue, found something else; "
            "do not use this bundle, and ask where it comes from"
        ) from None
