"""Files at random: each comes back as another library decodes it, or is refused in a sentence.

LOCREG_FILES=20000 LOCREG_REAL=FOLDER python -m pytest tests/images/test_generated_files.py -s

FOLDER holds small files of people's own making, which are damaged too.
"""

import collections
import contextlib
import io
import os
import signal
import warnings
from pathlib import Path

import numpy as np
import pyvips
import tifffile
from generated_files import SUFFIXES, damaged, whole_file
from PIL import Image, ImageSequence

from locreg.errors import LocregError
from locreg.restoration.file_tasks import denoise_task
from locreg.restoration.options import FileOptions, RestoreOptions
from locreg.restoration.restore_files import restore_files
from locreg.restoration.restore_image_file import LoadedWeights

FILES = int(os.environ.get("LOCREG_FILES", "100"))
LONGEST = 10  # seconds
# Without noise the result is the input. Pages have nothing to do with each other.
NO_CHANGE = FileOptions(restoration=RestoreOptions(sigma=0), pages="independent")


def by_other_libraries(suffix, content):
    """What Pillow and libvips decode, (page, row, column, channel), if not in their own ways."""
    decoded = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for decode in (_by_pillow, _by_libvips) if suffix == ".tif" else (_by_pillow,):
            with contextlib.suppress(Exception):  # of any kind, since the file is damaged
                decoded.append(decode(content))
    return decoded


def _by_pillow(content):
    with Image.open(io.BytesIO(content)) as image:
        if image.format == "TIFF" and _refuse_own_ways(content) and image.mode == "LA":
            raise ValueError
        return np.stack([_values(frame) for frame in ImageSequence.Iterator(image)])


def _values(image):
    if image.mode in ("P", "1", "PA"):
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    return np.atleast_3d(np.asarray(image))


def _by_libvips(content):
    planes = _refuse_own_ways(content)
    image = pyvips.Image.new_from_buffer(content, "", fail_on="warning")
    if planes or image.interpretation in ("cmyk", "lab", "labs") or image.format in ("int", "uint"):
        raise ValueError
    return np.atleast_3d(image.numpy())[None]


def _refuse_own_ways(content):
    """Other libraries divide by associated alpha, invert a part of several channels, and swap no
    bytes of floats that they have decompressed.

    Returns whether planes follow each other, which libvips mixes up; Pillow finds no alpha there.
    """
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages[0]
        floats = page.dtype is not None and page.dtype.kind == "f"
        if floats and file.byteorder == ">" and page.compression != 1:
            raise ValueError
        if 1 in page.extrasamples or (page.photometric == 0 and page.samplesperpixel > 1):
            raise ValueError
        return page.planarconfig == 2


def as_others_decode(target, suffix, content):
    """Whether a result is what another library decodes; None if none can be compared with it."""
    found = written(target)
    answers = [alike(found, decoded, suffix) for decoded in by_other_libraries(suffix, content)]
    known = [answer for answer in answers if answer is not None]
    return any(known) if known else None


def alike(found, expected, suffix):
    """Whether samples are the same, however a library names channels, depth and grey."""
    if found is None or found.shape[:3] != expected.shape[:3]:
        return None
    if expected.dtype == bool or found.dtype.kind != expected.dtype.kind:
        return None
    if suffix != ".tif" and found.shape[3] == 3 and expected.shape[3] == 1:
        expected = np.repeat(expected, 3, axis=3)
    if found.shape != expected.shape:
        return None
    if found.dtype.kind == "f":
        return bool(np.allclose(found, expected.astype(np.float32), rtol=1e-6, atol=1e-6))
    if found.dtype != expected.dtype:
        return None
    difference = np.abs(found.astype(int) - expected.astype(int)).max()
    inverted = np.iinfo(found.dtype).max - expected
    return bool(difference <= 3 or (found == inverted).all())


def written(target):
    """The samples of a result, (page, row, column, channel)."""
    if target.suffix == ".png":
        return _by_pillow(target.read_bytes())
    with tifffile.TiffFile(target) as file:
        pages = [np.atleast_3d(page.asarray()) for page in file.pages]
    if pages[0].shape[0] in range(1, 8) and file.pages[0].planarconfig == 2:
        pages = [np.moveaxis(page, 0, -1) for page in pages]
    same = len({page.shape for page in pages}) == 1
    return np.stack(pages) if same else None


class TooSlowError(BaseException):
    """Not caught as an error of a library."""


@contextlib.contextmanager
def ending_after(seconds):
    """Raise `TooSlowError` if it takes longer."""

    def stop(*_):
        raise TooSlowError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def a_file(number, real):
    """A file, the same for the same number: its suffix and content; three of four are damaged."""
    random = np.random.default_rng([8, number])
    if real and number % 2:
        chosen = real[random.integers(len(real))]
        return chosen.suffix, damaged(chosen.suffix, chosen.read_bytes(), random)
    suffix, content = whole_file(random)
    return suffix, damaged(suffix, content, random) if number % 4 else content


def test_no_generated_file_comes_out_wrong(tmp_path):
    folder = os.environ.get("LOCREG_REAL")
    real = sorted(f for f in Path(folder).iterdir() if f.suffix in SUFFIXES) if folder else []
    counts, wrong = collections.Counter(), []
    weights = LoadedWeights(NO_CHANGE)
    for number in range(FILES):
        suffix, content = a_file(number, real)
        source = tmp_path / f"in{suffix}"
        source.write_bytes(content)
        target = tmp_path / ("out.png" if suffix == ".png" else "out.tif")
        try:
            with ending_after(LONGEST):
                restore_files(source, target, denoise_task(), NO_CHANGE, weights=weights)
        except LocregError as error:
            counts["refused"] += 1
            if str(source) not in str(error) or "\n" in str(error):
                wrong.append((number, f"an unclear error: {error}"))
            if {path.name for path in tmp_path.iterdir()} != {source.name}:
                wrong.append((number, "something was left behind"))
            continue
        except (Exception, TooSlowError) as error:
            wrong.append((number, f"{type(error).__name__}: {error}"))
            continue
        finally:
            source.unlink()
            if number % 1000 == 999:
                print(f"{number + 1} files: {dict(counts)}, {wrong}", flush=True)
        same = as_others_decode(target, suffix, content)
        counts["the same" if same else "not compared" if same is None else "different"] += 1
        target.unlink()
        if same is False:
            wrong.append((number, f"{suffix}: not what another library decodes"))
    print(f"{FILES} files: {dict(counts)}")
    assert not wrong, wrong[:20]
    assert counts["the same"] > 0.15 * FILES
    assert counts["refused"] > 0.15 * FILES
