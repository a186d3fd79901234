"""Image files as libraries write them, and damaged or unusual variants of them, at random."""

import io
import struct
import zlib

import numpy as np
import tifffile
from PIL import Image

SUFFIXES = (".tif", ".png", ".jpg", ".webp", ".gif")


def whole_file(random):
    """A sound file of a random kind: its suffix and content."""
    suffix = str(random.choice(SUFFIXES, p=[0.5, 0.2, 0.15, 0.1, 0.05]))
    shape = tuple(int(n) for n in random.integers(1, 40, 2))
    make = {".tif": _tiff, ".png": _png}.get(suffix, _lossy)
    return suffix, make(suffix, shape, random)


def damaged(suffix, content, random):
    """A variant of a file: the same with one or a few changes of its structure, or of any bytes."""
    changes = [_cut, _flipped, _overwritten, _doubled]
    structure = {".tif": _other_tag, ".png": _other_chunk, ".jpg": _other_segment}
    if suffix in structure:
        changes += 4 * [structure[suffix]]
    for _ in range(int(random.integers(1, 4))):
        content = changes[random.integers(len(changes))](content, random)
    return content


def _values(shape, sample_type, random):
    if np.dtype(sample_type).kind == "f":
        return random.random(shape).astype(sample_type)
    if sample_type == "bool":
        return random.random(shape) < 0.5
    limits = np.iinfo(sample_type)
    return random.integers(limits.min, limits.max, shape, sample_type, endpoint=True)


def _tiff(_, shape, random):
    types = ("uint8", "uint16", "float32", "float64", "float16", "int16", "uint32", "bool", "int8")
    chance = [0.3, 0.3, 0.12, 0.05, 0.05, 0.05, 0.05, 0.04, 0.04]
    sample_type = str(random.choice(types, p=chance))
    channels = int(random.choice([1, 2, 3, 4, 5], p=[0.35, 0.1, 0.35, 0.15, 0.05]))
    photometric = str(random.choice(["minisblack", "miniswhite", "rgb", "separated", "cielab"],
                                    p=[0.4, 0.1, 0.4, 0.05, 0.05]))  # fmt: skip
    if photometric in ("rgb", "cielab"):
        channels = max(channels, 3)
    if photometric == "separated":
        channels = 4
    separate = channels > 1 and random.random() < 0.3
    full = (channels, *shape) if separate else (*shape, channels)
    values = _values(full if channels > 1 else shape, sample_type, random)
    extra = channels - {"rgb": 3, "cielab": 3, "separated": 4}.get(photometric, 1)
    kinds = random.choice(["unspecified", "assocalpha", "unassalpha"], extra)
    compression = random.choice(["none", "zlib", "lzw", "zstd", "packbits", "lzma"])
    file = io.BytesIO()
    options = {
        "photometric": photometric,
        "compression": None if compression == "none" or sample_type == "bool" else compression,
        "planarconfig": ("separate" if separate else "contig") if channels > 1 else None,
        "extrasamples": list(kinds) or None,
        "byteorder": str(random.choice(["<", ">"])),
        "bigtiff": bool(random.random() < 0.1),
    }
    if random.random() < 0.3:
        options["tile"] = (16, 16)
    elif random.random() < 0.5:
        options["rowsperstrip"] = int(random.integers(1, 9))
    if random.random() < 0.3:
        options |= {"resolution": (300, 200), "resolutionunit": int(random.integers(1, 4))}
    if random.random() < 0.1:
        values = np.stack([values] * 3)
    try:
        tifffile.imwrite(file, values, **options)
    except (ValueError, TypeError, KeyError, NotImplementedError):
        return _tiff(_, shape, random)  # the library cannot write this
    return file.getvalue()


def _png(_, shape, random):
    mode = str(random.choice(["L", "LA", "RGB", "RGBA", "I;16", "P", "1"]))
    if mode == "I;16":
        image = Image.fromarray(_values(shape, "uint16", random))
    else:
        image = Image.fromarray(_values((*shape, 4), "uint8", random), "RGBA").convert(mode)
    file = io.BytesIO()
    options = {"save_all": True, "append_images": [image]} if random.random() < 0.05 else {}
    image.save(file, "PNG", **options)
    return file.getvalue()


def _lossy(suffix, shape, random):
    mode = str(
        random.choice({".jpg": ["L", "RGB", "CMYK"], ".gif": ["P"]}.get(suffix, ["RGB", "RGBA"]))
    )
    channels = {"L": 1, "RGB": 3}.get(mode, 4)
    values = _values((*shape, channels), "uint8", random)
    base = {1: "L", 3: "RGB", 4: "CMYK" if mode == "CMYK" else "RGBA"}[channels]
    image = Image.fromarray(values[..., 0] if channels == 1 else values, base).convert(mode)
    file = io.BytesIO()
    options = {"quality": int(random.integers(30, 100))} if suffix == ".jpg" else {}
    if suffix == ".webp":
        options["lossless"] = bool(random.random() < 0.5)
    if suffix == ".jpg" and random.random() < 0.3:
        options["progressive"] = True
    image.save(file, {".jpg": "JPEG", ".webp": "WEBP", ".gif": "GIF"}[suffix], **options)
    return file.getvalue()


def _cut(content, random):
    return content[: int(random.integers(1, len(content)))] if len(content) > 1 else content


def _flipped(content, random):
    changed = bytearray(content)
    for _ in range(int(random.integers(1, 6))):
        changed[random.integers(len(changed))] ^= 1 << int(random.integers(8))
    return bytes(changed)


def _overwritten(content, random):
    start = int(random.integers(len(content)))
    length = min(int(random.integers(1, 40)), len(content) - start)
    filling = bytes([int(random.choice([0, 255]))]) * length
    return content[:start] + filling + content[start + length :]


def _doubled(content, random):
    start, end = sorted(int(n) for n in random.integers(len(content) + 1, size=2))
    return content[:end] + content[start:end] + content[end:]


def _other_tag(content, random):
    """A tag of the first directory gets another value, type, count or number."""
    order = "<" if content[:2] == b"II" else ">"
    if len(content) < 16 or content[2:4] not in (b"*\0", b"\0*"):
        return _flipped(content, random)
    (start,) = struct.unpack_from(order + "I", content, 4)
    if start + 2 > len(content):
        return content
    (number,) = struct.unpack_from(order + "H", content, start)
    entry = start + 2 + 12 * int(random.integers(max(number, 1)))
    if entry + 12 > len(content):
        return content
    changed = bytearray(content)
    code, kind, count, value = struct.unpack_from(order + "HHII", content, entry)
    part = random.integers(5)
    if part == 0:
        code = int(random.choice([254, 256, 257, 258, 259, 262, 277, 284, 317, 322, 330, 338, 339]))
    elif part == 1:
        kind = int(random.integers(0, 20))
    elif part == 2:
        count = int(random.choice([0, 1, 2, 3, 1000, 2**31, 2**32 - 1]))
    else:
        value = int(
            random.choice([0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 255, 65535, 2**31, 2**32 - 1])
        )
    struct.pack_into(order + "HHII", changed, entry, code, kind, count, value)
    return bytes(changed)


def _other_chunk(content, random):
    """A chunk is left out, doubled, moved to the front, or changed with a right checksum."""
    chunks, position = [], 8
    while position + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, position)
        chunks.append(
            (content[position + 4 : position + 8], content[position + 8 : position + 8 + length])
        )
        position += 12 + length
    if not chunks:
        return content
    index = int(random.integers(len(chunks)))
    name, data = chunks[index]
    way = random.integers(4)
    if way == 0:
        del chunks[index]
    elif way == 1:
        chunks.insert(index, chunks[index])
    elif way == 2:
        chunks.insert(0, chunks.pop(index))
    elif data:
        chunks[index] = (name, _flipped(data, random))
    stored = [
        struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks
    ]
    return content[:8] + b"".join(stored)


def _other_segment(content, random):
    """A segment of a JPEG file is left out, doubled, or gets other bytes."""
    segments, position = [], 2
    while position + 4 <= len(content) and content[position] == 0xFF:
        (length,) = struct.unpack_from(">H", content, position + 2)
        segments.append(content[position : position + 2 + length])
        position += 2 + length
        if segments[-1][1] == 0xDA:
            break
    if not segments:
        return content
    rest, index = content[position:], int(random.integers(len(segments)))
    way = random.integers(3)
    if way == 0:
        del segments[index]
    elif way == 1:
        segments.insert(index, segments[index])
    elif len(segments[index]) > 4:
        segments[index] = segments[index][:4] + _flipped(segments[index][4:], random)
    return content[:2] + b"".join(segments) + rest
