"""Photoshop's image resources, in which JPEG files keep IPTC; TIFF has a tag for each of them.

Source: Adobe, Photoshop File Formats Specification, section "Image Resources".
"""

from __future__ import annotations

import struct

HEADER = b"Photoshop 3.0\0"  # of the resources in a JPEG file
MOST_IN_JPEG = 65_000  # bytes, in one segment
_SIGNATURE, _IPTC = b"8BIM", 0x0404


def iptc_in(resources: bytes) -> bytes | None:
    """The IPTC among image resources; None if there is none, or it is damaged."""
    position = 0
    while resources[position : position + 4] == _SIGNATURE and position + 12 <= len(resources):
        (code,) = struct.unpack_from(">H", resources, position + 4)
        name = 1 + resources[position + 6]  # its length stands before it
        position += 6 + name + name % 2
        if position + 4 > len(resources):
            return None
        (length,) = struct.unpack_from(">I", resources, position)
        if code == _IPTC:
            return resources[position + 4 : position + 4 + length]
        position += 4 + length + length % 2
    return None


def with_iptc(resources: bytes, iptc: bytes | None) -> bytes:
    """Image resources that hold this IPTC, unless they hold some already."""
    if iptc is None or iptc_in(resources) is not None:
        return resources
    nameless = b"\0\0"
    block = _SIGNATURE + struct.pack(">H", _IPTC) + nameless + struct.pack(">I", len(iptc)) + iptc
    return resources + block + b"\0" * (len(iptc) % 2)
