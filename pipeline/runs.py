"""How many rows go through a model at a time: what it makes of them should stay in the cache."""

from __future__ import annotations

import onnx

# Activations of one run should stay in the second-level cache.
_CACHE_BYTES = 2**20
_USUAL_ROWS, _MOST_ROWS, _LARGEST_RUN = 256, 8192, 16 * 2**20


def rows_per_run(bytes_per_row: int) -> int:
    """Rows of one run, a power of two, where a model's widest result has so many bytes a row.

    >>> [rows_per_run(4 * width) for width in (1, 256, 3_136, 200_704, 10**7)]
    [8192, 1024, 256, 16, 1]
    """
    # Short runs cost more than a missed cache, but rows of large images may take a gigabyte.
    least = max(1, min(_USUAL_ROWS, _LARGEST_RUN // bytes_per_row))
    fitting = max(least, min(_MOST_ROWS, _CACHE_BYTES // bytes_per_row))
    return 1 << (fitting.bit_length() - 1)


def rows_per_run_of(content: bytes) -> int:
    """Rows of one run of the model file `content`, by all its results."""
    return rows_per_run(4 * widest_layer(onnx.load_model_from_string(content)))


def widest_layer(model: onnx.ModelProto) -> int:
    """Numbers per row in the largest result of a graph that grows with the batch."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    found = (*inferred.value_info, *inferred.input, *inferred.output)
    return max(1, *map(_row_width, found))


def _row_width(value: onnx.ValueInfoProto) -> int:
    sizes = [one.dim_value for one in value.type.tensor_type.shape.dim if one.HasField("dim_value")]
    if len(sizes) == len(value.type.tensor_type.shape.dim):
        return 0
    width = 1
    for size in sizes:
        width *= size
    return width
