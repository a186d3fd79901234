"""Numbers printed by Prost et al. (2021): noise levels, tables and the constants of figures."""

from __future__ import annotations

from locreg.degradation.noise import NoiseRange

# Table 1: PSNR in dB, by the noise that the critic was trained on (rows) and by the noise level of
# the image (columns).
TRAINING_NOISE = tuple(
    NoiseRange(low=low, high=high)
    for low, high in ((0.05, 0.05), (0.1, 0.1), (0.2, 0.2), (0.4, 0.4), (0.05, 0.3))
)

TABLE1_SIGMAS = (0.05, 0.1, 0.2, 0.3, 0.4)

TABLE1 = (
    (33.24, 28.94, 24.21, 21.25, 18.91),
    (33.20, 28.82, 24.17, 21.25, 19.13),
    (32.42, 28.23, 23.80, 21.03, 18.96),
    (33.01, 28.23, 23.84, 21.03, 18.96),
    (32.92, 28.90, 24.91, 22.58, 20.84),
)

TABLE1_IMAGES = 11

# Table 2: PSNR in dB and LPIPS on the 68 colour images of BSD68, by noise level.
TABLE2_SIGMAS = (0.1, 0.2, 0.4)

TABLE2_PSNR = {
    "ALR": (28.85, 24.88, 21.58),
    "EPLL": (28.77, 24.92, 19.75),
    "BM3D": (28.26, 24.69, 20.25),
}

TABLE2_LPIPS = {
    "ALR": (0.29, 0.44, 0.57),
    "EPLL": (0.28, 0.42, 0.61),
    "BM3D": (0.30, 0.43, 0.58),
}

# Figures 2 and 3 show the critic that was trained at this noise level.
FIGURE_NOISE = TRAINING_NOISE[1]

# Noise levels of the patches of figure 3.
FIGURE3_SIGMAS = (0.0, 0.05, 0.1, 0.15)
FIGURE4_SIGMA = 0.1
FIGURE5_SIGMA = 0.03
FIGURE5_KERNEL = "gaussian:7:3"
