"""What each choice in training an unpaired critic gains: a table of docs/weights.md.

    python benchmarks/ablation.py DATA OUT [--csv docs/ablation.csv]

Grey critics are trained on photographs of bsds500 with added noise, with one change at a time. The
measure is the mean PSNR at sigma 0.1 on the 96x96 centre crops of 12 held-out photographs, restored
by the paper's solver at the best lam. No test set is used. Weights are kept in OUT: finished trials
are not trained again, and interrupted trials continue.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from locreg.degradation.noise import NoiseRange
from locreg.images.archives import ImageSource
from locreg.images.patches import PatchPool, load_crops
from locreg.images.sources import split_sources
from locreg.regularizer.critic import PatchCritic
from locreg.regularizer.layers import standard_layers
from locreg.regularizer.multiscale import Critic
from locreg.regularizer.weights import Weights, load_weights, save_weights
from locreg.training.calibration import best_contrast
from locreg.training.criteria.wasserstein import critic_loss
from locreg.training.loop import train
from locreg.training.options import (
    RIDGE_TRAINING,
    CalibratedOptions,
    CriticOptions,
    DataOptions,
    RefinementOptions,
    RidgeCriticOptions,
    TrainingOptions,
)
from locreg.training.output import TrainingRun
from locreg.training.recipes import CriticRecipe, RefinementRecipe
from locreg.training.refine import refine
from locreg.training.train_critic import train_critic
from locreg.training.validation import WhiteNoiseValidation

SIGMA = 0.1
UNCALIBRATED = DataOptions(validation_sigma=SIGMA, calibration_images=0)
DEEP = CriticRecipe(
    clean=Path(),
    noise=NoiseRange(low=0.05, high=0.3),
    critic=CriticOptions(channels=1),
    data=UNCALIBRATED,
    training=TrainingOptions(iterations=2_000, validate_every=2_000, checkpoint_every=100),
)
RIDGE = replace(
    DEEP,
    noise=NoiseRange(low=SIGMA, high=SIGMA),
    critic=RidgeCriticOptions(channels=1, filters=64),
    training=replace(RIDGE_TRAINING, validate_every=600),
)


def changed(recipe: CriticRecipe, **training: object) -> CriticRecipe:
    """The recipe with other training options."""
    return replace(recipe, training=replace(recipe.training, **training))  # type: ignore[arg-type]


TRIALS: dict[str, CriticRecipe] = {
    "deep: the paper's constants, 2,000 iterations": DEEP,
    "average of the weights, 0.999": changed(DEEP, weight_average=0.999),
    "penalty mu = 0.1": changed(DEEP, penalty=0.1),
    "one-sided penalty": changed(DEEP, penalty_form="one-sided"),
    "squared distance (2-Wasserstein), mu = 0.05": changed(
        DEEP, penalty_form="squared", penalty=0.05
    ),
    "SiLU in place of ReLU": replace(DEEP, critic=CriticOptions(channels=1, activation="silu")),
    "softplus in place of ReLU": replace(
        DEEP, critic=CriticOptions(channels=1, activation="softplus")
    ),
    "noise of 0.1 alone": replace(DEEP, noise=NoiseRange(low=SIGMA, high=SIGMA)),
    "noise of 0.02 to 0.5": replace(DEEP, noise=NoiseRange(low=0.02, high=0.5)),
    "patches of 30x30, 8 a step": changed(DEEP, patch_size=30, batch=8),
    "Muon in place of Adam": changed(DEEP, optimizer="muon"),
    "clean and noisy patches of the same images": replace(
        DEEP, data=replace(UNCALIBRATED, common_patches=True)
    ),
    "ridge: 64 filters, 60x60 patches, noise of 0.1, 600 iterations": RIDGE,
    "ridge, two-sided penalty": changed(RIDGE, penalty_form="two-sided"),
    "ridge, squared distance, mu = 0.05": changed(RIDGE, penalty_form="squared", penalty=0.05),
    "ridge, patches of 13x13, 64 a step": changed(RIDGE, patch_size=13, batch=64),
    "ridge, last weights in place of their average": changed(RIDGE, weight_average=0.0),
    "ridge, Muon in place of Adam": changed(RIDGE, optimizer="muon"),
    "ridge, noise of 0.05 to 0.3": replace(RIDGE, noise=DEEP.noise),
    "ridge, potentials of groups of 4 filters": replace(
        RIDGE, critic=RidgeCriticOptions(channels=1, filters=64, group=4)
    ),
    "ridge, the same images": replace(RIDGE, data=replace(UNCALIBRATED, common_patches=True)),
    "ridge, 1,800 iterations": changed(RIDGE, iterations=1_800),
}
CONDITIONED = "noise level as an input"
REFINED: dict[str, RefinementOptions] = {
    "ridge with contrast, refined: one weight per filter": RefinementOptions(
        parameters="last", iterations=200
    ),
    "ridge with contrast, refined: all weights": RefinementOptions(iterations=200),
}


@dataclass(frozen=True)
class ConditionedCriterion:
    """Criterion (7) of the paper for r(z; s): at noise level s, r scores patches of that level."""

    clean: PatchPool
    noisy: PatchPool
    noise: NoiseRange
    options: TrainingOptions
    terms = ("wasserstein", "gradient_penalty")

    @property
    def skipped(self) -> dict[ImageSource, str]:
        """Files that could not be used."""
        return self.clean.skipped | self.noisy.skipped

    def draw(self, iteration: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Clean patches, noisy ones, their noise levels, and positions on the lines."""
        count, random = self.options.batch, np.random.default_rng(iteration)
        clean, noisy = (
            torch.from_numpy(pool.patches(count, iteration)) for pool in (self.clean, self.noisy)
        )
        sigma = torch.from_numpy(random.uniform(self.noise.low, self.noise.high, count)).float()
        drawn = torch.from_numpy(random.standard_normal(tuple(noisy.shape))).float()
        mixing = torch.from_numpy(random.random(count)).float()
        return clean, noisy + sigma.view(-1, 1, 1, 1) * drawn, sigma, mixing

    def accumulate(self, critic: Critic, batch: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
        """Set the gradients of the critic, and return the terms."""
        clean, noisy, sigma, mixing = batch
        (of_patches,) = critic.scales
        of_level = partial(of_patches, sigma=sigma)
        terms = critic_loss(of_level, clean, noisy, mixing, self.options.penalty)
        critic.zero_grad()
        torch.autograd.backward(terms.loss)
        return torch.stack([terms.wasserstein, terms.gradient_penalty]).detach()


def train_conditioned(path: Path, clean: Path, resume: bool) -> Weights:
    """Train DEEP with the noise level as another input channel; keep the critic at level 0.1."""
    training, held_out = split_sources([clean], held_out=UNCALIBRATED.held_out, seed=0)
    half = len(training) // 2
    network = PatchCritic(standard_layers(), in_channels=1, noise_conditioned=True)
    pools = [
        PatchPool(part, size=network.receptive_field, channels=1, seed=seed, augment=True)
        for seed, part in enumerate((training[:half], training[half:]))
    ]
    assert DEEP.noise is not None
    crops = load_crops(held_out, size=UNCALIBRATED.validation_size, channels=1)
    validation = WhiteNoiseValidation(crops, SIGMA, 0)
    training_result = train(
        ConditionedCriterion(pools[0], pools[1], DEEP.noise, DEEP.training),
        network,
        DEEP.training,
        validate=lambda critic: validation(critic.at(SIGMA)),
        checkpoint=TrainingRun(output=path).checkpoint,
        resume=resume,
    )
    weights = Weights(
        critic=training_result.critic.at(SIGMA).requires_grad_(False),
        training={"validations": training_result.validations},
    )
    save_weights(weights, path)
    TrainingRun(output=path).checkpoint.unlink()
    return weights


def add_contrast(path: Path, ridge: Path, clean: Path) -> Weights:
    """Take the ridge critic at its best contrast, which is fitted on training images."""
    weights = load_weights(ridge)
    training, held_out = split_sources([clean], held_out=UNCALIBRATED.held_out, seed=0)
    contrast, _ = best_contrast(
        weights.critic, load_crops(training[:16], size=128, channels=1), SIGMA, seed=0
    )
    critic = weights.critic.at_contrast(contrast)
    crops = load_crops(held_out, size=UNCALIBRATED.validation_size, channels=1)
    quality, details = WhiteNoiseValidation(crops, SIGMA, 0)(critic)
    validations = [{"quality": quality, "contrast": contrast, **details}]
    weights = Weights(critic=critic, training={"validations": validations})
    save_weights(weights, path)
    return weights


def trained(name: str, path: Path, step: Callable[[Path, bool], Weights]) -> Weights:
    """Load the weights of a trial; first start or continue its training if it is not finished."""
    print(name, flush=True)
    resume = TrainingRun(output=path).is_interrupted()
    return load_weights(path) if path.exists() and not resume else step(path, resume)


def main() -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--part", help="i/n: only train trials i, i + n, ..., from 0 on")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    clean = options.data / "bsds500"

    def path_of(name: str) -> Path:
        words = "".join(c if c.isalnum() else " " for c in name).split()
        return Path(options.out, "-".join(words) + ".safetensors")

    contrasted, ridge = "ridge with contrast", next(name for name in TRIALS if "64 filters" in name)

    def refined(settings: RefinementOptions, path: Path, resume: bool) -> Weights:
        recipe = RefinementRecipe(
            clean=clean,
            initial=path_of(contrasted),
            sigma=SIGMA,
            data=CalibratedOptions(calibration_images=0),
            training=settings,
        )
        return refine(recipe, TrainingRun(output=path, resume=resume))

    def one_trial(recipe: CriticRecipe, path: Path, resume: bool) -> Weights:
        run = TrainingRun(output=path, resume=resume)
        return train_critic(replace(recipe, clean=clean), run)

    steps: dict[str, Callable[[Path, bool], Weights]] = {
        name: partial(one_trial, recipe) for name, recipe in TRIALS.items()
    }
    steps[CONDITIONED] = lambda path, resume: train_conditioned(path, clean, resume)
    if options.part is not None:  # trials that build on others need a run without --part
        part, parts = map(int, options.part.split("/"))
        for name in list(steps)[part::parts]:
            trained(name, path_of(name), steps[name])
        return
    steps[contrasted] = lambda path, _: add_contrast(path, path_of(ridge), clean)
    for name, settings in REFINED.items():
        steps[name] = partial(refined, settings)
    rows: list[Sequence[object]] = []
    for name, step in steps.items():
        weights = trained(name, path_of(name), step)
        quality = weights.training["validations"][-1]["quality"]
        size = sum(p.numel() for p in weights.critic.parameters())
        rows.append((name, size, f"{quality:.2f}"))
    print("| trial | parameters | dB |\n| --- | --- | --- |")
    for row in rows:
        print("|", " | ".join(map(str, row)), "|")
    if options.csv is not None:
        with options.csv.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("trial", "parameters", "psnr"))
            writer.writerows(rows)


if __name__ == "__main__":
    main()
