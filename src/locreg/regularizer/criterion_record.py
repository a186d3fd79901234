"""What a weight file records about the criterion that its critic was trained with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from locreg.degradation.noise import NoiseRange
from locreg.errors import LocregError


@dataclass(frozen=True, kw_only=True)
class WassersteinRecord:
    """Record of the Wasserstein criterion on unpaired patches (Prost et al. 2021, eq. (7)).

    Attributes:
        penalty: mu, weight of the gradient penalty; None: unknown.
        penalty_form: form of the gradient penalty, see `locreg.TrainingOptions`.
    """

    name: ClassVar[str] = "wasserstein"
    penalty: float | None
    penalty_form: str = "two-sided"

    def describe(self) -> dict[str, Any]:
        """The record as plain data, for the header of a weight file."""
        return {"name": self.name, "penalty": self.penalty, "penalty_form": self.penalty_form}


@dataclass(frozen=True, kw_only=True)
class DenoisingRecord:
    """Record of the denoising criterion, which trains denoising energies.

    Noise levels are standard deviations on the [0, 1] scale.

    Attributes:
        name: ``"denoising"``; ``"damage"`` if a critic chose the noise level at which a denoising
            energy removes the damage of a folder of images.
        level: noise level, learned from a folder of images, at which they are restored; None:
            there was no such folder.
        noise: levels of the white noise of the training; None: unknown, or not white.
        steps: number of gradient steps of the training.
        white: pixel value that counted as 1 in the folder; None: the largest that a file can hold.
        kinds: ``"white"``; or ``"real"`` if the training had all kinds of noise in real pictures,
            and grey images.
    """

    name: Literal["denoising", "damage"] = "denoising"
    level: float | None = None
    noise: NoiseRange | None = None
    steps: int = 1
    white: float | None = None
    kinds: Literal["white", "real"] = "white"

    def describe(self) -> dict[str, Any]:
        """The record as plain data, for the header of a weight file."""
        noise = None if self.noise is None else [self.noise.low, self.noise.high]
        return {
            "name": self.name,
            "level": self.level,
            "noise": noise,
            "steps": self.steps,
            "white": self.white,
            "kinds": self.kinds,
        }


@dataclass(frozen=True, kw_only=True)
class BilevelRecord:
    """Record of the bilevel criterion.

    Attributes:
        sigma: level of the white noise, its standard deviation on the [0, 1] scale.
        lam: weight of R.
    """

    name: ClassVar[str] = "bilevel"
    sigma: float
    lam: float

    def describe(self) -> dict[str, Any]:
        """The record as plain data, for the header of a weight file."""
        return {"name": self.name, "sigma": self.sigma, "lam": self.lam}


CriterionRecord = WassersteinRecord | DenoisingRecord | BilevelRecord


def read_criterion_record(description: dict[str, Any]) -> CriterionRecord | None:
    """The record that a header describes; None if the header names no criterion.

    Raises:
        LocregError: when this version does not know the criterion, or a noise level is not valid.
        KeyError, TypeError: when the description is incomplete.
    """
    match description.get("name"):
        case None:
            return None
        case "wasserstein":
            form = description.get("penalty_form", "two-sided")
            return WassersteinRecord(penalty=description.get("penalty"), penalty_form=form)
        case "denoising" | "damage" as name:
            noise = description.get("noise")
            return DenoisingRecord(
                name=name,
                level=description.get("level"),
                noise=None if noise is None else NoiseRange(low=noise[0], high=noise[1]),
                steps=description.get("steps", 1),
                white=description.get("white"),
                kinds=description.get("kinds", "white"),
            )
        case "bilevel":
            return BilevelRecord(sigma=description["sigma"], lam=description["lam"])
        case name:
            raise LocregError(
                f"These weights were trained with the criterion {name!r}, which this version of "
                "locreg does not know: use a newer one."
            )
