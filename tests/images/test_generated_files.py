"""Files at random: each comes back as another library decodes it, or is refused in a sentence.

LOCREG_FILES=20000 python -m pytest tests/images/test_generated_files.py -s
"""

import collections
import contextlib
import io
import os
import time
import warnings

import numpy as np
import pyvips
import tifffile
from generated_files import damaged, whole_file
from PIL import Image

from locreg.errors import LocregError
from locreg.images.image_file import read_image, write_image

FILES = int(os.environ.get("LOCREG_FILES", "400"))
LONGEST = 10.0  # seconds


def by_another_library(suffix, content):
    """What Pillow or libvips decodes; None if none of them can, or does so in its own way."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for decode in (_by_pillow, _by_libvips) if suffix == ".tif" else (_by_pillow,):
            with contextlib.suppress(Exception):  # of any kind, since the file is damaged
                return decode(content)
    return None


def _by_pillow(content):
    with Image.open(io.BytesIO(content)) as image:
        if image.format == "TIFF":
            _refuse_own_ways(content)
        if image.mode in ("P", "1", "PA"):
            image = image.convert("RGBA" if "transparency" in image.info else "RGB")
        return np.atleast_3d(np.asarray(image))


def _by_libvips(content):
    planes = _refuse_own_ways(content)
    image = pyvips.Image.new_from_buffer(content, "", fail_on="warning")
    if planes or image.interpretation in ("cmyk", "lab", "labs") or image.format in ("int", "uint"):
        raise ValueError
    return np.atleast_3d(image.numpy())


def _refuse_own_ways(content):
    """Other libraries divide by associated alpha, and invert a part of several channels.

    Returns whether planes follow each other, which libvips mixes up.
    """
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages[0]
        if 1 in page.extrasamples or (page.photometric == 0 and page.samplesperpixel > 1):
            raise ValueError
        return page.planarconfig == 2


def alike(found, expected):
    """Whether samples are the same, however a library names channels, depth and grey."""
    if expected is None or found.shape[:2] != expected.shape[:2]:
        return None
    if expected.dtype == bool or found.dtype.kind != expected.dtype.kind:
        return None
    if found.shape[2] == 3 and expected.shape[2] == 1:
        expected = np.repeat(expected, 3, axis=2)
    if found.shape != expected.shape:
        return None
    if found.dtype.kind == "f":
        return bool(np.allclose(found, expected.astype(np.float32), rtol=1e-6, atol=1e-6))
    if found.dtype != expected.dtype:
        return None
    difference = np.abs(found.astype(int) - expected.astype(int)).max()
    inverted = np.iinfo(found.dtype).max - expected
    return bool(difference <= 3 or (found == inverted).all())


def test_no_generated_file_comes_out_wrong(tmp_path):
    counts, wrong = collections.Counter(), []
    for number in range(FILES):
        random = np.random.default_rng([7, number])
        suffix, content = whole_file(random)
        if number % 4:
            content = damaged(suffix, content, random)
        source = tmp_path / f"in{suffix}"
        source.write_bytes(content)
        begin = time.monotonic()
        try:
            image = read_image(source)
            target = tmp_path / "out.tif"
            write_image(target, image.pixels, image)
        except LocregError as error:
            counts["refused"] += 1
            if str(source) not in str(error) or "\n" in str(error):
                wrong.append((number, f"an unclear error: {error}"))
            continue
        except Exception as error:
            wrong.append((number, f"{type(error).__name__}: {error}"))
            continue
        finally:
            if time.monotonic() - begin > LONGEST:
                wrong.append((number, "too slow"))
        found = tifffile.imread(target)
        same = alike(np.atleast_3d(found), by_another_library(suffix, content))
        counts["the same" if same else "not compared" if same is None else "different"] += 1
        if same is False:
            wrong.append((number, f"{suffix}: not what another library decodes"))
    print(f"{FILES} files: {dict(counts)}")
    assert not wrong, wrong[:20]
    assert counts["the same"] > 0.15 * FILES
    assert counts["refused"] > 0.15 * FILES
