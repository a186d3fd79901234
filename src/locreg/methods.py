"""Methods to compare, by name: the peers, and locreg with any weights."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from torch import Tensor

from locreg.baselines import (
    bm3d_by_deepinv,
    bm3d_by_its_authors,
    non_local_means,
    total_variation,
    wiener,
)
from locreg.epll import Mixture, epll, load_mixture
from locreg.errors import LocregError, UsageError
from locreg.measurements import denoiser_version, parameter_checksum
from locreg.problems import Problem
from locreg.regularizer import LocalRegularizer, load
from locreg.validation import best_lam, psnr
from locreg.version import __version__

LOCREG, EPLL = "locreg:", "epll:"  # then weights, or a file
_ENSEMBLE, _BFLOAT16 = "+ensemble", "+bfloat16"  # behind the weights, either or both
_RATIO = 1.5  # between two lams in the search for the best of a classical method


@dataclass(frozen=True)
class Restored:
    """What a method makes of a problem.

    Attributes:
        image: (1, C, H, W).
        lam: the weight of its prior, if it has one.
        seconds: of the restoration alone, where more than that was done.
    """

    image: Tensor
    lam: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Method:
    """A way to restore.

    Attributes:
        name: what it is called in tables, without the folder of its file.
        version: tells one implementation and its weights from another.
        restore: from a problem to an image.
        informed: whether it chooses its parameter in view of the clean image.
        channels: of the images that its weights were made for; None takes any.
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
    assert kernel is not None  # it serves deblurring only
    return _at_best_lam(problem, lambda lam: wiener(problem.y, kernel, lam), 30 * problem.sigma**2)


def _at_best_lam(problem: Problem, solve: Callable[[float], Tensor], first: float) -> Restored:
    """The image of the lam that is best in view of the clean image."""
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
    """Refuse a method that is not known, or does not serve a task.

    Raises:
        UsageError: when it is so.
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
        serving = ", ".join(n for n, peer in _PEERS.items() if task in peer.tasks)
        raise UsageError(f"{name} does not {task}; of the peers, {serving} do.")


def how_to_install(name: str) -> str | None:
    """What to do before a method can be used; None where it is ready."""
    if name.startswith((LOCREG, EPLL)) or _peer(name) is not None:
        return None
    return _HOW_TO_INSTALL[_PEERS[name].package]


def find_method(name: str, task: str) -> Method:
    """The method of a name that is known and installed, for a task that it serves.

    Raises:
        LocregError: when its weights cannot be read.
    """
    if name.startswith(LOCREG):
        regularizer = _load_variant(name.removeprefix(LOCREG))
        if regularizer.learned_noise:
            raise LocregError(
                f"{name} removes the noise of one folder, not the white noise of a test."
            )
        if regularizer.calibration is None and not regularizer.noise_conditioned:
            raise LocregError(
                f"{name} holds no calibration, so that its lam is unknown: train or import it anew "
                "with images to calibrate on."
            )

        def restore(problem: Problem) -> Restored:
            found = problem.restore(regularizer, None)
            return Restored(found.image, found.lam)

        tell = denoiser_version if task == "denoise" else parameter_checksum
        return Method(
            label(name),
            f"locreg {__version__}, weights {tell(regularizer)}",
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
    """Weights, as they are restored with, or averaged over flips and turns, or in bfloat16."""
    weights, asked = name, set()
    while ending := next((e for e in (_ENSEMBLE, _BFLOAT16) if weights.endswith(e)), None):
        weights = weights.removesuffix(ending)
        asked.add(ending)
    return load(
        weights,
        symmetric=_ENSEMBLE in asked,
        precision="bfloat16" if _BFLOAT16 in asked else "float32",
    )


def label(name: str) -> str:
    """What a method is called in tables: of a file its name without the folder."""
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
    """The peer, or what stands in for it, if it is installed."""
    candidates = [_PEERS[name], *([_BM3D_BY_DEEPINV] if name == "bm3d" else [])]
    return next((peer for peer in candidates if _installed(peer.package)), None)


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
