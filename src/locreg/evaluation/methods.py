"""Methods to compare, by name: locreg with any weights, and its peers."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from torch import Tensor

from locreg.errors import LocregError, UsageError
from locreg.evaluation.baselines import (
    bm3d_by_deepinv,
    bm3d_by_its_authors,
    non_local_means,
    total_variation,
    wiener,
)
from locreg.evaluation.epll import Mixture, epll, load_mixture
from locreg.evaluation.simulation import Problem
from locreg.images.metrics import psnr
from locreg.regularizer.local_regularizer import LocalRegularizer, load
from locreg.restoration.defaults import usual_steps
from locreg.solvers.search import best_lam
from locreg.version import __version__

LOCREG, EPLL = "locreg:", "epll:"  # prefixes of a name; weights or a file follow
_ENSEMBLE, _BFLOAT16 = "+ensemble", "+bfloat16"  # suffixes after the weights; both may be given
_RATIO = 1.5  # ratio of neighbouring lams in the search for the best lam of a classical method


@dataclass(frozen=True)
class Restored:
    """The result of a method on a problem.

    Attributes:
        image: the restored image (1, C, H, W).
        lam: weight of the method's prior, if it has one.
        seconds: duration of the restoration alone, if the method did other work as well.
    """

    image: Tensor
    lam: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Method:
    """A restoration method.

    Attributes:
        name: its name in tables, without the folder of its file.
        version: version of the implementation, and a checksum of its weights if it has any.
        restore: restores the image of a problem.
        informed: whether it chooses its parameter by looking at the clean image.
        channels: number of channels that its weights were made for; None: any.
    """

    name: str
    version: str
    restore: Callable[[Problem], Restored]
    informed: bool = False
    channels: int | None = None


@dataclass(frozen=True)
class _Peer:
    tasks: tuple[str, ...]
    package: str
    restore: Callable[[Problem], Restored]
    informed: bool = False


def _noisy(problem: Problem) -> Restored:
    return Restored(problem.start)


def _tv(problem: Problem) -> Restored:
    def solve(lam: float) -> Tensor:
        return total_variation(problem.y, problem.operator, lam, problem.start)

    first = 0.3 * problem.sigma**1.3 if problem.operator else 0.5 * problem.sigma
    return _at_best_lam(problem, solve, first)


def _wiener(problem: Problem) -> Restored:
    kernel = problem.kernel
    assert kernel is not None  # this method is for deblurring only
    return _at_best_lam(problem, lambda lam: wiener(problem.y, kernel, lam), 30 * problem.sigma**2)


def _at_best_lam(problem: Problem, solve: Callable[[float], Tensor], first: float) -> Restored:
    """The image restored with the lam of highest PSNR to the clean image."""
    lam, _ = best_lam(
        lambda lam: psnr(solve(lam), problem.clean).item(), max(first, 1e-5), ratio=_RATIO
    )
    begin = time.perf_counter()
    image = solve(lam)
    return Restored(image, lam, time.perf_counter() - begin)


_BM3D_BY_DEEPINV = _Peer(
    ("denoise",), "ptwt", lambda problem: Restored(bm3d_by_deepinv(problem.y, problem.sigma))
)

_EVERY_TASK = ("denoise", "deblur", "inpaint", "upscale")

_PEERS = {
    "noisy": _Peer(_EVERY_TASK, "locreg", _noisy),
    "tv": _Peer(_EVERY_TASK, "deepinv", _tv, informed=True),
    "wiener": _Peer(("deblur",), "scikit-image", _wiener, informed=True),
    "nlm": _Peer(
        ("denoise",),
        "scikit-image",
        lambda problem: Restored(non_local_means(problem.y, problem.sigma)),
    ),
    "bm3d": _Peer(
        ("denoise",),
        "bm3d",
        lambda problem: Restored(bm3d_by_its_authors(problem.y, problem.sigma)),
    ),
}

_HOW_TO_INSTALL = {
    "scikit-image": 'pip install "locreg[evaluate]"',
    "bm3d": "pip install bm3d (its licence is for non-commercial use), or ptwt for deepinv's",
}


def check_method(name: str, task: str) -> None:
    """Check that a method is known and supports a task.

    Raises:
        UsageError: when the method is unknown, or does not support the task.
    """
    if name.startswith(LOCREG):
        return
    if name.startswith(EPLL):
        if task != "denoise":
            raise UsageError(f"EPLL does not {task}.")
        return
    if name not in _PEERS:
        known = ", ".join([*_PEERS, f"{EPLL}FILE", f"{LOCREG}WEIGHTS"])
        raise UsageError(f"There is no method {name!r}; there are {known}.")
    if task not in _PEERS[name].tasks:
        able = ", ".join(n for n, peer in _PEERS.items() if task in peer.tasks)
        raise UsageError(f"{name} does not {task}; these methods do: {able}, {LOCREG}WEIGHTS.")


def how_to_install(name: str) -> str | None:
    """How to install what a method needs; None if it can be used already."""
    if name.startswith((LOCREG, EPLL)) or _peer(name) is not None:
        return None
    return _HOW_TO_INSTALL[_PEERS[name].package]


def find_method(name: str, task: str) -> Method:
    """Find a method by its name, which `check_method` has accepted for the task.

    Raises:
        UsageError: when the method is not installed.
        LocregError: when its weights cannot be read, or cannot be evaluated because they are for
            the noise of one folder or have no lam.
    """
    if name.startswith(LOCREG):
        regularizer = _load_variant(name.removeprefix(LOCREG))
        if regularizer.learned_noise:
            raise LocregError(
                f"{name} removes the noise of one folder, but here the noise is white: give other "
                "weights."
            )
        if regularizer.calibration is None and not regularizer.noise_conditioned:
            raise LocregError(
                f"{name} holds no calibration, so its lam is unknown: train or import it again "
                "with images to calibrate on."
            )

        def restore(problem: Problem) -> Restored:
            restoration = problem.restore(regularizer, None)
            return Restored(restoration.image, restoration.lam)

        identify = denoiser_version if task == "denoise" else parameter_checksum
        return Method(
            label(name),
            f"locreg {__version__}, weights {identify(regularizer)}",
            restore,
            channels=regularizer.in_channels,
        )
    if name.startswith(EPLL):
        mixture = load_mixture(Path(name.removeprefix(EPLL)))
        return Method(
            label(name),
            f"locreg {__version__}, {len(mixture.shares)} components of "
            f"{mixture.side}x{mixture.side} pixels {_checksum(mixture):08x}",
            lambda problem: Restored(epll(problem.y, problem.sigma, mixture)),
            channels=mixture.channels,
        )
    peer = _peer(name)
    if peer is None:
        raise UsageError(f"{name} is not installed: {how_to_install(name)}.")
    return Method(name, _version(peer), peer.restore, peer.informed)


def _load_variant(name: str) -> LocalRegularizer:
    """Load weights by a name with suffixes: +ensemble averages over flips and turns, +bfloat16."""
    weights, suffixes = name, set()
    while suffix := next((s for s in (_ENSEMBLE, _BFLOAT16) if weights.endswith(s)), None):
        weights = weights.removesuffix(suffix)
        suffixes.add(suffix)
    return load(
        weights,
        symmetric=_ENSEMBLE in suffixes,
        precision="bfloat16" if _BFLOAT16 in suffixes else "float32",
    )


def label(name: str) -> str:
    """The name of a method in tables: a file is named without its folder."""
    kind, separator, file = name.partition(":")
    return kind + separator + Path(file).name


def _version(peer: _Peer) -> str:
    by_deepinv = f"deepinv {version('deepinv')}"
    if peer is _BM3D_BY_DEEPINV:
        return f"{by_deepinv}'s own, ptwt {version('ptwt')}"
    return f"{peer.package} {version(peer.package)}"


def _checksum(mixture: Mixture) -> int:
    return zlib.crc32(mixture.covariances.numpy().tobytes())


def _peer(name: str) -> _Peer | None:
    """The peer of this name, or its substitute; None if neither is installed."""
    candidates = [_PEERS[name], *([_BM3D_BY_DEEPINV] if name == "bm3d" else [])]
    return next((peer for peer in candidates if _installed(peer.package)), None)


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def parameter_checksum(regularizer: LocalRegularizer) -> str:
    """A checksum of the weights, their calibration, and the noise level learned from damage."""
    calibration = regularizer.calibration
    checksum = zlib.crc32(repr(calibration).encode())
    if calibration is not None and calibration.contrast_polynomial:
        checksum = zlib.crc32(repr(calibration.contrast_polynomial).encode(), checksum)
    for parameter in regularizer.critic.parameters():
        checksum = zlib.crc32(parameter.numpy().tobytes(), checksum)
    if regularizer.learned_level is not None and not regularizer.learned_noise:
        # From damage only the noise level is learned: the energy is a packaged one.
        checksum = zlib.crc32(repr(regularizer.learned_level).encode(), checksum)
    return f"{checksum:08x}"


def denoiser_version(regularizer: LocalRegularizer) -> str:
    """The `parameter_checksum`, and the most gradient steps to denoise if they are several."""
    steps = usual_steps(regularizer, 1.0) if regularizer.noise_conditioned else 1
    return parameter_checksum(regularizer) + (f", up to {steps} steps" if steps > 1 else "")
