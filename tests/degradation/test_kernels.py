"""Blur kernels: moments of the named ones, files, and what is refused."""

import numpy as np
import pytest

from locreg.degradation.kernels import antialiasing_kernel, check_kernel, read_kernel
from locreg.errors import LocregError, UsageError
from locreg.images.image_file import write_image


def test_a_named_gaussian_has_its_moments():
    kernel = read_kernel("gaussian:41:3")
    position = np.arange(41) - 20
    assert kernel.sum() == pytest.approx(1, abs=1e-6)
    assert (kernel.sum(0) * position).sum() == pytest.approx(0, abs=1e-5)
    assert (kernel.sum(1) * position**2).sum() == pytest.approx(9, rel=1e-4)


def test_a_named_uniform_kernel_is_a_mean():
    np.testing.assert_array_equal(read_kernel("uniform:9"), np.full((9, 9), 1 / 81, np.float32))


def test_a_matrix_and_a_picture_of_it_are_the_same_kernel(tmp_path):
    kernel = np.arange(15, dtype=np.float64).reshape(3, 5) * 17
    np.save(tmp_path / "k.npy", kernel / kernel.sum())
    write_image(tmp_path / "k.png", kernel[None].astype(np.float32) / 255)
    matrix = read_kernel(str(tmp_path / "k.npy"))
    picture = read_kernel(str(tmp_path / "k.png"), normalize=True)
    np.testing.assert_allclose(matrix, kernel / kernel.sum(), rtol=1e-6)
    np.testing.assert_allclose(picture, matrix, rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("gaussian", "gaussian:SIZE:STD"),
        ("gaussian:7", "gaussian:SIZE:STD"),
        ("gaussian:seven:3", "gaussian:SIZE:STD"),
        ("gaussian:7:3:1", "gaussian:SIZE:STD"),
        ("gaussian:8:3", "odd"),
        ("gaussian:7:0", "positive"),
        ("uniform:-3", "odd and positive"),
    ],
)
def test_a_wrong_name_is_wrong_usage(text, says):
    with pytest.raises(UsageError, match=says):
        read_kernel(text)


def test_a_missing_file_is_named_with_what_is_possible():
    with pytest.raises(LocregError, match=r"nothing\.npy is neither a file nor a kernel"):
        read_kernel("nothing.npy")


@pytest.mark.parametrize(
    ("matrix", "says"),
    [
        (np.full((4, 5), 1 / 20), "5x4 pixels, and an even side"),
        (np.full((3, 3), 0.1), "sums to 0.9, not to 1"),
        (np.full((3, 3), np.nan), "NaN"),
        (np.zeros((3, 3)), "sums to 0"),
        (np.full((3, 3, 3), 1 / 27), "must be a matrix"),
        (np.full((3, 3), 1j / 9), "real numbers"),
        (np.array([["a"]]), "real numbers"),
    ],
)
@pytest.mark.parametrize("normalize", [False, True])
def test_a_matrix_that_is_no_kernel_is_refused(tmp_path, matrix, says, normalize):
    np.save(tmp_path / "k.npy", matrix)
    if normalize and "0.9" in says:
        assert read_kernel(str(tmp_path / "k.npy"), normalize=True).sum() == pytest.approx(1)
        return
    with pytest.raises(LocregError, match=says):
        read_kernel(str(tmp_path / "k.npy"), normalize=normalize)


def test_a_pickle_is_not_loaded(tmp_path):
    np.save(tmp_path / "k.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(LocregError, match=r"k\.npy is not a complete \.npy file"):
        read_kernel(str(tmp_path / "k.npy"))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no archive"])
def test_a_file_that_is_no_array_is_refused(tmp_path, content):
    (tmp_path / "k.npy").write_bytes(content)
    with pytest.raises(LocregError, match=r"k\.npy is not a complete \.npy file"):
        read_kernel(str(tmp_path / "k.npy"))


def test_the_brightness_of_an_image_is_kept():
    check_kernel(read_kernel("gaussian:7:3"))
    with pytest.raises(LocregError, match="brightness"):
        check_kernel(np.ones((3, 3), np.float32))


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_an_antialiasing_kernel_is_centred_on_the_block(factor):
    kernel = antialiasing_kernel(factor, 0.5)
    position = np.arange(len(kernel)) - len(kernel) // 2
    assert kernel.sum() == pytest.approx(1, abs=1e-6)
    centre = (kernel.sum(0) * position).sum()
    assert centre == pytest.approx(-(factor - 1) / 2, abs=0.01)
    variance = (kernel.sum(1) * (position - centre) ** 2).sum()
    assert variance == pytest.approx((0.5 * factor) ** 2, rel=0.02)


@pytest.mark.parametrize("std", [0.05, 1.5])
def test_an_antialiasing_of_impossible_width_is_refused(std):
    with pytest.raises(UsageError, match=r"antialiasing must be from 0\.1 to 1"):
        antialiasing_kernel(2, std)
