"""Images in a table: how the elements of a vector, or columns of their own, make up a picture."""

from __future__ import annotations

import fnmatch
import logging
import math
import re
from collections import Counter
from collections.abc import Sequence

from pipeline.config import Config, ImageAxes, PixelColumns
from pipeline.events import LOGGER

_NUMBERS = re.compile(r"[0-9]+")
_SHOWN = 3

_log = logging.getLogger(LOGGER)


class ImageShape(Config):
    """Height and width of an image, and how its elements lie in a row.

    The order is that of an array [channels, height, width], or of [height, width, channels] where
    `channels_last`.
    """

    channels: int
    height: int
    width: int
    channels_last: bool = False

    @property
    def elements(self) -> int:
        """Numbers in one image."""
        return self.channels * self.height * self.width

    def order(self) -> tuple[int, ...]:
        """Place of each element of an array [channels, height, width] in the row.

        >>> ImageShape(channels=2, height=1, width=3, channels_last=True).order()
        (0, 2, 4, 1, 3, 5)
        """
        if not self.channels_last:
            return tuple(range(self.elements))
        points = range(self.height * self.width)
        return tuple(point * self.channels + c for c in range(self.channels) for point in points)

    def __str__(self) -> str:
        size = f"{self.height} x {self.width}"
        if self.channels_last:
            return f"{size} x {self.channels}, channels last"
        return size if self.channels == 1 else f"{self.channels} x {size}"


class PixelImage(Config):
    """An image whose elements are the columns named, in the order of `shape`."""

    name: str
    columns: tuple[str, ...]
    shape: ImageShape


def shape_of(axes: ImageAxes, *, elements: int, what: str) -> tuple[ImageShape | None, str]:
    """The shape of an image of so many `elements`, or what is wrong with it.

    Without a shape, a square number is taken for a square grey image, and told.
    """
    if axes.shape is None:
        side = math.isqrt(elements)
        if side * side != elements:
            return None, f"{what} has {elements} elements, which is no square; say its shape"
        _log.warning(
            "%s has no shape: its %d elements are taken for %d x %d; say shape = [%d, %d]",
            *(what, elements, side, side, side, side),
        )
        return ImageShape(channels=1, height=side, width=side), ""
    last = axes.channels == "last" and len(axes.shape) == 3
    if len(axes.shape) == 2:
        (height, width), channels = axes.shape, 1
    elif last:
        height, width, channels = axes.shape
    else:
        channels, height, width = axes.shape
    shape = ImageShape(channels=channels, height=height, width=width, channels_last=last)
    if shape.elements != elements:
        return None, (
            f"{what} must have {shape.elements} elements for shape {list(axes.shape)}, "
            f"found {elements}; mend the shape"
        )
    return shape, ""


def pixel_image(
    name: str, said: PixelColumns, *, pixels: Sequence[str], names: Sequence[str]
) -> tuple[PixelImage | None, str]:
    """The image that `said` declares, or what is wrong with it.

    `pixels` are the columns that can be an element (numbers and booleans that are features),
    `names` all columns of the table.
    """
    what = f"image '{name}'"
    if name in names:
        return None, f"{what} has the name of a column; rename the image"
    found, known = list[str](), frozenset(pixels)
    for pattern in said.columns:
        matched = [pattern] if pattern in known else expand(pattern, pixels)
        if not matched:
            why = "is not a number" if pattern in names else "matches no number"
            return None, (
                f"{what} must be made of columns that are numbers and features, but '{pattern}' "
                f"{why} among them; mend its columns"
            )
        found += matched
    twice = [column for column, count in Counter(found).items() if count > 1]
    if twice:
        return None, f"{what} has column '{twice[0]}' twice; mend its columns"
    shape, problem = shape_of(said, elements=len(found), what=what)
    if shape is None:
        shown = ", ".join(found[:_SHOWN]) + (", …" if len(found) > _SHOWN else "")
        return None, f"{problem} (columns {shown})"
    return PixelImage(name=name, columns=tuple(found), shape=shape), ""


def expand(pattern: str, names: Sequence[str]) -> list[str]:
    """The `names` that `pattern` matches, as the elements of an image follow each other.

    Names that differ in their numbers only are put in the order of these, because tables are
    often sorted by name, where 10 comes before 2. Other names stay in the order of the table.

    >>> expand("p*", ["p_1", "p_10", "p_2", "q"]), expand("[ab]*", ["b", "a"])
    (['p_1', 'p_2', 'p_10'], ['b', 'a'])
    """
    found = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
    if len({_NUMBERS.sub("#", name) for name in found}) == 1:
        found.sort(key=lambda name: [_size(digits) for digits in _NUMBERS.findall(name)])
    return found


def _size(digits: str) -> tuple[int, str]:
    # Python refuses to read a number of thousands of digits, and a name may hold one.
    significant = digits.lstrip("0")
    return len(significant), significant
