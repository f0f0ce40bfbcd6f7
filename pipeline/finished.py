"""Finished parts: what a run need not compute, because it is there already and intact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from pipeline.errors import DestinationError
from pipeline.publishing import Destination, PartReport, Stage

# Parts looked for in one go of a thread.
_BATCH = 64


def find_finished(
    works: Mapping[str, str],
    stage: Stage,
    destination: Destination,
    *,
    prepared: Destination | None = None,
    threads: int,
) -> tuple[dict[str, PartReport], frozenset[str]]:
    """Intact parts for `works` (work by part name), and names of those a killed run had finished.

    The others are taken over from published versions, of `prepared` as well. They are hashed side
    by side: with many small files this is most of what a run does.
    """
    known = _known(destination)
    elsewhere = _known(prepared) if prepared is not None else {}

    def find(names: Sequence[str]) -> list[tuple[PartReport, bool]]:
        found = []
        for name in names:
            resumed = stage.finished(name, works[name])
            taken = resumed or _taken(stage, name, known.get(works[name]))
            if taken is None and prepared is not None:
                found_there = elsewhere.get(works[name])
                taken = _taken(stage, name, found_there, destination=prepared.path)
            if taken:
                found.append((taken, resumed is not None))
        return found

    names = list(works)
    batches = [names[start : start + _BATCH] for start in range(0, len(names), _BATCH)]
    with ThreadPoolExecutor(max_workers=threads) as pool:
        taken = [pair for batch in pool.map(find, batches) for pair in batch]
    resumed = frozenset(part.name for part, is_resumed in taken if is_resumed)
    return {part.name: part for part, _ in taken}, resumed


def _taken(
    stage: Stage, name: str, known: tuple[PartReport, str] | None, *, destination: str | None = None
) -> PartReport | None:
    if known is None:
        return None
    part, run_id = known
    return stage.reuse(part, name=name, run_id=run_id, destination=destination)


def _known(destination: Destination) -> dict[str, tuple[PartReport, str]]:
    """Published parts by their work, with the version to take them from."""
    pointer = destination.pointer
    run_ids = [pointer.run_id] if pointer else []
    if pointer is None or pointer.pinned:
        # What readers are pinned to may be old.
        run_ids += [manifest.run_id for manifest in destination.published()[-1:]]
    known: dict[str, tuple[PartReport, str]] = {}
    for run_id in run_ids:
        try:
            parts = destination.manifest(run_id).files
        except DestinationError:
            continue  # damaged: nothing of it is taken
        known |= {part.work: (part, run_id) for part in parts}
    return known
