"""Denoise a colour photograph by bm3d, as its authors do; `speed.py` measures this as a command.

python benchmarks/denoise_by_bm3d.py INPUT OUTPUT SIGMA
"""

import sys

import numpy as np
from bm3d import bm3d_rgb
from PIL import Image

source, target, sigma = sys.argv[1:]
pixels = np.asarray(Image.open(source).convert("RGB")) / 255
result = bm3d_rgb(pixels, float(sigma))
Image.fromarray(np.rint(255 * result.clip(0, 1)).astype(np.uint8)).save(target)
