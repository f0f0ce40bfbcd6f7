"""What docs/howto/images.md says is what the product takes."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flows.project import training_job
from pipeline.schema_inference import infer

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "images.md").read_text(encoding="utf-8")
PROJECTS = [part.split("```")[0] for part in PAGE.split("```toml\n")[1:]]
# The first one needs Pillow.
_, CODE = [part.split("```")[0] for part in PAGE.split("```python\n")[1:]]
VECTORS = {"pixels": 784, "photo": 3072}
TABLE = {name: pa.list_(pa.float32(), length) for name, length in VECTORS.items()}
TABLE |= {f"pixel_{i}": pa.int16() for i in range(64)} | {"label": pa.int8()}
TABLE |= {f"{c}_{i}": pa.int16() for c in ("red", "green", "blue") for i in range(256)}
SHAPES: list[dict[str, Any]] = [
    {"pixels": "28 x 28"},
    {"photo": "32 x 32 x 3, channels last"},
    {"digit": "8 x 8"},
    {"scan": "3 x 16 x 16"},
    {"pixels": "28 x 28"},
]


@pytest.mark.parametrize(("text", "shapes"), list(zip(PROJECTS, SHAPES, strict=True)))
def test_the_project_files_declare_their_images(
    tmp_path: Path, text: str, shapes: dict[str, str]
) -> None:
    project = tmp_path / "parquet2vec.toml"
    project.write_text(text, encoding="utf-8")
    job = training_job({}, path=project)
    empty = pa.schema(TABLE).empty_table()
    schema = infer(empty.schema, empty, labels=job.label, overrides=job.columns, images=job.images)
    assert {name: str(shape) for name, shape in schema.shapes.items()} == shapes


def test_the_lines_of_python_run() -> None:
    exec(compile(CODE, "images.md", "exec"), {})
