"""The blocks of a GIF file: whether they hold all pixels, which decoders do not check.

Source: CompuServe, Graphics Interchange Format, version 89a, appendix F.
"""

from __future__ import annotations

import struct

SIGNATURE = b"GIF8"
_EXTENSION, _IMAGE = 0x21, 0x2C
_MOST_BITS = 12  # of a code


def lacks_pixels(gif: bytes) -> bool:
    """Whether the first picture of a GIF file is smaller than the canvas, or ends too early.

    Decoders fill the rest with a colour of their own choice.
    """
    try:
        width, height = struct.unpack_from("<HH", gif, 6)
        position = 13 + _table_size(gif[10])
        while gif[position] == _EXTENSION:
            _, position = _joined(gif, position + 2)
        *frame, flags = struct.unpack_from("<HHHHB", gif, position + 1)
        if gif[position] != _IMAGE or frame != [0, 0, width, height]:
            return True
        position += 10 + _table_size(flags)
        codes, _ = _joined(gif, position + 1)
        return _length(codes, gif[position]) < int(width) * int(height)
    except (IndexError, struct.error):
        return True


def _table_size(flags: int) -> int:
    """Bytes of a table of colours."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _joined(gif: bytes, position: int) -> tuple[bytes, int]:
    """The content of the blocks from a position on, and the position after them."""
    parts = []
    while size := gif[position]:
        parts.append(gif[position + 1 : position + 1 + size])
        position += 1 + size
    return b"".join(parts), position + 1


def _length(codes: bytes, bits: int) -> int:
    """The number of pixels that LZW codes stand for, until the first that means nothing."""
    clear, end = 1 << bits, (1 << bits) + 1
    lengths, last, total = [1] * (end + 1), 0, 0
    width, held, number = bits + 1, 0, 0
    for byte in codes:
        held |= byte << number
        number += 8
        while number >= width:
            code = held & ((1 << width) - 1)
            held >>= width
            number -= width
            if code == clear:
                del lengths[end + 1 :]
                width, last = bits + 1, 0
                continue
            if code == end or code > len(lengths) or (code == len(lengths) and not last):
                return total
            length = lengths[code] if code < len(lengths) else last + 1
            if last and len(lengths) < 1 << _MOST_BITS:
                lengths.append(last + 1)
            if len(lengths) == 1 << width and width < _MOST_BITS:
                width += 1
            last = length
            total += length
    return total
