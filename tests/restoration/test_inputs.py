"""Arrays and tensors as people have them: the same result, or a sentence that says what to give."""

import numpy as np
import pytest
import torch

from conftest import conditioned_critic, random_image
from locreg.errors import LocregError, UsageError
from locreg.regularizer.denoising_energy import load_energy
from locreg.regularizer.local_regularizer import LocalRegularizer
from locreg.restoration.denoise import denoise
from locreg.restoration.options import RestoreOptions
from locreg.restoration.restore import restore
from locreg.restoration.tasks import upscale

OPTIONS = RestoreOptions(sigma=0.1, steps=1)


@pytest.fixture(scope="module")
def regularizer():
    return LocalRegularizer(conditioned_critic(channels=3).float())


@pytest.mark.parametrize(
    "given",
    [
        lambda y: y.numpy(),
        lambda y: y.numpy().astype(">f4"),
        lambda y: y.numpy()[..., ::-1].copy()[..., ::-1],
        lambda y: y.clone().requires_grad_(),
        lambda y: y.to(torch.float16),
        lambda y: y.to(torch.bfloat16),
        lambda y: np.float16(y.numpy()),
        lambda y: y.numpy().astype(np.float64),
    ],
)
def test_every_array_of_floats_is_restored_alike(regularizer, given):
    y = random_image(1, 3, 20, 24)
    expected = restore(y, regularizer, options=OPTIONS).image
    found = restore(given(y), regularizer, options=OPTIONS).image
    assert (found.dtype, found.requires_grad) == (torch.float32, False)
    torch.testing.assert_close(found, expected, atol=2e-2, rtol=0)


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (
            np.zeros((1, 3, 20, 24), np.uint8),
            "uint8: give floats, where 1 is white, such as y / 255",
        ),
        (torch.zeros(1, 3, 20, 24, dtype=torch.uint8), "such as y / 255"),
        (np.zeros((1, 3, 20, 24), np.uint16), "such as y / 65535"),
        (torch.zeros(1, 3, 20, 24, dtype=torch.int64), "int64: give floats"),
        (np.zeros((1, 3, 20, 24), complex), "complex128: give floats"),
        ([[0.5]], "must be a tensor or a numpy array, got list"),
    ],
)
def test_what_does_not_hold_floats_is_refused(regularizer, y, words):
    with pytest.raises(UsageError, match=words):
        restore(y, regularizer, options=OPTIONS)


@pytest.mark.parametrize("shape", [(20, 24), (20, 24, 3), (3, 20, 24), (1, 20, 24, 3)])
@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_the_sentence_about_a_shape_gives_the_right_one(regularizer, shape, kind):
    y = kind(np.full(shape, 0.5, np.float32))
    for task in (restore, upscale):
        with pytest.raises(LocregError, match=r"must have the shape \(B, C, H, W\)") as caught:
            task(y, regularizer, options=OPTIONS)
    way = str(caught.value).split("such as ")[1].rstrip(".")
    right = eval(way, {"y": y})  # the sentence is ours
    assert right.ndim == 4
    assert right.shape[-2:] == (20, 24)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, ">f4"])
def test_an_energy_without_pytorch_takes_every_array_of_floats(kind):
    y = random_image(1, 3, 20, 24).numpy()
    options = RestoreOptions(sigma=0.1)
    expected = denoise(y.astype(np.float32), load_energy("denoise-rgb"), options).image
    found = denoise(y.astype(kind), load_energy("denoise-rgb"), options)
    np.testing.assert_allclose(found.image, expected, rtol=0, atol=2e-3)
    assert found.solution.steps == 1


def test_images_without_pixels_are_refused():
    with pytest.raises(LocregError, match="no pixels"):
        denoise(np.zeros((1, 3, 0, 5), np.float32), load_energy("denoise-rgb"))
