"""Make the pictures of the documentation: python examples/make_pictures.py

The photograph is scikit-image's Chelsea (CC0, Stefan van der Walt).
"""

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyvips
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from skimage.data import chelsea

import locreg
from locreg.degradation.camera_noise import add_camera_noise, draw_camera
from locreg.images.image_file import read_image, write_image
from locreg.images.metrics import psnr

ROOT = Path(__file__).parents[1]
# A high sensitivity, and the usual smoothing in the camera.
CAMERA = {
    "shot": 0.01,
    "read": 2e-5,
    "luma_blur": 0.6,
    "chroma_blur": 1.0,
    "scale": 1.0,
    "quality": None,
}
JPEG_LEVEL = 0.084  # noise level that benchmarks/unknown.py learned from two folders


def main() -> None:
    """Make all pictures."""
    before_and_after()
    jpeg()
    text_removal = runpy.run_path(str(ROOT / "examples" / "plot_c_text_removal.py"))
    text_removal["figure"].savefig(ROOT / "docs" / "text_removal.png", dpi=110)


def before_and_after() -> None:
    """Take a photograph with a simulated camera, restore the file as a user would, draw both."""
    clean = chelsea().transpose(2, 0, 1).astype(np.float32) / 255
    random = np.random.default_rng(0)
    y = add_camera_noise(torch.from_numpy(clean), replace(draw_camera(random), **CAMERA), random)
    file = ROOT / "examples" / "noisy.jpg"
    write_image(file, y.numpy())
    noisy = torch.from_numpy(read_image(file).pixels)[None]

    noise = locreg.measure_noise(noisy)
    options = locreg.RestoreOptions(noise=noise.kind, sigma=noise.level)
    restoration = locreg.restore(noisy, locreg.load("denoise-rgb"), options=options)
    name = f"restored ({noise.kind} noise of level {noise.level:.3f} found)"
    draw("before_after.png", clean, {"photograph": noisy, name: restoration.image})


def jpeg() -> None:
    """Draw a photograph after JPEG compression, and the same smoothed as in docs/results.md."""
    samples = chelsea()[40:240, 90:370]
    file = pyvips.Image.new_from_array(samples).copy(interpretation="srgb").jpegsave_buffer(Q=10)
    damaged = pyvips.Image.new_from_buffer(file, "").numpy().transpose(2, 0, 1)
    y = torch.from_numpy(damaged.astype(np.float32) / 255)[None]
    restoration = locreg.restore(
        y, locreg.load("denoise-rgb"), options=locreg.RestoreOptions(sigma=JPEG_LEVEL)
    )
    clean = samples.transpose(2, 0, 1).astype(np.float32) / 255
    draw("jpeg.png", clean, {"JPEG of quality 10": y, "restored": restoration.image})


def draw(file: str, clean: NDArray[np.float32], images: dict[str, torch.Tensor]) -> None:
    """Draw two images side by side, with their PSNR."""
    reference = torch.from_numpy(clean)[None]
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    for axis, (name, image) in zip(figure.subplots(1, 2), images.items(), strict=True):
        axis.imshow(image[0].permute(1, 2, 0).clamp(0, 1))
        axis.set_title(f"{name}, {psnr(image, reference).item():.1f} dB", fontsize=10)
        axis.set_axis_off()
    figure.savefig(ROOT / "docs" / file, dpi=110)


if __name__ == "__main__":
    main()
