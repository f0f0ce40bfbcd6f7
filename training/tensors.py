"""Tensors and plain data in one safetensors file, written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from pipeline.storage import write_file


def write_tensors(path: Path, tensors: dict[str, Tensor], data: dict[str, Any]) -> None:
    """Replace the file at `path` atomically; `data` is kept as JSON in its header."""
    # Cloned, because safetensors refuses tensors that share memory.
    whole = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    replace(path, save(whole, metadata={"json": json.dumps(data)}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the data that `write_tensors` wrote."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata() or {}
    return tensors, json.loads(metadata.get("json", "{}"))


def replace(path: Path, content: bytes) -> None:
    """Write a file so that whoever is killed, or loses power, finds the old content or the new."""
    write_file(path, content)
