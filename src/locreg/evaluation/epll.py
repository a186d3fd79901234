"""EPLL: denoise by a Gaussian mixture model of patches, and fit this model."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from locreg.errors import LocregError
from locreg.images.patches import PatchPool
from locreg.regularizer.tensor_file import read_tensors, write_tensors

_LEAST_VARIANCE = 1e-6  # variance added to every direction: a quarter of an 8-bit step, squared
_CHUNK = 20_000  # number of patches to process at once
_CACHED = 1024  # number of patches to process at once where the results should fit the cache

# Directions whose variance is below this share of the noise variance count as pure noise.
_FLAT = 0.05


@dataclass(frozen=True)
class Mixture:
    """A mixture of zero-mean Gaussians of patches (C, side, side), flattened to vectors.

    Attributes:
        shares: shares of the components (K,), which sum to 1.
        covariances: covariances of the components (K, D, D), with D = C side^2.
        channels: number of channels, C.
        record: how it was fitted.
    """

    shares: Tensor
    covariances: Tensor
    channels: int
    record: dict[str, Any]

    @property
    def side(self) -> int:
        """Side of a patch, in pixels."""
        return math.isqrt(self.covariances.shape[-1] // self.channels)


def fit_mixture(
    pool: PatchPool,
    *,
    components: int = 200,
    patches: int = 200_000,
    iterations: int = 40,
    seed: int = 0,
    progress: bool = True,
) -> Mixture:
    """Fit a mixture to random patches by expectation maximisation.

    The components have mean zero, so brightness is one of their directions. They start as the
    covariances of similar patches. Covariances are in double precision, because the variance of
    brightness is about 1e7 times that of the finest details.

    Args:
        pool: source of the patches.
        components: number of components, K.
        patches: number of patches to draw; every iteration uses all of them.
        iterations: number of iterations of expectation maximisation.
        seed: seed of the first assignment of patches to components.
        progress: whether to show a progress bar.
    """
    z = _draw(pool, patches)
    shares, covariances = _first_mixture(z, components, seed)
    likelihood = -math.inf
    steps = tqdm(range(iterations), desc="fitting a mixture", disable=not progress)
    for _ in steps:
        log_factor = _log_factor(shares, covariances).float()
        whitening = torch.linalg.inv(torch.linalg.cholesky(covariances)).float()
        mass, moments, total = torch.zeros_like(shares), torch.zeros_like(covariances), 0.0
        for chunk in torch.split(z, _CHUNK):
            log_joint = log_factor - 0.5 * _squared_lengths(chunk, whitening)
            log_evidence = log_joint.logsumexp(1, keepdim=True)
            total += float(log_evidence.sum(dtype=torch.float64))
            weights = (log_joint - log_evidence).exp()
            mass += weights.sum(0)
            for k, weight in enumerate(weights.T):
                near = weight > 1e-4  # most patches belong to a few components
                own = chunk[near].double()
                moments[k] += (own * weight[near, None]).T @ own
        shares = mass.clamp_min(1.0) / mass.clamp_min(1.0).sum()
        covariances = _regularized(moments / mass.clamp_min(1.0)[:, None, None])
        likelihood = total / len(z)
        steps.set_postfix(log_likelihood=f"{likelihood:.3f}")
    record = {
        "components": components,
        "patches": len(z),
        "iterations": iterations,
        "seed": seed,
        "log_likelihood": likelihood,
    }
    return Mixture(shares.float(), covariances.float(), pool.channels, record)


def save_mixture(mixture: Mixture, path: Path) -> None:
    """Write a mixture and its record to a safetensors file.

    Raises:
        LocregError: when the file cannot be written.
    """
    header = {"mixture": mixture.record, "channels": mixture.channels}
    tensors = {"shares": mixture.shares, "covariances": mixture.covariances}
    write_tensors(path, header, tensors)


def load_mixture(path: Path) -> Mixture:
    """Read a mixture.

    Raises:
        LocregError: when the file cannot be read or holds no mixture.
    """
    header, tensors = read_tensors(path)
    if "mixture" not in header:
        raise LocregError(
            f"{path} holds no mixture of patches for EPLL: fit one with locreg fit-epll."
        )
    shares, covariances = tensors["shares"], tensors["covariances"]
    return Mixture(shares, covariances, header["channels"], header["mixture"])


@torch.no_grad()
def epll(y: Tensor, sigma: float, mixture: Mixture) -> Tensor:
    """EPLL denoising of images (B, C, H, W) with white noise of standard deviation sigma above 0.

    Zoran, Weiss, *From learning models of natural image patches to whole image restoration*, 2011:
    half-quadratic splitting in five rounds of rising beta, (1, 4, 8, 16, 32) / sigma^2. Each round
    estimates every patch z by its most likely component, as C (C + I / beta)^-1 z, averages the
    estimates where patches overlap, and takes a weighted mean of this average and y.

    The steps are those of deepinv's EPLL, but in double precision: in single precision its inverse
    matrices lose several dB on colour patches. A mixture of grey patches restores the channels of a
    colour image one by one.
    """
    channels, side = mixture.channels, mixture.side
    shape, y = y.shape, y.reshape(-1, channels, *y.shape[-2:])
    values, vectors = torch.linalg.eigh(mixture.covariances.double())
    x = y
    for beta in (1.0, 4.0, 8.0, 16.0, 32.0):
        noise = sigma**2 / beta
        components = _components(mixture.shares, values, vectors, noise)
        patches = F.unfold(x, side).transpose(1, 2).contiguous()
        estimates = torch.stack([_estimate(z, components) for z in patches]).transpose(1, 2)
        size = x.shape[-2:]
        total = F.fold(estimates, size, side)
        average = total / F.fold(torch.ones_like(estimates), size, side)
        x = (y + beta * average) / (1 + beta)
    return x.reshape(shape)


@dataclass(frozen=True)
class _Component:
    """A component with covariance C for noise of variance s; (l, u) are the eigenpairs of C.

    Attributes:
        log_factor: log of share / sqrt(det (C + s I)), plus the mean that the omitted directions
            would contribute if they held pure noise.
        directions: rows sqrt(l / (l + s) / s) u, (E, D), such that
            z^T (C + s I)^-1 z = |z|^2 / s - |directions z|^2. Directions with l much below s are
            omitted.
        wiener: C (C + s I)^-1, (D, D), which maps a noisy patch to its estimate.
    """

    log_factor: float
    directions: Tensor
    wiener: Tensor


def _components(shares: Tensor, values: Tensor, vectors: Tensor, noise: float) -> list[_Component]:
    gains = values / (values + noise)
    flat = values <= _FLAT * noise  # the omitted directions
    log_factors = shares.double().log() - 0.5 * (values + noise).log().sum(1)
    log_factors += 0.5 * torch.where(flat, gains, 0).sum(1)
    return [
        _Component(
            float(log_factor),
            ((u * (gain / noise).sqrt()).T[~omitted]).float(),
            ((u * gain) @ u.T).float(),
        )
        for log_factor, u, gain, omitted in zip(log_factors, vectors, gains, flat, strict=True)
    ]


def _estimate(z: Tensor, components: list[_Component]) -> Tensor:
    """Estimate every patch of z (N, D) by its most likely component."""
    log_factors = torch.tensor([component.log_factor for component in components])
    directions = [component.directions for component in components]
    chosen = torch.cat(
        [
            (log_factors + 0.5 * _squared_lengths(part, directions)).argmax(1)
            for part in torch.split(z, _CACHED)
        ]
    )
    estimates = torch.empty_like(z)
    for k in torch.unique(chosen).tolist():
        own = chosen == k
        estimates[own] = z[own] @ components[k].wiener
    return estimates


def _squared_lengths(z: Tensor, maps: Iterable[Tensor]) -> Tensor:
    """|M_k z|^2 for vectors z (N, D) and K maps M_k (E_k, D): (N, K)."""
    lengths: list[Tensor] = [(z @ m.T).square().sum(1) for m in maps]
    return torch.stack(lengths, dim=1)


def _log_factor(shares: Tensor, covariances: Tensor) -> Tensor:
    """log of share / sqrt(det(2 pi C)) for each component, (K,)."""
    dimension = covariances.shape[-1]
    log_determinants: Tensor = torch.linalg.slogdet(covariances)[1]
    return shares.log() - 0.5 * (log_determinants + dimension * math.log(2 * math.pi))


def _regularized(covariances: Tensor) -> Tensor:
    return covariances + _LEAST_VARIANCE * torch.eye(covariances.shape[-1]).to(covariances)


def _first_mixture(z: Tensor, components: int, seed: int) -> tuple[Tensor, Tensor]:
    """Shares and covariances of clusters of patches around random patches.

    Distances between patches are those of their log contrast and of their normalised patterns.
    """
    generator = torch.Generator().manual_seed(seed)
    pattern = z - z.mean(1, keepdim=True)
    contrast = pattern.norm(dim=1, keepdim=True)
    features = torch.cat([pattern / contrast.clamp_min(1e-3), contrast.clamp_min(1e-3).log()], 1)
    centres = features[torch.randperm(len(z), generator=generator)[:components]]
    nearest = torch.cat(
        [torch.cdist(part, centres).argmin(1) for part in torch.split(features, _CHUNK)]
    )
    overall = z.double().T @ z.double() / len(z)
    covariances = []
    prior = z.shape[1]  # the overall covariance counts like this number of patches
    for k in range(components):
        own = z[nearest == k].double()
        covariances.append((own.T @ own + prior * overall) / (len(own) + prior))
    shares = torch.bincount(nearest, minlength=components).double() + 1
    return shares / shares.sum(), _regularized(torch.stack(covariances))


def _draw(pool: PatchPool, count: int) -> Tensor:
    """Random patches as vectors (count, D), in deepinv's order: channel, row, column."""
    batch, batches = 1000, list[np.ndarray[Any, np.dtype[np.float32]]]()
    for iteration in range(-(-count // batch)):
        batches.append(pool.patches(batch, iteration).reshape(batch, -1))
    return torch.from_numpy(np.concatenate(batches)[:count])
