"""The one network of the family: assembled from the axes that an `EncoderSpec` names."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.conditions import Condition, Conditions
from training.corruption import Corruptor, Rows
from training.ensembles import Ensemble
from training.knots import Knots
from training.latents import LATENTS
from training.layers import dense, fresh, silence
from training.layout import Layout
from training.likelihoods import Decoded, Density, Likelihood
from training.objective import Partners, itself, terms
from training.penalties import Encoded
from training.spec import EncoderSpec
from training.targets import Targets
from training.trunks import DECODERS, TRUNKS, below_last, last_layer

__all__ = ["Autoencoder", "Decoded"]

PROJECTION = 64
"""Width of the head that the contrastive loss compares rows in; thrown away after training."""

START_LOG_VARIANCE = -2.0
"""Of a gaussian code before training: narrow, so that the decoder sees the rows from the start."""


class Autoencoder(nn.Module):
    """Prepared rows to embedding and back.

    The inputs are assembled into one matrix x = [numeric, ranked, features of category cells,
    knots] [N, W]; all category columns share one table, read by a single Gather. Then

        raw code = path(x) + trunk(x * gates)        embedding = (raw code - mean) * scale

    where the linear path may start as principal components and the trunk as zero. A gaussian code
    has this raw code for a mean, and a log variance from what the trunk's last layer reads. The
    decoder reads the raw code and, with a condition, what `Conditions` makes of it.

    Shape:
        numeric [N, D] float32, ranked [N, R] float32, codes [N, C] int64 in 0..cardinality-1.
    """

    offsets: Tensor
    gates: Tensor

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
        self.knots = Knots(self.ranks * self.reads_ranked, spec.knots)
        inputs += self.knots.width
        if spec.screened:
            self.register_buffer("gates", torch.ones(inputs))
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
        if spec.correction < 1:
            self._hold_path()
        self.latent = LATENTS[spec.latent](spec.dim)
        self.spread = self._spread(inputs, generator) if spec.latent == "gaussian" else None
        judged = Density if spec.latent == "gaussian" else Likelihood
        self.likelihood = judged(layout, spec.numbers, given=spec.condition == "columns")
        self.conditions = None
        if spec.condition != "none":
            by_label = spec.condition == "label"
            self.conditions = Conditions(layout, by_label=by_label, generator=generator)
        told = spec.dim + (0 if self.conditions is None else self.conditions.width)
        outputs = self.likelihood.parameters_per_row
        self.decoder = DECODERS[spec.decoder](layout, spec, told, outputs, generator)
        self.head = dense(spec.dim, (PROJECTION,), PROJECTION, generator) if spec.contrast else None
        self.partners: Partners = itself
        self.targets = Targets(spec.heads, spec.dim, generator) if spec.heads else None
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

    def decode(self, embedding: Tensor, condition: Condition | None = None) -> Decoded:
        """Reconstruction in prepared space from an embedding [N, d].

        A recipe with conditions takes them as not known where none are given.
        """
        code = self.latent.restore(embedding)
        return self.likelihood.decoded(self.parameters_of(code, condition))

    def parameters_of(self, code: Tensor, condition: Condition | None) -> Tensor:
        """What the likelihood reads, [N, P], from raw codes [N, d]."""
        read = code
        if self.conditions is not None:
            known = condition is not None
            told = self.conditions(condition) if known else self.conditions.unknown(code)
            read = torch.cat([code, told], dim=1)
        parameters: Tensor = self.decoder(read)
        return parameters

    def condition_of(self, rows: Rows, labels: Tensor | None = None) -> Condition | None:
        """The conditions of prepared rows; those that need `labels` are not known without."""
        return None if self.conditions is None else self.conditions.of(rows, labels)

    def reconstruction_error(self, numeric: Tensor, ranked: Tensor, codes: Tensor) -> Tensor:
        """Mean over columns of squared error (numbers) or 1 - p(true) (categories), [N].

        Condition columns are told to the decoder and do not count; a label is not told.
        """
        rows = Rows(numeric, ranked, codes)
        code = self.latent.restore(self.embed(numeric, ranked, codes))
        return self.likelihood.row_error(self.parameters_of(code, self.condition_of(rows)), rows)

    def raw_code(self, numeric: Tensor, ranked: Tensor, codes: Tensor) -> Tensor:
        """Code before the standardising affine, [N, d]."""
        inputs = self.inputs(numeric, ranked, codes)
        paths: list[Tensor] = [] if self.path is None else [self.path(inputs)]
        if self.trunk is not None:
            paths.append(self.trunk(self._gated(inputs)))
        return paths[0] if len(paths) == 1 else paths[0] + paths[1]

    def codes_of_members(self, rows: Rows, generator: torch.Generator) -> Tensor:
        """The raw code by each network of an ensemble, or by the only one, [K, N, d]."""
        if not isinstance(self.trunk, Ensemble):
            return self.raw_code(*rows)[None]
        inputs = self.inputs(*rows)
        codes = self.trunk.members(self._gated(inputs), generator)
        return codes if self.path is None else codes + self.path(inputs)

    def _gated(self, inputs: Tensor) -> Tensor:
        return inputs * self.gates if self.spec.screened else inputs

    def shut(self, gates: Tensor) -> None:
        """Let the trunk read each unit as loud as `gates` [units] say, the usual input at 1."""
        layout = self.layout
        units = [*layout.numeric_units, *layout.ranked_units * self.reads_ranked]
        units += [unit for unit in layout.code_units for _ in range(self.cell_width)]
        if self.knots.width:
            units += [unit for unit in layout.ranked_units for _ in range(self.knots.intervals)]
        own = gates[torch.tensor(units, dtype=torch.int64)]
        self.gates.copy_(own / own.square().mean().sqrt().clamp_min(1e-12))

    def weaken(self) -> None:
        """Keep of the trunk's output the share that the spec says."""
        assert self.trunk is not None
        last = last_layer(self.trunk)
        with torch.no_grad():
            last.weight.mul_(self.spec.correction)
            last.bias.mul_(self.spec.correction)

    def posterior(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Mean and log variance of a gaussian raw code given the rows, each [N, d]."""
        assert self.spread is not None
        hidden = inputs = self.inputs(*rows)
        means = [] if self.path is None else [self.path(inputs)]
        if self.trunk is not None:
            hidden = below_last(self.trunk, inputs)
            means.append(last_layer(self.trunk)(hidden))
        mean: Tensor = means[0] if len(means) == 1 else means[0] + means[1]
        return mean, self.spread(hidden)

    def encode(self, rows: Rows) -> Encoded:
        """What `raw_code` gives, with what it came from; the trunk must be a dense one."""
        inputs = self.inputs(*rows)
        assert isinstance(self.trunk, nn.Sequential)
        hidden = self.trunk[:-2](inputs)
        code = self.trunk[-2:](hidden)
        return Encoded(hidden, code if self.path is None else code + self.path(inputs))

    def inputs(self, numeric: Tensor, ranked: Tensor, codes: Tensor) -> Tensor:
        """The matrix that path and trunk read, [N, W]."""
        parts = [numeric] if self.numbers else []
        if self.reads_ranked:
            parts.append(ranked)
        if self.layout.cardinalities:
            cells = self.table(codes + self.offsets)
            parts.append(cells.reshape(-1, len(self.layout.cardinalities) * self.cell_width))
        if self.knots.width:
            parts.append(self.knots(ranked))
        return torch.cat(parts, dim=1)

    def loss(
        self, rows: Rows, labels: Tensor, *, generator: torch.Generator, progress: float
    ) -> Tensor:
        """What training lowers, a scalar: reconstruction of clean rows from corrupted ones.

        `labels` [N, L] float64 are NaN where null; `progress` is the share of the run that is done.

        With a contrast weight, two corruptions of each row, or of the row and one like it, are
        encoded and must recognise each other among the batch (InfoNCE; SCARF, arXiv 2106.15147).
        With a gaussian code the loss is the negative evidence lower bound, in nats per row (Kingma
        & Welling 2014), with the KL weight, warm-up and free bits of the spec.

        A model that learns from labels adds what its heads lose (`Targets.loss`); in eval mode,
        where a run is judged, that alone counts, on clean rows, wherever there is a label.
        """
        return self.terms(rows, labels, generator=generator, progress=progress)["loss"]

    def terms(
        self, rows: Rows, labels: Tensor, *, generator: torch.Generator, progress: float
    ) -> dict[str, Tensor]:
        """The `loss` and, of a gaussian code, the terms of the bound as they are, nats per row."""
        return terms(self, rows, labels, generator=generator, progress=progress)

    def _hold_path(self) -> None:
        """Leave the linear path, and what of category cells it reads, out of training."""
        assert self.path is not None
        self.path.requires_grad_(False)
        if self.layout.cardinalities:
            learnt = (torch.arange(self.cell_width) >= self.spec.dim).float()
            self.table.weight.register_hook(lambda gradient: gradient * learnt)

    def _spread(self, inputs: int, generator: torch.Generator) -> nn.Linear:
        width = inputs if self.trunk is None else last_layer(self.trunk).in_features
        spread = fresh(nn.Linear(width, self.spec.dim), generator)
        nn.init.constant_(spread.bias, START_LOG_VARIANCE)
        return spread


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    return fresh(nn.Linear(inputs, outputs), generator)
