"""`TableEmbedder`: table rows to vectors, where PCA stood in a scikit-learn pipeline."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from pipeline.config import ColumnOverride, Kind, PixelColumns, parse
from pipeline.encoder import as_table
from pipeline.errors import Parquet2VecError
from training.candidates import embed_rows
from training.checkpoint import Checkpoint
from training.conditions import NEEDED
from training.fit import LEAST_ROWS, fit
from training.spec import TrainingConfig, TrainingJob

_ROWS_PER_BATCH = 16_384
_LARGEST_SEED = 2**31 - 1

# What errors call by its name on the command line, in the order in which it is looked for.
_PARAMETERS = {
    NEEDED.partition("; ")[2]: "set use_label=True and pass labels y",
    'a project file: [train.columns.NAME] with kind = "image" and shape = [height, width], '
    'or [train.images.NAME] with columns = ["pixel_*"] and a shape': (
        'images: {"NAME": {"shape": (height, width)}} for a column of vectors, or {"NAME": '
        '{"columns": ["pixel_*"], "shape": (height, width)}}'
    ),
    "--use-label with --label COL": "use_label=True with labels y",
    "leave out --use-label": "set use_label=False",
    "--use-label": "use_label=True",
    "--label COL": "labels y",
    "--dim": "dim",
    "--recipe": "recipe",
}


class TableEmbedder(
    ClassNamePrefixFeaturesOutMixin,  # type: ignore[misc]  # scikit-learn has no types
    TransformerMixin,  # type: ignore[misc]
    BaseEstimator,  # type: ignore[misc]
):
    """Table rows as short dense vectors, learnt without a label or, when asked, with labels.

    Takes pandas and polars frames, Arrow tables and arrays; numbers, booleans, strings, times and
    vectors, with missing values. Nothing has to be imputed, scaled or one-hot encoded before.

    Parameters
    ----------
    dim : int or None
        Width of the embedding; by the width of the table (4, 8 or 16) when None.
    recipe : str
        A member of the family, or "auto": train several and keep the best by a probe.
    kinds : dict or None
        What columns mean where the guess from their type is not wanted: {"zip": "category"}.
    images : dict or None
        Images by name, said as in a project file: {"photo": {"shape": (28, 28)}} for a column of
        vectors, {"digit": {"columns": ["x*"], "shape": (8, 8)}} for columns that are its pixels.
    steps : int or None
        Gradient steps of each candidate; the default of `TrainingConfig` when None.
    use_label : bool
        Let the encoder learn from `y` as well: one label or several, missing values allowed.
    random_state : int, RandomState or None
        Seed of split, weights, batches and noise.

    Attributes
    ----------
    checkpoint_ : Checkpoint
        The trained model; `export.export(embedder.checkpoint_, path)` makes a bundle of it.
    n_features_in_ : int
        Columns seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, when all are strings.

    Examples
    --------
    >>> import pyarrow as pa
    >>> table = pa.table({"age": range(20), "town": ["Rome", "Oslo"] * 10})
    >>> TableEmbedder(dim=2, recipe="linear", random_state=0).fit_transform(table).shape
    (20, 2)
    """

    def __init__(
        self,
        dim: int | None = None,
        *,
        recipe: str = "auto",
        kinds: Mapping[str, Kind] | None = None,
        images: Mapping[str, Mapping[str, Any]] | None = None,
        steps: int | None = None,
        use_label: bool = False,
        random_state: Any = None,
    ) -> None:
        self.dim = dim
        self.recipe = recipe
        self.kinds = kinds
        self.images = images
        self.steps = steps
        self.use_label = use_label
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> TableEmbedder:
        """Learn from the rows of `X`; a tenth of them is kept for early stopping, a tenth unused.

        With `use_label` the encoder learns from `y` [rows] or [rows, labels]; None and NaN are
        labels that are not known. Otherwise `y` does not train it, and with recipe "auto" a
        one-dimensional `y` decides which candidate is kept, by a linear probe on the rows kept
        back.

        Raises:
            ValueError: if a parameter is wrong, there are under 10 rows, or no usable column; with
                `use_label`, if `y` is missing or has nothing to tell apart.
        """
        table = self._table(X, reset=True)
        if table.num_rows < LEAST_ROWS:
            raise ValueError(
                f"TableEmbedder needs {LEAST_ROWS} rows or more, found n_samples={table.num_rows}"
            )
        if self.use_label and y is None:
            raise ValueError("use_label=True needs labels to learn from, found y=None; pass y")
        label: tuple[str, ...] = ()
        if y is not None and (self.use_label or (self.recipe == "auto" and np.ndim(y) == 1)):
            for values in _labels(y, rows=table.num_rows):
                name = _unused("label", table.column_names)
                table, label = table.append_column(name, values), (*label, name)
        try:
            self.checkpoint_ = self._fit(table, label)
        except (Parquet2VecError, pa.ArrowException) as error:
            raise ValueError(_by_parameter(str(error))) from error
        return self

    def _fit(self, table: pa.Table, label: tuple[str, ...]) -> Checkpoint:
        steps = {} if self.steps is None else {"steps": self.steps}
        columns = {name: ColumnOverride(kind=kind) for name, kind in (self.kinds or {}).items()}
        images = {}
        for name, said in (self.images or {}).items():
            if "columns" in said:
                images[name] = parse(PixelColumns, said, where=f"images['{name}']")
            else:
                said = {"kind": "image", **said}
                columns[name] = parse(ColumnOverride, said, where=f"images['{name}']")
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "rows.parquet")
            pq.write_table(table, source)
            job = TrainingJob(
                source=str(source),
                out=str(Path(folder, "bundle")),
                recipe=self.recipe,
                dim=self.dim,
                label=label,
                use_label=self.use_label,
                seed=_seed(self.random_state),
                columns=columns,
                images=images,
                training=TrainingConfig(**steps),
            )
            return fit(job)

    def transform(self, X: Any) -> npt.NDArray[np.float32]:
        """The embedding of every row of `X`, float32 [rows, dim].

        Raises:
            NotFittedError: before `fit`.
            ValueError: if `X` has other columns than those seen in `fit`.
        """
        check_is_fitted(self, "checkpoint_")
        table = self._table(X, reset=False)
        checkpoint = self.checkpoint_
        try:
            runs = [
                embed_rows(checkpoint.module, run)
                for batch in table.to_batches(max_chunksize=_ROWS_PER_BATCH)
                for run in checkpoint.prologue.runs(batch)
            ]
        except Parquet2VecError as error:
            raise ValueError(str(error)) from error
        return np.concatenate(runs) if runs else np.empty((0, self._n_features_out), np.float32)

    @property
    def _n_features_out(self) -> int:
        return int(self.checkpoint_.spec.dim)

    def _table(self, X: Any, *, reset: bool) -> pa.Table:
        """Rows as an Arrow table whose columns are named as in `fit`, or x0, x1 and on."""
        X = as_table(X) if isinstance(X, pa.RecordBatch) else X
        if hasattr(X, "__arrow_c_stream__"):
            validate_data(self, X, reset=reset, skip_check_array=True)
            arrow = _from_frame(X)
        else:
            X = validate_data(self, X, reset=reset, dtype=None, ensure_all_finite=False)
            arrow = pa.table({f"x{i}": _column(X[:, i]) for i in range(X.shape[1])})
        names = getattr(self, "feature_names_in_", None)
        if names is None:
            names = [f"x{i}" for i in range(self.n_features_in_)]
        return arrow.rename_columns([str(name) for name in names])

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())
        if "checkpoint_" in state:
            # Sessions of ONNX Runtime cannot be copied; the files of a checkpoint can.
            state["checkpoint_"] = _to_files(state["checkpoint_"])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if isinstance(state.get("checkpoint_"), dict):
            state = {**state, "checkpoint_": _from_files(state["checkpoint_"])}
        super().__setstate__(state)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def _by_parameter(message: str) -> str:
    """`message` with the parameters' names instead of those on the command line.

    >>> _by_parameter("name another recipe, or leave out --use-label")
    'name another recipe, or set use_label=False'
    """
    for flag, parameter in _PARAMETERS.items():
        message = message.replace(flag, parameter)
    return message


def _from_frame(X: Any) -> pa.Table:
    try:
        # The index of a pandas frame is no column.
        return as_table(X.reset_index(drop=True) if hasattr(X, "reset_index") else X)
    except Parquet2VecError as error:
        raise ValueError(str(error)) from error


def _column(values: npt.NDArray[Any]) -> pa.Array:
    try:
        return pa.array(values, from_pandas=True)
    except pa.ArrowException as error:
        raise TypeError(f"argument must be a string or a number: {error}") from error


def _labels(y: Any, *, rows: int) -> list[pa.Array]:
    """The columns of `y`, an array or frame of one dimension or two."""
    if hasattr(y, "__arrow_c_stream__") and np.ndim(y) == 2:
        return [column.combine_chunks() for column in _from_frame(y).columns]
    values = np.asarray(y)
    if values.ndim not in (1, 2) or len(values) != rows:
        raise ValueError(
            f"y must have {rows} rows and one or two dimensions, found shape {values.shape}"
        )
    return [_column(column) for column in np.atleast_2d(values.T)]


def _seed(random_state: Any) -> int:
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    return int(check_random_state(random_state).randint(_LARGEST_SEED))


def _unused(name: str, names: list[str]) -> str:
    while name in names:
        name = f"_{name}"
    return name


def _to_files(checkpoint: Checkpoint) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(Path(folder))
        found = [path for path in Path(folder).rglob("*") if path.is_file()]
        return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def _from_files(files: dict[str, bytes]) -> Checkpoint:
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
            Path(folder, name).write_bytes(data)
        return Checkpoint.load(Path(folder))
