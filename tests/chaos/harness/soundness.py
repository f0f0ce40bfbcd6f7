"""What must hold of a destination's content at every moment, whatever happened to its writers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from harness import tree
from harness.reference import Version, World, counted_rows
from pipeline.profile import RUN_PROFILE
from pipeline.publishing import MANIFEST


class UnsoundError(AssertionError):
    """A destination is not what it must be; says what is wrong."""


def seen_in(content: tree.Tree, world: World) -> Version | None:
    """The version that `current` leads to, all of it and nothing else; None before any.

    Raises:
        UnsoundError: if it leads nowhere, or to a part of a version, a mix, or other bytes.
    """
    if "current" not in content:
        return None
    link = content["current"]
    if not isinstance(link, tree.Link) or link.target not in content:
        raise UnsoundError(f"current is {link}, which leads to nothing")
    run_id = link.target.removeprefix("versions/")
    expected = {v.run_id: v for v in (world.old, world.new, world.rival) if v}.get(run_id)
    if expected is None:
        raise UnsoundError(f"readers see {run_id}, neither the old version nor the new")
    require_whole(content, expected)
    return expected


def require_whole(content: tree.Tree, expected: Version) -> None:
    """The version is there with its seal, and with the bytes of a run that was never disturbed.

    Parts and profile alike.

    Raises:
        UnsoundError: if not.
    """
    folder = f"versions/{expected.run_id}/"
    entries = {n.removeprefix(folder): e for n, e in content.items() if n.startswith(folder)}
    seal, profile = entries.pop(MANIFEST, None), entries.pop(RUN_PROFILE, b"")
    found = {n: hashlib.sha256(e).hexdigest() for n, e in entries.items() if isinstance(e, bytes)}
    if found != expected.parts:
        raise UnsoundError(f"{folder} {difference(found, expected.parts)}")
    if not isinstance(seal, bytes) or not seal:
        raise UnsoundError(f"{folder} is not sealed")
    manifest = json.loads(seal)
    sealed = {part["name"]: part["sha256"] for part in manifest["files"]}
    if sealed != expected.parts:
        raise UnsoundError(f"{folder} in its seal {difference(sealed, expected.parts)}")
    if manifest["files"] != expected.reports or manifest["rows"] != expected.table.num_rows:
        raise UnsoundError(f"{folder} seals other facts of its parts: {manifest['files']}")
    if not isinstance(profile, bytes) or not profile:
        raise UnsoundError(f"{folder} has no profile")
    counted = hashlib.sha256(profile).hexdigest()
    if manifest["profile"] != {"bytes": len(profile), "sha256": counted}:
        raise UnsoundError(f"{folder} seals another profile than it has: {manifest['profile']}")
    if counted not in expected.profiles and not _recomputed(manifest["made"], profile, expected):
        raise UnsoundError(f"{folder} has not the profile of a run that was never disturbed")


def _recomputed(made: dict[str, Any], profile: bytes, expected: Version) -> bool:
    """Whether a run counted more than it had to: a part that it could not read is made again."""
    rows = counted_rows(profile)
    told = made["computed"]["rows"] + made["resumed"]["rows"]
    return rows == told and rows not in expected.profiles.values()


def difference(found: Mapping[str, str], expected: Mapping[str, str]) -> str:
    """What two sets of parts, names with hashes, do not share."""
    lost, strange = expected.keys() - found.keys(), found.keys() - expected.keys()
    other = [name for name in expected.keys() & found.keys() if expected[name] != found[name]]
    return f"lacks {sorted(lost)}, has {sorted(strange)}, has other bytes in {sorted(other)}"


def require_sound_content(content: tree.Tree, world: World) -> Version | None:
    """What readers see is the old version or the new, and every version that is there is whole.

    Raises:
        UnsoundError: if not.
    """
    seen = seen_in(content, world)
    if seen is None and world.old is not None:
        raise UnsoundError("readers see nothing, where there was a version")
    for name in content:
        folder, _, run_id = name.rpartition("/")
        if folder == "versions":
            if run_id not in world.versions:
                raise UnsoundError(f"{name} was made by nobody")
            require_whole(content, world.versions[run_id])
    return seen
