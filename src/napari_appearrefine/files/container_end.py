"""Where a video file should end, by what its container says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"


def is_cut_off(path: Path) -> bool:
    """Whether a Matroska or WebM file, or an MP4 in fragments, is shorter than it says.

    Such a file does not tell how many frames it lacks. Only its outermost parts are looked at. False for other
    containers, which begin or end with a table of all frames, and where a recorder never wrote down how long the file
    became.
    """
    length = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(8)
        file.seek(0)
        if head[:4] == _EBML:
            return _end_of_segment(file) > length
        return head[4:] == b"ftyp" and _end_of_fragments(file, length) > length


def _end_of_segment(file: BinaryIO) -> int:
    """Return where the segment, which holds all but the head of a Matroska file, should end; 0 if that is not told."""
    while True:
        name = _variable_bytes(file)
        size = _variable_bytes(file)
        if not name or not size:
            return 0
        bits = 7 * len(size)
        value = int.from_bytes(size) & ((1 << bits) - 1)
        if value == (1 << bits) - 1:  # The mark for a length that is not known, as of a live recording.
            return 0
        if name == _SEGMENT:
            return file.tell() + value
        file.seek(value, 1)


def _variable_bytes(file: BinaryIO) -> bytes:
    """Read a number of EBML, the leading zero bits of which tell its length; empty at the end of the file."""
    first = file.read(1)
    return first + file.read(8 - first[0].bit_length()) if first and first[0] else b""


def _end_of_fragments(file: BinaryIO, length: int) -> int:
    """Return where the last of the boxes that an MP4 file consists of should end; 0 if it is not in fragments."""
    place = 0
    in_fragments = False
    while place + 8 <= length:
        file.seek(place)
        head = file.read(8)
        size = int.from_bytes(head[:4])
        in_fragments = in_fragments or head[4:] == b"moof"
        if size == 1:  # A box of more than 4 GiB.
            size = int.from_bytes(file.read(8))
        if size < 8:  # 0 is a box that goes to the end, whatever that is.
            return 0
        place += size
    return place if in_fragments else 0
