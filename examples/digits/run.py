"""Pictures in a column: train a convolutional encoder, embed, find the pictures most alike.

Run it with `make example NAME=digits`, or python examples/digits/run.py FOLDER.
"""

import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors

PROJECT = """\
[train]
source = "digits"
out = "model"
key = ["id"]
label = ["digit"]               # only to say what the vectors are worth
recipe = "conv"
dim = 16

[train.columns.pixels]
kind = "image"
shape = [8, 8]

[train.training]
steps = 400                     # enough for pictures this small
"""
SHOWN, NEIGHBOURS = 8, 6


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pixels, digit = load_digits(return_X_y=True)
    write_table(folder / "digits", pixels, digit)
    (folder / "parquet2vec.toml").write_text(PROJECT, encoding="utf-8")
    parquet2vec("train", "--config", "parquet2vec.toml", folder=folder)
    parquet2vec("embed", "model", "digits", "embeddings", folder=folder)

    table = pq.read_table(folder / "embeddings" / "current").sort_by("id")
    vectors = np.stack(table["embedding"].to_numpy())
    nearest = NearestNeighbors(n_neighbors=NEIGHBOURS + 1).fit(vectors)
    found = nearest.kneighbors(vectors, return_distance=False)[:, 1:]
    same = np.mean(digit[found] == digit[:, None])
    print(f"of the {NEIGHBOURS} nearest of each picture {same:.1%} show the same digit")
    draw(folder / "neighbours.png", pixels, digit, found, same)


def write_table(folder: Path, pixels: np.ndarray, digit: np.ndarray) -> None:
    """One row for each picture, its pixels in one list."""
    folder.mkdir(exist_ok=True)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(pixels.ravel(), pa.float32()), 64)
    table = pa.table({"id": np.arange(len(digit)), "pixels": lists, "digit": digit})
    pq.write_table(table, folder / "digits.parquet")


def draw(path: Path, pixels: np.ndarray, digit: np.ndarray, found: np.ndarray, same: float) -> None:
    """A row of pictures for each of some digits: itself, then its nearest ones."""
    chosen = [int(np.flatnonzero(digit == one)[5]) for one in range(SHOWN)]
    figure, axes = plt.subplots(SHOWN, NEIGHBOURS + 1, figsize=(7.2, 8.4))
    for row, place in zip(axes, chosen, strict=True):
        for axis, shown in zip(row, [place, *found[place]], strict=True):
            axis.imshow(pixels[shown].reshape(8, 8), cmap="gray_r")
            axis.set(xticks=[], yticks=[])
            right = digit[shown] == digit[place]
            for side in axis.spines.values():
                side.set(color="#bbbbbb" if right else "#c0392b", linewidth=1 if right else 3)
    axes[0, 0].set_title("picture", fontsize=10)
    axes[0, 1].set_title("its nearest, by 16 numbers", fontsize=10, loc="left")
    figure.suptitle(f"{same:.1%} of all neighbours show the same digit", fontsize=12)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def parquet2vec(*words: str, folder: Path) -> None:
    command = Path(sys.executable).with_name("parquet2vec")
    subprocess.run([command, *words], cwd=folder, check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
