"""TIFF files of several planes: one noise level a channel, and everything else as it was."""

import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

import locreg
from locreg.errors import LocregError

LEVELS = (0.03, 0.1)  # of two channels
ROWS, COLUMNS = np.mgrid[:64, :72]
SCENE = 0.5 + 0.2 * np.sin(ROWS / 11) * np.cos(COLUMNS / 7)


def hyperstack(times, depth, channels, seed=0):
    """(T, Z, C, H, W), uint16, with noise of the levels of the channels."""
    random = np.random.default_rng(seed)
    noise = random.standard_normal((times, depth, channels, *SCENE.shape))
    noisy = SCENE + np.array(LEVELS)[:channels, None, None] * noise
    return np.rint(noisy.clip(0, 1) * 65535).astype(np.uint16)


def denoised(source, target, **options):
    files = []
    events = locreg.Events(restored=files.append)
    options = locreg.FileOptions(**options)
    locreg.restore_files(source, target, locreg.denoise_task(), options, events)
    return files[0]


def left(stack, axes=(-2, -1)):
    return np.sqrt(np.square(stack / 65535 - SCENE).mean(axes))


def test_a_hyperstack_of_imagej_keeps_its_axes_scale_and_names(tmp_path):
    stack = hyperstack(2, 3, 2)
    metadata = {
        "axes": "TZCYX", "spacing": 0.4, "unit": "um", "finterval": 2.5, "fps": 0.4,
        "Labels": [f"plane {k}" for k in range(12)], "Ranges": (0.0, 65535.0, 0.0, 40000.0),
        "LUTs": [np.stack([np.arange(256), *[np.zeros(256)] * 2]).astype(np.uint8)] * 2,
    }  # fmt: skip
    tifffile.imwrite(
        tmp_path / "a.tif", stack, imagej=True, resolution=(1 / 0.11, 1 / 0.11), metadata=metadata
    )
    file = denoised(tmp_path / "a.tif", tmp_path / "b.tif")
    assert (file.planes, len(file.levels)) == (12, 2)
    assert file.levels == pytest.approx(LEVELS, rel=0.15)
    with tifffile.TiffFile(tmp_path / "a.tif") as a, tifffile.TiffFile(tmp_path / "b.tif") as b:
        assert b.is_imagej
        assert b.series[0].axes == "TZCYX"
        before, after = a.imagej_metadata, b.imagej_metadata
        assert before.keys() == after.keys()
        for key in ("spacing", "unit", "finterval", "Labels", "channels", "slices", "frames"):
            assert after[key] == before[key]
        np.testing.assert_array_equal(after["LUTs"], before["LUTs"])
        assert after["Ranges"] == before["Ranges"]
        for tag in ("XResolution", "YResolution", "ResolutionUnit"):
            assert b.pages[0].tags[tag].value == a.pages[0].tags[tag].value
        result = b.asarray()
    assert result.shape == stack.shape
    assert (left(result) < 0.5 * np.array(LEVELS)).all()


def test_an_ome_tiff_file_keeps_its_xml(tmp_path):
    stack = hyperstack(1, 3, 2)[0].transpose(1, 0, 2, 3)  # C, Z
    metadata = {
        "axes": "CZYX", "PhysicalSizeX": 0.2, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.2,
        "PhysicalSizeYUnit": "µm", "PhysicalSizeZ": 0.5, "Channel": {"Name": ["DAPI", "GFP"]},
    }  # fmt: skip
    tifffile.imwrite(tmp_path / "a.ome.tif", stack, ome=True, metadata=metadata)
    file = denoised(tmp_path / "a.ome.tif", tmp_path / "b.ome.tif")
    assert file.levels == pytest.approx(LEVELS, rel=0.15)
    with (
        tifffile.TiffFile(tmp_path / "a.ome.tif") as a,
        tifffile.TiffFile(tmp_path / "b.ome.tif") as b,
    ):
        assert b.ome_metadata == a.ome_metadata
        assert b.series[0].axes == "CZYX"
        assert (left(b.asarray()).max(1) < 0.5 * np.array(LEVELS)).all()


def test_the_xml_of_ome_says_what_is_written(tmp_path):
    """Samples of 64 bits become float32."""
    stack = hyperstack(1, 2, 1)[0, :, 0] / 65535
    metadata = {"axes": "ZYX", "PhysicalSizeX": 0.2, "PhysicalSizeXUnit": "µm"}
    tifffile.imwrite(tmp_path / "a.ome.tif", stack, ome=True, metadata=metadata)
    restoration = locreg.RestoreOptions(sigma=0)
    denoised(tmp_path / "a.ome.tif", tmp_path / "b.ome.tif", restoration=restoration)
    with tifffile.TiffFile(tmp_path / "b.ome.tif") as file:
        assert 'Type="float"' in file.ome_metadata
        np.testing.assert_allclose(file.asarray(), stack, rtol=1e-6)
        assert file.series[0].dtype == np.float32


def test_an_upscaled_stack_has_smaller_pixels(tmp_path):
    stack = hyperstack(1, 2, 1)[0, :, 0, :20, :24]
    metadata = {"axes": "ZYX", "PhysicalSizeX": 0.2, "PhysicalSizeY": 0.3}
    tifffile.imwrite(tmp_path / "a.ome.tif", stack, ome=True, metadata=metadata)
    tifffile.imwrite(
        tmp_path / "a.tif", stack, imagej=True, resolution=(5, 5), metadata={"axes": "ZYX"}
    )
    for name in ("a.ome.tif", "a.tif"):
        locreg.restore_files(
            tmp_path / name, tmp_path / f"big-{name}", locreg.upscale_task(2),
            locreg.FileOptions(restoration=locreg.RestoreOptions(sigma=0.03, steps=1)),
        )  # fmt: skip
    with tifffile.TiffFile(tmp_path / "big-a.ome.tif") as file:
        assert file.series[0].shape == (2, 40, 48)
        assert 'PhysicalSizeX="0.1"' in file.ome_metadata
        assert 'PhysicalSizeY="0.15"' in file.ome_metadata
    with tifffile.TiffFile(tmp_path / "big-a.tif") as file:
        assert file.series[0].shape == (2, 40, 48)
        assert file.pages[0].tags["XResolution"].value == (10, 1)


def test_plain_pages_need_to_be_told(tmp_path):
    stack = hyperstack(3, 1, 1)[:, 0, 0]
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack", metadata=None)
    with pytest.raises(LocregError, match="does not say what they are: give --axes"):
        denoised(tmp_path / "a.tif", tmp_path / "b.tif")
    with pytest.raises(LocregError, match="axes must be one of ZYX, TYX, CYX"):
        denoised(tmp_path / "a.tif", tmp_path / "b.tif", axes="XYZ")
    assert list(tmp_path.iterdir()) == [tmp_path / "a.tif"]
    assert len(denoised(tmp_path / "a.tif", tmp_path / "b.tif", axes="ZYX").levels) == 1
    assert len(denoised(tmp_path / "a.tif", tmp_path / "c.tif", axes="CYX").levels) == 3
    assert denoised(tmp_path / "a.tif", tmp_path / "d.tif", pages="independent").levels == ()
    for name in "bcd":
        assert (left(tifffile.imread(tmp_path / f"{name}.tif")) < 0.5 * LEVELS[0]).all()
    with pytest.raises(LocregError, match=r"cannot hold several planes: write a \.tif file"):
        denoised(tmp_path / "a.tif", tmp_path / "e.png", axes="ZYX")


def test_pages_of_different_sizes_and_depths_are_scans(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(np.full((60, 70, 3), 90, np.uint8), photometric="rgb")
        file.write(np.full((80, 65), 7000, np.uint16), photometric="minisblack")
    assert denoised(tmp_path / "a.tif", tmp_path / "b.tif", pages="independent").planes == 2
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert [(p.shape, p.dtype.name) for p in file.pages] == [
            ((60, 70, 3), "uint8"), ((80, 65), "uint16")
        ]  # fmt: skip


def test_a_damaged_plane_leaves_nothing_behind(tmp_path):
    stack = hyperstack(3, 1, 1)[:, 0, 0]
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack", compression="zlib")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        start, size = file.pages[2].dataoffsets[0], file.pages[2].databytecounts[0]
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[start + 10 : start + size] = bytes(size - 10)
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(LocregError, match=r"a\.tif, plane 3,? is damaged|a\.tif is damaged"):
        denoised(tmp_path / "a.tif", tmp_path / "b.tif", axes="TYX")
    assert list(tmp_path.iterdir()) == [tmp_path / "a.tif"]


def test_a_lack_of_memory_is_not_called_damage(tmp_path):
    stack = hyperstack(2, 1, 1)[:, 0, 0]
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")

    def scarce(*_, **__):
        raise MemoryError

    task = locreg.FileTask(name="denoise", restore_of=lambda _: scarce)
    options = locreg.FileOptions(axes="TYX")
    with pytest.raises(LocregError, match="does not fit into the memory"):
        locreg.restore_files(tmp_path / "a.tif", tmp_path / "b.tif", task, options)
    assert list(tmp_path.iterdir()) == [tmp_path / "a.tif"]


def test_what_pages_lose_is_said(tmp_path):
    """Pillow writes EXIF into pages; a stack keeps the tags that TIFF has, but no parts of EXIF."""
    directory = ImageFileDirectory_v2()
    directory[0x8769], directory.tagtype[0x8769] = {0xA434: "A lens"}, 4
    directory[0x010F] = "A camera"
    pages = [Image.fromarray((SCENE * 255).astype(np.uint8)) for _ in range(2)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:], tiffinfo=directory)
    messages = []
    restoration = locreg.RestoreOptions(sigma=0)
    options = locreg.FileOptions(pages="independent", restoration=restoration)
    events = locreg.Events(message=messages.append)
    target = tmp_path / "b.tif"
    locreg.restore_files(tmp_path / "a.tif", target, locreg.denoise_task(), options, events)
    assert [m for m in messages if "stacks cannot keep lens" in m]
    with tifffile.TiffFile(target) as file:
        assert file.pages[0].tags[0x010F].value == "A camera"


def test_measured_channels_within_a_plane_have_a_level_each(tmp_path):
    stack = hyperstack(3, 1, 2)[:, 0].transpose(0, 2, 3, 1)
    options = {"photometric": "minisblack", "extrasamples": ["unspecified"], "metadata": None}
    tifffile.imwrite(tmp_path / "a.tif", stack, planarconfig="contig", **options)
    file = denoised(tmp_path / "a.tif", tmp_path / "b.tif", axes="TYX")
    assert file.levels == pytest.approx(LEVELS, rel=0.15)
    result = np.moveaxis(tifffile.imread(tmp_path / "b.tif"), -1, 1)
    assert (left(result) < 0.5 * np.array(LEVELS)).all()
