"""Files with one thing to be kept, as other libraries write and read them."""

import struct
import zlib

import numpy as np
import pyvips
import tifffile
from PIL import Image, ImageCms, IptcImagePlugin, PngImagePlugin
from PIL.TiffImagePlugin import ImageFileDirectory_v2

SHAPE = (16, 20)
CAMERA, TIME, LENS, NORTH, DESCRIPTION = "A camera", "2020:02:03 04:05:06", "A lens", "N", "A scene"
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<?xpacket begin=""?><x:xmpmeta xmlns:x="adobe:ns:meta/"></x:xmpmeta><?xpacket end="w"?>'
TITLE = b"A title"
IPTC = b"\x1c\x02\x05" + struct.pack(">H", len(TITLE)) + TITLE
DPI = 300
FORMATS = {".tif": "TIFF", ".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP"}


def photograph():
    return np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), np.uint8)


def _photographed(path):
    """With EXIF: camera, date, lens and place."""
    if path.suffix != ".tif":
        _with_pillow(path, exif=_exif())
        return
    directory = ImageFileDirectory_v2()
    directory[0x010F], directory[0x0132] = CAMERA, TIME
    directory[0x8769], directory[0x8825] = {0xA434: LENS}, {1: NORTH}
    directory.tagtype[0x8769] = directory.tagtype[0x8825] = 4
    _with_pillow(path, tiffinfo=directory)


def _exif():
    exif = Image.Exif()
    exif[0x010F] = CAMERA
    exif[0x0132] = TIME
    exif.get_ifd(0x8769)[0xA434] = LENS
    exif.get_ifd(0x8825)[0x0001] = NORTH
    return exif


def _oriented():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def _described():
    exif = Image.Exif()
    exif[0x010E] = DESCRIPTION
    return exif


def _with_pillow(path, **options):
    Image.fromarray(photograph()).save(path, FORMATS[path.suffix], **options)


def _png_with_text(path):
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", CAMERA)
    _with_pillow(path, pnginfo=info)


def _png_with_gamma(path):
    _with_pillow(path)
    content = path.read_bytes()
    chunk = b"gAMA" + struct.pack(">I", 100_000)
    stored = struct.pack(">I", 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path.write_bytes(content[:33] + stored + content[33:])


def _xmp(path):
    if path.suffix == ".png":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", XMP.decode())
        _with_pillow(path, pnginfo=info)
    elif path.suffix == ".tif":
        _tiff(path, extratags=[(700, 1, len(XMP), XMP, True)])
    else:
        _with_pillow(path, xmp=XMP)


def _iptc(path):
    if path.suffix == ".tif":
        _tiff(path, extratags=[(33723, 7, len(IPTC), IPTC, True)])
        return
    _with_pillow(path)
    block = struct.pack(">4sHHI", b"8BIM", 0x0404, 0, len(IPTC)) + IPTC + b"\0" * (len(IPTC) % 2)
    segment = b"Photoshop 3.0\0" + block
    content = path.read_bytes()
    header = b"\xff\xed" + struct.pack(">H", len(segment) + 2)
    path.write_bytes(content[:2] + header + segment + content[2:])


def _tiff(path, **options):
    tifffile.imwrite(path, photograph(), photometric="rgb", **options)


#: How other libraries write the metadata.
MAKE = {
    "colour profile": lambda path: _with_pillow(path, icc_profile=ICC),
    "camera, date": _photographed,
    "lens, exposure": _photographed,
    "place": _photographed,
    "orientation": lambda path: _with_pillow(path, exif=_oriented()),
    "description": lambda path: _with_pillow(path, exif=_described()),
    "XMP": _xmp,
    "IPTC": _iptc,
    "resolution": lambda path: _with_pillow(path, dpi=(DPI, DPI)),
    "no resolution": lambda path: _with_pillow(path),
    "no resolution, but EXIF": _photographed,
    "resolution without unit": lambda path: _tiff(path, resolution=(3, 2), resolutionunit=1),
    "private tags": lambda path: _tiff(path, extratags=[(65000, 2, 5, "abcd", True)]),
    "text": _png_with_text,
    "gamma": _png_with_gamma,
    "comment": lambda path: _with_pillow(path, comment=b"A comment"),
}


def _exif_of(path, part=None):
    with Image.open(path) as image:
        exif = image.getexif()
        return dict(exif if part is None else exif.get_ifd(part))


def _tags_of(path):
    """The values of the tags of a TIFF file; none for other formats."""
    if path.suffix != ".tif":
        return {}
    with tifffile.TiffFile(path) as file:
        return {tag.code: tag.value for tag in file.pages[0].tags}


def _camera_of(path):
    exif = _exif_of(path)
    return exif.get(0x010F), exif.get(0x0132)


def _comment_of(path):
    """That of JPEG, or a text of PNG."""
    return _info(path, "comment") or (_info(path, "Comment") or "").encode()


def _iptc_of(path):
    with Image.open(path) as image:
        return (IptcImagePlugin.getiptcinfo(image) or {}).get((2, 5))


def _xmp_of(path):
    with Image.open(path) as image:
        found = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
        return found.encode() if isinstance(found, str) else found


def _info(path, key):
    with Image.open(path) as image:
        return image.info.get(key)


def _resolution_of(path):
    """Pixels per inch; None if the file gives none, or a mere ratio."""
    if path.suffix == ".tif":
        tags = _tags_of(path)
        numerator, denominator = tags.get(282, (0, 1))
        found, unit = numerator / denominator, tags.get(296, 2)
    elif path.suffix == ".png" and (dpi := _info(path, "dpi")):
        found, unit = dpi[0], 2
    elif _info(path, "jfif_unit"):
        found, unit = _info(path, "jfif_density")[0], _info(path, "jfif_unit") + 1
    else:
        exif = _exif_of(path)
        found, unit = float(exif.get(282, 0)), exif.get(296, 2)
    return round(found * {1: 0, 2: 1, 3: 2.54}[unit]) or None


def _has_ratio(path):
    tags = _tags_of(path)
    (a, b), (c, d) = (tags.get(code, (0, 1)) for code in (282, 283))
    return (a / b, c / d, tags.get(296)) == (3, 2, 1)


#: Whether other libraries find the metadata.
FOUND = {
    "colour profile": lambda path: _info(path, "icc_profile") == ICC,
    "camera, date": lambda path: _camera_of(path) == (CAMERA, TIME),
    "lens, exposure": lambda path: _exif_of(path, 0x8769).get(0xA434) == LENS,
    "place": lambda path: _exif_of(path, 0x8825).get(1) == NORTH,
    "orientation": lambda path: _exif_of(path).get(0x0112) == 6,
    "description": lambda path: _exif_of(path).get(0x010E) == DESCRIPTION,
    "XMP": lambda path: b"xmpmeta" in _xmp_of(path),
    "IPTC": lambda path: _iptc_of(path) == TITLE,
    "resolution": lambda path: _resolution_of(path) == DPI,
    "no resolution": lambda path: _resolution_of(path) is None,
    "no resolution, but EXIF": lambda path: _resolution_of(path) is None,
    "resolution without unit": _has_ratio,
    "private tags": lambda path: _tags_of(path).get(65000) == "abcd",
    "text": lambda path: _info(path, "Author") == CAMERA,
    "gamma": lambda path: _info(path, "gamma") == 1.0,
    "comment": lambda path: _comment_of(path) == b"A comment",
}


def _values(*shape, kind):
    random = np.random.default_rng(1)
    if np.dtype(kind).kind == "f":
        return random.random(shape).astype(kind)
    if kind == "bool":
        return random.random(shape) < 0.5
    if np.dtype(kind).kind == "c":
        return random.random(shape).astype(kind)
    limits = np.iinfo(kind)
    return random.integers(limits.min, limits.max, shape, kind, endpoint=True)


def _samples(kind, photometric, channels=1, extra=None, **options):
    shape = (*SHAPE, channels) if channels > 1 else SHAPE
    if options.get("planarconfig") == "separate":
        shape = (channels, *SHAPE)

    def make(path):
        values = _values(*shape, kind=kind)
        names = {"photometric": photometric, "extrasamples": extra}
        tifffile.imwrite(path, values, **{k: v for k, v in names.items() if v}, **options)

    return make


def _picture(mode, kind="uint8"):
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4, "I;16": 1}.get(mode, 3)

    def make(path):
        values = _values(*SHAPE, channels, kind=kind)
        image = Image.fromarray(values[..., 0] if channels == 1 else values)
        if mode in ("P", "1"):
            image = image.convert(mode)
        if mode == "CMYK":
            image = Image.fromarray(values, "CMYK")
        options = {"lossless": True} if path.suffix == ".webp" else {}
        image.save(path, FORMATS.get(path.suffix, "GIF"), **options)

    return make


def _deep_png(channels):
    def make(path):
        kind = "grey16" if channels < 3 else "rgb16"
        values = _values(*SHAPE, channels, kind="uint16")
        pyvips.Image.new_from_array(values).copy(interpretation=kind).write_to_file(str(path))

    return make


def _frames(path):
    frames = [Image.fromarray(photograph() + k) for k in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


#: How other libraries write samples, by suffix.
SAMPLES = {
    "8 bits, grey": {
        ".tif": _samples("uint8", "minisblack"),
        ".png": _picture("L"),
        ".jpg": _picture("L"),
    },
    "8 bits, RGB": {
        ".tif": _samples("uint8", "rgb", 3),
        ".png": _picture("RGB"),
        ".jpg": _picture("RGB"),
        ".webp": _picture("RGB"),
    },
    "8 bits, alpha": {
        ".tif": _samples("uint8", "rgb", 4, ["unassalpha"]),
        ".png": _picture("RGBA"),
        ".webp": _picture("RGBA"),
    },
    "8 bits, grey with alpha": {
        ".tif": _samples("uint8", "minisblack", 2, ["unassalpha"]),
        ".png": _picture("LA"),
    },
    "16 bits, grey": {
        ".tif": _samples("uint16", "minisblack"),
        ".png": _picture("I;16", "uint16"),
    },
    "16 bits, RGB": {".tif": _samples("uint16", "rgb", 3), ".png": _deep_png(3)},
    "16 bits, alpha": {
        ".tif": _samples("uint16", "rgb", 4, ["unassalpha"]),
        ".png": _deep_png(4),
    },
    "float32": {".tif": _samples("float32", "rgb", 3)},
    "float16": {".tif": _samples("float16", "minisblack")},
    "float64": {".tif": _samples("float64", "minisblack")},
    "2 measured channels": {".tif": _samples("uint16", "minisblack", 2, ["unspecified"])},
    "5 measured channels": {".tif": _samples("uint16", "minisblack", 5, ["unspecified"] * 4)},
    "planes one after the other": {".tif": _samples("uint8", "rgb", 3, planarconfig="separate")},
    "inverted grey": {".tif": _samples("uint8", "miniswhite")},
    "palette": {".png": _picture("P"), ".tif": _picture("P"), ".gif": _picture("P")},
    "1 bit": {".tif": _samples("bool", "minisblack"), ".png": _picture("1")},
    "int8": {".tif": _samples("int8", "minisblack")},
    "int16": {".tif": _samples("int16", "minisblack")},
    "uint32": {".tif": _samples("uint32", "minisblack")},
    "int32": {".tif": _samples("int32", "minisblack")},
    "complex": {".tif": _samples("complex64", "minisblack")},
    "CMYK": {".tif": _samples("uint8", "separated", 4), ".jpg": _picture("CMYK")},
    "Lab": {".tif": _samples("uint8", "cielab", 3)},
    "inverted floats": {".tif": _samples("float32", "miniswhite")},
    "several frames": {".png": _frames, ".webp": _frames, ".gif": _frames, ".tif": _frames},
}


def decoded(path):
    """What another library reads, (row, column, channel)."""
    if path.suffix == ".tif":
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            values = page.asarray()
            if page.axes.startswith("S"):
                values = np.moveaxis(values, 0, -1)
            if page.photometric == 3:  # a palette of 8 bits, times 256
                values = np.asarray(page.asrgb() >> 8, np.uint8)
        return np.atleast_3d(values)
    if path.suffix == ".png":
        return np.atleast_3d(pyvips.Image.new_from_buffer(path.read_bytes(), "").numpy())
    with Image.open(path) as image:
        if image.mode in ("P", "1"):
            image = image.convert("RGB")
        return np.atleast_3d(np.asarray(image))
