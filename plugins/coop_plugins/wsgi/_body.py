"""What has come of a body, and was not read yet."""

from __future__ import annotations

from collections import deque

from coopcore.lowlevel import hide_frames

_SMALL = 4096
_PUT_TOGETHER = 65536


class Body:
    """The pieces that were received, as they are: whoever reads a body in pieces of their size gets them without a copy. Small ones are put together."""

    __slots__ = ("_offset", "_pieces", "size")

    def __init__(self) -> None:
        self._pieces: deque[bytes | bytearray] = deque()
        self._offset = 0  # what was taken of the first one
        self.size = 0

    def add(self, piece: bytes) -> None:
        """One more piece, which is not empty."""
        self.size += len(piece)
        if len(piece) >= _SMALL:
            self._pieces.append(piece)
            return
        last = self._pieces[-1] if self._pieces else b""
        if type(last) is bytearray and len(last) < _PUT_TOGETHER:
            last += piece
        else:
            self._pieces.append(bytearray(piece))

    def take(self, size: int) -> bytes:
        """``size`` bytes, or all if there are less."""
        pieces, offset = self._pieces, self._offset
        if not pieces or size <= 0:
            return b""
        first = pieces[0]
        end = offset + size
        if end < len(first):
            self._offset = end
            self.size -= size
            return bytes(first[offset:end])
        taken = [first[offset:]]
        pieces.popleft()
        self._offset = 0
        missing = size - len(taken[0])
        while missing and pieces:
            piece = pieces[0]
            if len(piece) > missing:
                taken.append(piece[:missing])
                self._offset = missing
                break
            taken.append(piece)
            pieces.popleft()
            missing -= len(piece)
        result = bytes(taken[0]) if len(taken) == 1 else b"".join(taken)
        self.size -= len(result)
        return result

    def find_line(self, start: int) -> int:
        """How many bytes the first line has, with its end, if it ends at ``start`` or later; 0 if it does not end yet."""
        before = self.size
        looked_at = []
        for piece in reversed(self._pieces):  # to where the search begins: mostly the last one, of very many perhaps
            if before <= start:
                break
            before -= len(piece)
            looked_at.append(piece)
        for piece in reversed(looked_at):
            found = piece.find(b"\n", max(start - before, 0))
            if found >= 0:
                return before + found + 1
            before += len(piece)
        return 0

    def clear(self) -> None:
        """Drop it all."""
        self._pieces.clear()
        self._offset = self.size = 0

    def __len__(self) -> int:
        return self.size

    def __bytes__(self) -> bytes:
        return b"".join(self._pieces)[self._offset :]


hide_frames(__file__)
