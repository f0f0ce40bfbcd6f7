"""An object as a file to read, for readers that make many small reads where each request waits."""

from __future__ import annotations

import io
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from pipeline import objects

if TYPE_CHECKING:
    from pipeline.objects import ObjectFacts

# Small reads are served from blocks of which the last ones used stay: the columns of a small row
# group lie side by side.
BLOCK = 2**20
CACHE = 16 * BLOCK


class ObjectFile(io.RawIOBase):
    """The object that was seen as `facts`, fetched in blocks of `block` bytes or more.

    Every request asks for the object as it was seen: a file is never a mixture of two.
    """

    def __init__(self, facts: ObjectFacts, *, block: int = BLOCK) -> None:
        super().__init__()
        self._facts = facts
        self._block = block
        self._position = 0
        self._blocks: OrderedDict[int, Any] = OrderedDict()

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to `offset` from the beginning, from here or from the end."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._facts.bytes}
        self._position = base[whence] + offset
        return self._position

    def read(self, size: int = -1, /) -> Any:
        """The next `size` bytes, or all that are left, as a buffer.

        Raises:
            ChangedError: if the object was replaced since it was seen.
        """
        left = max(0, self._facts.bytes - self._position)
        start, size = self._position, left if size < 0 else min(size, left)
        self._position += size
        if size >= self._block:
            return objects.read_range(self._facts, start, start + size)
        return self._from_blocks(start, start + size)

    def _from_blocks(self, start: int, stop: int) -> Any:
        pieces = []
        while start < stop:
            number = start // self._block
            first = number * self._block
            end = min(stop, first + self._block)
            pieces.append(memoryview(self._fetched(number))[start - first : end - first])
            start = end
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _fetched(self, number: int) -> Any:
        if number not in self._blocks:
            first = number * self._block
            stop = min(first + self._block, self._facts.bytes)
            self._blocks[number] = objects.read_range(self._facts, first, stop)
        self._blocks.move_to_end(number)
        while len(self._blocks) * self._block > CACHE:
            self._blocks.popitem(last=False)
        return self._blocks[number]
