"""What a bundle says of itself: JSON that lists every file with its size and SHA-256."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator, model_validator

from pipeline.config import Config
from pipeline.errors import BundleError
from pipeline.schema import FeatureSchema
from pipeline.seals import UNSEALED, Seal, is_intact, sealed

# Raise it when an older reader would misread a newer bundle, keep reading all older numbers, and
# add a bundle of the old number to the golden tests.
FORMAT = 1
MANIFEST = "manifest.json"
# The manifest of 2,000 columns takes 0.3 MB; parsed JSON may take twenty times its size.
LARGEST_MANIFEST = 16 * 2**20
# No file of ours comes near; a model may have half of it (pipeline.audit).
LARGEST_FILE = 2**31
MOST_FILES = 64

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class FileRecord(Config):
    """Size and hash of one sealed file."""

    bytes: Annotated[int, Field(ge=0, le=LARGEST_FILE)]
    sha256: Seal


Finite = Annotated[float, Field(allow_inf_nan=False)]


class Spread(Config):
    """How embeddings are spread: ``mean + factor @ n`` with n ~ N(0, I), factor [d, d] lower."""

    mean: tuple[Finite, ...]
    factor: tuple[tuple[Finite, ...], ...]

    @property
    def widths(self) -> set[int]:
        """The numbers of dimensions that it speaks of: one, if it is whole."""
        return {len(self.mean), len(self.factor), *map(len, self.factor)}


class Stratum(Spread):
    """The spread of the rows whose conditions have the prepared `codes`, a `share` of all rows."""

    codes: tuple[Annotated[int, Field(ge=0)], ...]
    share: Annotated[float, Field(gt=0, le=1)]


class Prior(Spread):
    """The spread of all rows; `strata` are those that a decoder is told of, where it differs."""

    strata: tuple[Stratum, ...] = ()


class Manifest(Config):
    """What a bundle says of itself.

    `conditions` names the columns that ``decoder.onnx`` is told beside the code. `prior` is there
    up to 512 dimensions. `widest_layer` counts the numbers per row in the widest layer of the
    encoder, from which the rows of one run are sized. `parity` holds the figures of the export
    gate. `seal` is the hash of the manifest's own bytes with zeros in its place; the first bundles
    had none, nor a prior.
    """

    format: int
    feature_schema: FeatureSchema
    dim: Annotated[int, Field(ge=1)]
    recipe: str
    latent_names: tuple[str, ...]
    widest_layer: Annotated[int, Field(ge=1)]
    training_data: dict[str, Any]
    split: dict[str, Any]
    versions: dict[str, str]
    parity: dict[str, Any]
    conditions: tuple[str, ...] = ()
    prior: Prior | None = None
    files: dict[str, FileRecord] = Field(default_factory=dict)
    seal: Seal | None = None

    @field_validator("files")
    @classmethod
    def _have_plain_names(cls, files: dict[str, FileRecord]) -> dict[str, FileRecord]:
        odd = [name for name in files if not _PLAIN_NAME.fullmatch(name) or name == MANIFEST]
        if odd:
            raise ValueError(f"a file is called {odd[0][:100]!r}")
        if len(files) > MOST_FILES:
            raise ValueError(f"{len(files)} files, more than {MOST_FILES}")
        return files

    @model_validator(mode="after")
    def _names_every_latent(self) -> Manifest:
        if len(self.latent_names) != self.dim:
            raise ValueError(f"{len(self.latent_names)} latent names for dim {self.dim}")
        return self

    @model_validator(mode="after")
    def _has_a_prior_of_its_dim(self) -> Manifest:
        spreads = () if self.prior is None else (self.prior, *self.prior.strata)
        widths = {width for spread in spreads for width in spread.widths}
        if not widths <= {self.dim}:
            raise ValueError(f"a prior of {sorted(widths)} numbers for dim {self.dim}")
        return self


def seal(manifest: Manifest, files: Mapping[str, FileRecord]) -> bytes:
    """The bytes of `manifest` with its `files` and its seal."""
    whole = Manifest(**{**dict(manifest), "files": files, "seal": UNSEALED})
    return sealed(whole.model_dump_json(indent=2).encode())


def parse(content: bytes, folder: Path) -> Manifest:
    """The manifest of the bundle in `folder`, from its bytes.

    Raises:
        BundleError: if it is damaged, or of a newer format.
    """
    path = folder / MANIFEST
    if len(content) > LARGEST_MANIFEST:
        raise _damaged(path, f"it is larger than {LARGEST_MANIFEST} bytes")
    try:
        found = json.loads(content, object_pairs_hook=_distinct, parse_constant=_refuse)
        version = found["format"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _damaged(path) from None
    if type(version) is int and version != FORMAT:
        raise BundleError(
            f"{path} has format {version}, this version reads {FORMAT}; update parquet2vec"
        )
    try:
        manifest = Manifest.model_validate_json(content, strict=True)
    except ValidationError as error:
        told = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise _damaged(path, told) from None
    if manifest.seal is not None and not is_intact(content, manifest.seal):
        raise _damaged(path)
    return manifest


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; two readers could take different ones of two values with one name."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _damaged(path: Path, why: str = "its bytes are not those that were sealed") -> BundleError:
    return BundleError(f"{path} is damaged: {why}; copy the bundle again")
