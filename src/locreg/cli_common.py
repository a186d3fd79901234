"""What the commands share: parsing of values, loading of weights, progress, messages."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import arg

from locreg.errors import LocregError, UsageError
from locreg.options import Precision

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from locreg.regularizer import LocalRegularizer
    from locreg.solvers import Iterate, OnStep

DONE, FAILED, WRONG_USAGE = 0, 1, 2

Output = Annotated[Path, arg(aliases=["-o"])]
Device = Literal["auto", "cpu", "cuda"]


def say(sentence: str) -> None:
    """A sentence to the user, on standard error."""
    print(f"locreg: {sentence}", file=sys.stderr)


def show(line: str) -> None:
    """A result, on standard output; whoever reads it, such as head, may have read enough."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        discard_output()


def discard_output() -> None:
    """Let what is printed from now on go nowhere: nobody reads standard output any more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def out_of_memory_is(sentence: str) -> Iterator[None]:
    """Where memory does not suffice the user reads this sentence.

    Raises:
        LocregError: then.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        raise LocregError(sentence) from None


def _is_out_of_memory(error: Exception) -> bool:
    """PyTorch says so by a class on a GPU, and in words on a CPU."""
    import torch

    words = ("can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        word in str(error) for word in words
    )


def number_or(words: tuple[str, ...], name: str, text: str) -> float | str:
    """A number, or one of some words.

    Raises:
        UsageError: when it is neither.
    """
    if text in words:
        return text
    try:
        return float(text)
    except ValueError:
        allowed = ", ".join(words[:-1]) + (" or " if words[1:] else "") + words[-1]
        raise UsageError(f"{name} must be a number or {allowed}, got {text!r}.") from None


def weights_name(weights: str, kind: str, pixels: NDArray[np.float32]) -> str:
    """The weights that were named; for auto the packaged ones of a kind for pixels (C, H, W)."""
    if weights != "auto":
        return weights
    return f"{kind}-gray" if is_grey(pixels) else f"{kind}-rgb"


def critic_name(weights: str, pixels: NDArray[np.float32]) -> str:
    """The packaged critic that scores pixels (C, H, W), unless another is named."""
    return weights_name(weights, "alr", pixels)


def is_grey(pixels: NDArray[np.float32]) -> bool:
    """Whether pixels (C, H, W) are those of a grey image, which may be stored as three channels."""
    return bool((pixels == pixels[0]).all())


def torch_device(name: Device) -> torch.device:
    """The device to compute on.

    Raises:
        LocregError: when CUDA is asked for and there is none.
    """
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise LocregError("No CUDA device was found: use --device cpu.")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def load_regularizer(
    name: str, device: Device, *, precision: Precision = "float32", symmetric: bool = False
) -> LocalRegularizer:
    """The regularizer of packaged weights or of a file, on its device."""
    from locreg.regularizer import load

    return load(name, precision=precision, symmetric=symmetric).to(torch_device(device))


def scores_of(pixels: NDArray[np.float32], regularizer: LocalRegularizer) -> NDArray[np.float32]:
    """The score map (h, w) of pixels (C, H, W); a critic for grey images scores the channels' mean.

    Raises:
        LocregError: when the image is grey and the critic for colour images, or the weights are no
            critic's.
    """
    import torch

    if regularizer.noise_conditioned:
        raise LocregError(
            "These weights hold a denoising energy, whose scores say nothing of damage: use the "
            "weights of a critic, such as alr-rgb."
        )
    if regularizer.in_channels < len(pixels):
        pixels = pixels.mean(axis=0, keepdims=True)
    if regularizer.in_channels != len(pixels):
        raise LocregError("The image is grey and the weights are for colour images: use alr-gray.")
    x = torch.from_numpy(pixels)[None].to(regularizer.critic.weights[0].device)
    scores: NDArray[np.float32] = regularizer.score_map(x)[0, 0].cpu().numpy()
    return scores


class Progress:
    """A bar over the solver's steps, on a terminal only; None: their number is not known yet."""

    def __init__(self, name: str, steps: int | None) -> None:
        self.name, self.steps = name, steps

    def __enter__(self) -> OnStep:
        from tqdm import tqdm

        self.bar = tqdm(
            total=self.steps,
            desc=self.name,
            unit="step",
            leave=False,
            disable=not sys.stderr.isatty(),
        )
        return self._on_step

    def _on_step(self, step: int, _: Iterate) -> None:
        if step == 0 and self.bar.n:  # lam is being chosen: the next solution
            self.bar.reset()
        done = step if self.steps is None else min(step, self.steps)
        self.bar.update(done - self.bar.n)

    def __exit__(self, *_: object) -> None:
        self.bar.close()
