"""EPLL: restoration by a Gaussian mixture of patches, and the fitting of that mixture."""

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
from locreg.patches import PatchPool
from locreg.weights import read_tensors, write_tensors

_LEAST_VARIANCE = 1e-6  # added to every covariance: a quarter of an 8-bit step, squared
_CHUNK = 20_000  # patches that are worked on at once
_CACHED = 1024  # the same, where what is made of them should fit the processor's cache
# Directions whose variance is below this share of the noise's are taken to hold noise alone.
_FLAT = 0.05


@dataclass(frozen=True)
class Mixture:
    """A mixture of Gaussians without mean, of patches (C, side, side) laid out as vectors.

    Attributes:
        shares: (K,), summing to 1.
        covariances: (K, D, D), D = C side^2.
        channels: C.
        record: how it was fitted.
    """

    shares: Tensor
    covariances: Tensor
    channels: int
    record: dict[str, Any]

    @property
    def side(self) -> int:
        """Of a patch, in pixels."""
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
    """Expectation maximisation over random patches.

    The components have no mean: brightness is one of their directions. They begin as the
    covariances of patches that look alike. Covariances are of double precision: the variance of
    brightness is some 1e7 times that of the finest details.

    Args:
        pool: where the patches come from.
        components: K.
        patches: how many are drawn; all of them are seen in every iteration.
        iterations: of expectation maximisation.
        seed: of the first assignment.
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
    """Write a mixture with its record, as safetensors."""
    header = {"mixture": mixture.record, "channels": mixture.channels}
    tensors = {"shares": mixture.shares, "covariances": mixture.covariances}
    write_tensors(path, header, tensors)


def load_mixture(path: Path) -> Mixture:
    """Read a mixture.

    Raises:
        LocregError: when the file does not hold one.
    """
    header, tensors = read_tensors(path)
    if "mixture" not in header:
        raise LocregError(f"{path} holds no mixture of patches, as fitted for EPLL.")
    shares, covariances = tensors["shares"], tensors["covariances"]
    return Mixture(shares, covariances, header["channels"], header["mixture"])


@torch.no_grad()
def epll(y: Tensor, sigma: float, mixture: Mixture) -> Tensor:
    """EPLL denoising of images (B, C, H, W) with noise level sigma above 0.

    Half-quadratic splitting in five rounds of rising beta (1, 4, 8, 16, 32) / sigma^2: every patch
    z is estimated by its most likely component, C (C + I / beta)^-1 z, the estimates are averaged
    where they overlap, and the average is joined with y.

    Zoran, Weiss, *From learning models of natural image patches to whole image restoration*, 2011.
    The steps are those of deepinv's EPLL in double precision; in single precision its inverse
    matrices lose several dB on colour patches. A mixture of grey patches restores the channels of
    a colour image one by one.
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
    """A component of covariance C at a noise level s, with (l, u) the eigenpairs of C.

    Attributes:
        log_factor: log of share / sqrt(det (C + s I)), and half the mean of what the directions
            that are left out would add, for noise.
        directions: sqrt(l / (l + s) / s) u, (E, D), of which z (C + s I)^-1 z is
            |z|^2 / s - |directions z|^2. Those of l much below s are left out.
        wiener: C (C + s I)^-1, (D, D), the estimate of a patch.
    """

    log_factor: float
    directions: Tensor
    wiener: Tensor


def _components(shares: Tensor, values: Tensor, vectors: Tensor, noise: float) -> list[_Component]:
    gains = values / (values + noise)
    flat = values <= _FLAT * noise
    log_factors = shares.double().log() - 0.5 * (values + noise).log().sum(1)
    log_factors += 0.5 * torch.where(flat, gains, 0).sum(1)
    return [
        _Component(
            float(log_factor),
            ((u * (gain / noise).sqrt()).T[~left_out]).float(),
            ((u * gain) @ u.T).float(),
        )
        for log_factor, u, gain, left_out in zip(log_factors, vectors, gains, flat, strict=True)
    ]


def _estimate(z: Tensor, components: list[_Component]) -> Tensor:
    """Every patch of z (N, D) by its most likely component."""
    log_factors = torch.tensor([component.log_factor for component in components])
    directions = [component.directions for component in components]
    chosen = torch.cat(
        [
            (log_factors + 0.5 * _squared_lengths(part, directions)).argmax(1)
            for part in torch.split(z, _CACHED)
        ]
    )
    found = torch.empty_like(z)
    for k in torch.unique(chosen).tolist():
        own = chosen == k
        found[own] = z[own] @ components[k].wiener
    return found


def _squared_lengths(z: Tensor, maps: Iterable[Tensor]) -> Tensor:
    """|M_k z|^2 of vectors (N, D) under K maps (E_k, D): (N, K)."""
    lengths: list[Tensor] = [(z @ m.T).square().sum(1) for m in maps]
    return torch.stack(lengths, dim=1)


def _log_factor(shares: Tensor, covariances: Tensor) -> Tensor:
    """log of share / sqrt(det 2 pi C), (K,)."""
    dimension = covariances.shape[-1]
    log_determinants: Tensor = torch.linalg.slogdet(covariances)[1]
    return shares.log() - 0.5 * (log_determinants + dimension * math.log(2 * math.pi))


def _regularized(covariances: Tensor) -> Tensor:
    return covariances + _LEAST_VARIANCE * torch.eye(covariances.shape[-1]).to(covariances)


def _first_mixture(z: Tensor, components: int, seed: int) -> tuple[Tensor, Tensor]:
    """Components of patches that are near to random ones, brightness and contrast set aside."""
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
    prior = z.shape[1]  # as many patches as dimensions count for the overall covariance
    for k in range(components):
        own = z[nearest == k].double()
        covariances.append((own.T @ own + prior * overall) / (len(own) + prior))
    shares = torch.bincount(nearest, minlength=components).double() + 1
    return shares / shares.sum(), _regularized(torch.stack(covariances))


def _draw(pool: PatchPool, count: int) -> Tensor:
    """Random patches as vectors (count, D), in deepinv's order: channel, row, column."""
    batch, found = 1000, list[np.ndarray[Any, np.dtype[np.float32]]]()
    for iteration in range(-(-count // batch)):
        found.append(pool.patches(batch, iteration).reshape(batch, -1))
    return torch.from_numpy(np.concatenate(found)[:count])
