"""From a trained checkpoint to a bundle: trace, clean up, merge with the prologue, verify, seal.

>>> from export import export
"""

from __future__ import annotations

from export.package import export

__all__ = ["export"]
