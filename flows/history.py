"""The history of a destination: every version that it has or remembers, and what was made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.drift_notes import notes
from pipeline.drift_report import DriftReport
from pipeline.past import past_of
from pipeline.publishing import Destination, Move, PastVersion

State = Literal["readers", "pinned", "waiting", "kept", "deleted"]


@dataclass(frozen=True)
class Entry:
    """One version that was published.

    `state` is `readers` or `pinned` for the one that readers see, `waiting` for newer ones that a
    pin keeps from them, `deleted` for what is only remembered.
    """

    version: PastVersion
    state: State
    drift: DriftReport | None

    @property
    def excess(self) -> float | None:
        """The largest difference found, in units of what is allowed; None if none was measured."""
        columns = self.drift.columns if self.drift is not None else ()
        return max((column.excess for column in columns), default=None)

    @property
    def moved(self) -> list[str]:
        """Names of the columns that have drifted, worst first."""
        columns = self.drift.columns if self.drift is not None else ()
        return [column.name for column in columns if column.drifted]


@dataclass(frozen=True)
class History:
    """All that is known of a destination, `entries` oldest first, `moves` newest first.

    `picture` is the SVG of the last drift report that has one.
    """

    path: str
    entries: tuple[Entry, ...]
    damaged: tuple[str, ...]
    picture: bytes | None
    moves: tuple[Move, ...] = ()

    @property
    def shown(self) -> Entry | None:
        """What readers see."""
        return next((one for one in self.entries if one.state in ("readers", "pinned")), None)

    @property
    def models(self) -> list[str]:
        """Fingerprints of all models, in the order of their first version."""
        return list(dict.fromkeys(entry.version.model for entry in self.entries))


def read(destination: Destination) -> History:
    """The history of `destination`."""
    published = destination.published()
    there = {(one.run_id, one.published) for one in published}
    intact = {run_id for run_id, _ in there}
    drift = {(one.run_id, one.published): one for one in notes(destination)}
    pointer = destination.pointer
    past = past_of(published)[::-1]
    entries: list[Entry] = []
    passed = False
    for version in past:
        moment = (version.run_id, version.published)
        state: State = "kept" if moment in there else "deleted"
        if pointer is not None and state == "kept":
            if version.run_id == pointer.run_id:
                passed, state = True, "pinned" if pointer.pinned else "readers"
            elif passed and pointer.pinned:
                state = "waiting"
        entries.append(Entry(version=version, state=state, drift=drift.get(moment)))
    return History(
        path=destination.path,
        entries=tuple(entries),
        damaged=tuple(run_id for run_id in destination.run_ids() if run_id not in intact),
        picture=_picture(destination, entries),
        moves=tuple(destination.history()),
    )


def _picture(destination: Destination, entries: Sequence[Entry]) -> bytes | None:
    """The picture of the newest version that was compared with anything."""
    for entry in reversed(entries):
        if entry.drift is not None and entry.drift.columns:
            return destination.read_drift(f"{entry.version.run_id}.svg")
    return None
