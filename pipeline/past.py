"""The past of a destination: each version remembers those before it, also when they are deleted.

It stands in the manifests, so that it appears with its version in one step and is sealed with it.
"""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.publishing import PastVersion, VersionManifest

# A year of nights, and a little: about 150 kB of JSON.
MOST = 400


def past_of(versions: Iterable[VersionManifest]) -> tuple[PastVersion, ...]:
    """The last versions that `versions` are or remember, newest first."""
    found: dict[tuple[str, str], PastVersion] = {}
    for version in versions:
        for one in (*version.past, remembered(version)):
            found[one.published, one.run_id] = one
    return tuple(found[moment] for moment in sorted(found, reverse=True)[:MOST])


def remembered(version: VersionManifest) -> PastVersion:
    """What others remember of a version."""
    return PastVersion(
        run_id=version.run_id,
        model=version.model,
        rows=version.rows,
        parts=len(version.files),
        bytes=sum(part.bytes for part in version.files),
        source=version.source,
        published=version.published,
        made=version.made,
    )
