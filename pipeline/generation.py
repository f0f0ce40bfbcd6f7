"""Rows drawn from a bundle: prior, decoder, residuals, and back through the preprocessing.

A code is drawn from the prior and decoded; what the decoder does not know of a row is drawn as it
was measured on rows held out from training; and every column gets the distribution that training
saw (docs/adr/0020). Nothing here needs torch.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.bundle import Bundle
from pipeline.conditions import Conditions
from pipeline.config import Config, GenerationJob
from pipeline.decoding import DECODER, Decoder
from pipeline.drawing import drawers
from pipeline.errors import ConfigError, PublishError
from pipeline.fitted import open_prologue
from pipeline.priors import Spreads, shares_of
from pipeline.progress import Progress, Silent
from pipeline.residuals import noisy_slots, open_generation
from pipeline.storage import appearing

ROWS_PER_GROUP = 65_536
PILOT_ROWS = 32_768
_LEAST_ROWS = 1_024
_BATCH_BYTES = 64 * 2**20
# The pilot is the same for every seed: what it corrects is the model's, not the draw's.
_PILOT_SEED, _ROWS_SEED = 0, 1

Singles = npt.NDArray[np.float32]


class GenerationReport(Config):
    """What was drawn; `given` are the conditions that were asked for."""

    out: str
    rows: int
    columns: int
    bytes: int
    model: str
    seed: int
    given: tuple[str, ...]
    seconds: float
    rows_per_second: float


def generate(job: GenerationJob, *, progress: Progress | None = None) -> GenerationReport:
    """Write `job.rows` drawn rows to the Parquet file `job.out`, whole or not at all.

    The same bundle, seed, conditions and library versions give the same bytes.

    Raises:
        ConfigError: if the file is there already, or a condition cannot be met.
        BundleError: if the bundle is missing, damaged, or cannot generate.
        PublishError: if the file cannot be written.
    """
    started, out = time.monotonic(), Path(job.out)
    progress = progress or Silent()
    _require_free(out)
    bundle = Bundle.open(job.bundle)
    sampler = Sampler(bundle, where=job.where, seed=job.seed)
    try:
        with appearing(out) as path:
            _write(sampler, job.rows, path, progress)
            size = path.stat().st_size
    except FileExistsError:
        _require_free(out)
        raise
    except OSError as error:
        raise PublishError(f"cannot write {out}: {error.strerror or error}") from None
    seconds = time.monotonic() - started
    return GenerationReport(
        out=job.out,
        rows=job.rows,
        columns=len(sampler.schema),
        bytes=size,
        model=bundle.fingerprint,
        seed=job.seed,
        given=job.where,
        seconds=seconds,
        rows_per_second=job.rows / seconds if seconds else 0.0,
    )


def _require_free(out: Path) -> None:
    if out.exists():
        raise ConfigError(f"{out} must not be there yet; delete it, or choose another name")
    if not out.parent.is_dir():
        raise ConfigError(f"{out} must lie in a folder that exists; make {out.parent} first")


def _write(sampler: Sampler, rows: int, path: Path, progress: Progress) -> None:
    progress.start("rows", rows)
    with pq.ParquetWriter(path, sampler.schema, write_page_checksum=True) as writer:
        for batch in range(-(-rows // sampler.rows_per_batch)):
            count = min(sampler.rows_per_batch, rows - batch * sampler.rows_per_batch)
            writer.write_batch(sampler.draw(batch, count), row_group_size=ROWS_PER_GROUP)
            progress.advance(count)
    progress.finish()


class Sampler:
    """Draws batches of rows; batch k of a seed is the same whatever was drawn before."""

    def __init__(self, bundle: Bundle, *, where: tuple[str, ...] = (), seed: int = 0) -> None:
        """Open what `bundle` keeps for drawing, and fit the corrections to a pilot.

        Raises:
            ConfigError: if a condition in `where` cannot be met.
            BundleError: if the bundle cannot generate.
        """
        self._seed = seed
        prologue = open_prologue(bundle)
        kept = open_generation(bundle, prologue)
        prior, dim = bundle.manifest.prior, bundle.manifest.dim
        self._spreads = Spreads(prior, dim=dim)
        width, classes = len(prologue.numeric_slots), sum(prologue.classes)
        self._decoder = Decoder(bundle.model(DECODER), numeric=width, logits=classes)
        self._noisy = noisy_slots(prologue)
        slots = len(self._noisy)
        # A table of categories has no slot with noise, and so no factors to tell a width from.
        factors = len(kept.factor[0]) if slots else 0
        self._factor = np.array(kept.factor, np.float32).reshape(slots, factors)
        self._deviation = np.array(kept.deviation, np.float32)
        told: dict[str, Any] = {
            "names": self._decoder.conditions,
            "model": str(bundle.path),
            "shares": shares_of(prior),
        }
        self._conditions = Conditions(prologue, kept.types, where=where, **told)
        affordable = _BATCH_BYTES // (8 * max(1, width + classes + dim))
        self.rows_per_batch = min(ROWS_PER_GROUP, max(_LEAST_ROWS, affordable))
        pilot = np.random.default_rng([_PILOT_SEED])
        rows = min(PILOT_ROWS, self.rows_per_batch)
        # A pilot of the whole table: under a condition, columns shall differ from it.
        anyone = Conditions(prologue, kept.types, where=(), **told)
        numeric, logits = self._reconstruct(rows, anyone.draw(rows, pilot), pilot)
        self._drawers = drawers(prologue, kept.types, numeric, logits)
        fields = [kept.types.field(column.name) for column in prologue.schema.features]
        facts = {"model": bundle.fingerprint, "generated": True, "where": list(where)}
        self.schema = pa.schema(
            [*(field.with_nullable(True) for field in fields), *self._conditions.added],
            metadata={"parquet2vec": json.dumps(facts)},
        )

    def draw(self, batch: int, rows: int) -> pa.RecordBatch:
        """The first `rows` rows of batch number `batch`."""
        random = np.random.default_rng([_ROWS_SEED, self._seed, batch])
        given = self._conditions.draw(rows, random)
        numeric, logits = self._reconstruct(rows, given, random)
        columns = {
            name: drawer.draw(numeric, logits, random)
            for name, drawer in self._drawers.items()
            if name not in given
        }
        arrays = [(columns | given)[name] for name in self.schema.names]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _reconstruct(
        self, rows: int, given: dict[str, pa.Array], random: np.random.Generator
    ) -> tuple[Singles, Singles]:
        """Numeric slots with noise [rows, D] and logits [rows, sum of classes] of drawn codes."""
        told = self._conditions.inputs(given, rows)
        codes = self._spreads.draw(self._conditions.codes(told, rows), random)
        found = self._decoder(codes, told)
        common = random.standard_normal((rows, self._factor.shape[1]), np.float32)
        own = random.standard_normal((rows, len(self._noisy)), np.float32)
        found.numeric[:, self._noisy] += common @ self._factor.T + own * self._deviation
        return found.numeric, found.logits
