"""The one network of the family: assembled from the axes that an `EncoderSpec` names."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.corruption import Corruptor, Rows
from training.latents import LATENTS
from training.layers import dense, fresh, silence
from training.layout import Layout
from training.likelihoods import Decoded, Likelihood
from training.penalties import PENALTIES, Encoded
from training.spec import EncoderSpec
from training.trunks import DECODERS, TRUNKS

__all__ = ["Autoencoder", "Decoded"]

PROJECTION = 64
"""Width of the head that the contrastive loss compares rows in; thrown away after training."""


class Autoencoder(nn.Module):
    """Prepared rows to embedding and back.

    The inputs are assembled into one matrix x = [numeric, ranked, features of category cells]
    [N, W]; all category columns share one table, read by a single Gather. Then

        raw code = path(x) + trunk(x)        embedding = (raw code - mean) * scale

    where the linear path may start as principal components and the trunk as zero.

    Shape:
        numeric [N, D] float32, ranked [N, R] float32, codes [N, C] int64 in 0..cardinality-1.
    """

    offsets: Tensor

    def __init__(
        self, spec: EncoderSpec, layout: Layout, *, generator: torch.Generator | None = None
    ):
        super().__init__()
        generator = generator or torch.Generator()
        self.spec, self.layout = spec, layout
        self.numbers, self.ranks = len(layout.numeric_units), len(layout.ranked_units)
        self.cell_width = (spec.dim if spec.start == "principal" else 0) + spec.category_width
        inputs = self.numbers + self.ranks * self.reads_ranked
        inputs += self.cell_width * len(layout.cardinalities)
        offsets = torch.tensor(layout.offsets, dtype=torch.int64)
        self.register_buffer("offsets", offsets, persistent=False)
        if layout.cardinalities:
            self.table = nn.Embedding(sum(layout.cardinalities), self.cell_width)
            nn.init.normal_(self.table.weight, std=self.cell_width**-0.5, generator=generator)
        make = TRUNKS[spec.trunk]
        self.path = None if spec.start == "none" else _linear(inputs, spec.dim, generator)
        self.trunk = make(layout, spec, inputs, generator) if make else None
        if self.trunk is not None and self.path is not None:
            silence(self.trunk)
        self.latent = LATENTS[spec.latent](spec.dim)
        self.likelihood = Likelihood(layout)
        outputs = self.likelihood.parameters_per_row
        self.decoder = DECODERS[spec.decoder](layout, spec, spec.dim, outputs, generator)
        self.head = dense(spec.dim, (PROJECTION,), PROJECTION, generator) if spec.contrast else None
        self.corruptor = Corruptor(
            layout, spec.corruption, rate=spec.corruption_rate, unknown_rate=spec.unknown_rate
        )

    @property
    def reads_ranked(self) -> bool:
        """Whether the encoder reads the rank-gauss view."""
        return self.ranks > 0 and self.spec.view != "standardised"

    @property
    def views(self) -> tuple[str, ...]:
        """Which of "numeric", "ranked", "codes" the encoder reads."""
        reads = {
            "numeric": self.numbers > 0,
            "ranked": self.reads_ranked,
            "codes": bool(self.layout.cardinalities),
        }
        return tuple(name for name, read in reads.items() if read)

    def embed(self, numeric: Tensor, ranked: Tensor, codes: Tensor) -> Tensor:
        """Embedding [N, d]; each unit has mean 0 and variance 1 over the training rows."""
        return self.latent.standardise(self.raw_code(numeric, ranked, codes))

    def decode(self, embedding: Tensor) -> Decoded:
        """Reconstruction in prepared space from an embedding [N, d]."""
        return self.likelihood.decoded(self.decoder(self.latent.restore(embedding)))

    def reconstruction_error(self, numeric: Tensor, ranked: Tensor, codes: Tensor) -> Tensor:
        """Mean over columns of squared error (numbers) or 1 - p(true) (categories), [N]."""
        embedding = self.embed(numeric, ranked, codes)
        parameters = self.decoder(self.latent.restore(embedding))
        return self.likelihood.row_error(parameters, Rows(numeric, ranked, codes))

    def raw_code(self, numeric: Tensor, ranked: Tensor, codes: Tensor) -> Tensor:
        """Code before the standardising affine, [N, d]."""
        inputs = self.inputs(numeric, ranked, codes)
        paths: list[Tensor] = [part(inputs) for part in (self.path, self.trunk) if part is not None]
        return paths[0] if len(paths) == 1 else paths[0] + paths[1]

    def encode(self, rows: Rows) -> Encoded:
        """What `raw_code` gives, with what it came from; the trunk must be a dense one."""
        inputs = self.inputs(*rows)
        assert isinstance(self.trunk, nn.Sequential)
        hidden = self.trunk[:-2](inputs)
        code = self.trunk[-2:](hidden)
        return Encoded(inputs, hidden, code if self.path is None else code + self.path(inputs))

    def inputs(self, numeric: Tensor, ranked: Tensor, codes: Tensor) -> Tensor:
        """The matrix that path and trunk read, [N, W]."""
        parts = [numeric] if self.numbers else []
        if self.reads_ranked:
            parts.append(ranked)
        if self.layout.cardinalities:
            cells = self.table(codes + self.offsets)
            parts.append(cells.reshape(-1, len(self.layout.cardinalities) * self.cell_width))
        return torch.cat(parts, dim=1)

    def loss(
        self, rows: Rows, labels: Tensor, *, generator: torch.Generator, progress: float
    ) -> Tensor:
        """What training lowers, a scalar: reconstruction of clean rows from corrupted ones.

        `labels` [N, L] float64 are NaN where null; `progress` is the share of the run that is done.

        With a contrast weight, two corruptions of each row are encoded and must recognise each
        other among the batch (InfoNCE; SCARF, arXiv 2106.15147, equation 1).
        """
        noisy = [self.corruptor(rows, generator) for _ in range(2 if self.head else 1)]
        raw, penalty = self._encoded(Rows(*map(torch.cat, zip(*noisy, strict=True))))
        count = len(rows.codes)
        loss = self.likelihood.loss(self.decoder(raw[:count]), rows) + penalty
        if self.head is None:
            return loss
        return loss + self.spec.contrast * self._contrast(self.head(raw))

    def _encoded(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Raw code [N, d] and weighted penalty, a scalar."""
        penalise = PENALTIES[self.spec.penalty]
        if penalise is None:
            raw = self.raw_code(*rows)
            return raw, raw.new_zeros(())
        encoded = self.encode(rows)
        return encoded.code, self.spec.penalty_weight * penalise(encoded, self.spec)

    def _contrast(self, projected: Tensor) -> Tensor:
        first, second = F.normalize(projected, dim=1).chunk(2)
        likeness = first @ second.T / self.spec.temperature
        true = torch.arange(len(likeness))
        return 0.5 * (F.cross_entropy(likeness, true) + F.cross_entropy(likeness.T, true))


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    return fresh(nn.Linear(inputs, outputs), generator)
