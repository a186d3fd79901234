"""The training loop for any criterion, such as Algorithm 1 of Prost et al. (2021).

It logs, saves checkpoints and resumes. All random numbers of iteration k depend on the seed and on
k alone, so a resumed run gives the same weights, bit for bit, as a run that was never interrupted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

from locreg.at_the_same_time import one_ahead
from locreg.errors import LocregError
from locreg.images.archives import ImageSource
from locreg.images.files import write_atomically
from locreg.regularizer.array_file import under
from locreg.regularizer.multiscale import Critic, critic_from_description
from locreg.regularizer.tensor_file import read_tensors, write_tensors
from locreg.training.optimizers import CriticOptimizer
from locreg.training.options import LoopOptions

# Measures a critic: its quality (higher is better), and details for the log.
Validate = Callable[[Critic], tuple[float, dict[str, float]]]


Batch = TypeVar("Batch")


class Criterion(Protocol[Batch]):
    """What a critic is trained for, together with the data."""

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the numbers that `accumulate` returns."""

    @property
    def skipped(self) -> dict[ImageSource, str]:
        """Files that could not be used so far, with the reason."""

    def draw(self, iteration: int) -> Batch:
        """The patches, noise and other random numbers of an iteration.

        They must depend on the iteration alone. A second thread draws the next batch while the
        critic learns from the current one.
        """

    def accumulate(self, critic: Critic, batch: Batch) -> Tensor:
        """Set the ``.grad`` of the critic's parameters, and return the terms for the log.

        Gradient and terms must depend on the critic and the batch alone.
        """


@dataclass
class TrainingState:
    """Everything that changes from one iteration to the next."""

    critic: Critic
    average: Critic
    optimizer: CriticOptimizer
    iteration: int = 0
    best: dict[str, Tensor] | None = None
    validations: list[dict[str, float]] = field(default_factory=list)
    sums: Tensor | float = 0.0  # sums of the criterion's terms since the last line of the log
    skipped: dict[str, str] = field(default_factory=dict)  # file names, and why they were skipped


@dataclass(frozen=True)
class TrainedCritic:
    """The critic that validated best (without validation: the last one) and all validations."""

    critic: Critic
    iterations: int
    validations: list[dict[str, float]]
    skipped: dict[str, str]


def train(
    criterion: Criterion[Batch],
    critic: Critic,
    options: LoopOptions,
    *,
    validate: Validate | None = None,
    checkpoint: Path | None = None,
    recipe: dict[str, Any] | None = None,
    resume: bool = False,
    log: Path | None = None,
    progress: bool = True,
    on_iteration: Callable[[int], None] | None = None,
) -> TrainedCritic:
    """Train a critic by Adam or Muon on the criterion's gradients.

    Args:
        criterion: draws the batches and computes the gradients.
        critic: the critic to train, in place.
        options: constants of the training.
        validate: called with the averaged critic every ``validate_every`` iterations and at the
            end.
        checkpoint: file that a resumed run continues from; None: write no checkpoint.
        recipe: everything else that a resumed run must have in common (data, seed); it is stored in
            the checkpoint.
        resume: whether to continue from the checkpoint.
        log: file of JSON lines; None: write no log.
        progress: whether to show a progress bar.
        on_iteration: called after each iteration, with the number of iterations done.

    Raises:
        LocregError: when the checkpoint is missing or belongs to another run, when there already is
            a log, or when the weights diverge.
    """
    state = _initial_state(critic, options)
    recipe = {"options": asdict(options), "critic": critic.describe(), **(recipe or {})}
    if resume:
        if checkpoint is None:
            raise LocregError("Resuming needs the checkpoint file of the interrupted run.")
        _restore_state(state, checkpoint, recipe)
        if log is not None:
            _cut_log(log, state.iteration)
    elif log is not None and log.exists():
        raise LocregError(
            f"{log} belongs to another training: choose another output, or delete this file."
        )
    elif checkpoint is not None:
        _save_state(state, checkpoint, recipe)  # the run can be resumed from the very start

    bar = tqdm(
        total=options.iterations,
        initial=state.iteration,
        disable=not progress,
        unit="it",
        desc="training",
        smoothing=0.05,
    )
    batches = one_ahead(criterion.draw, range(state.iteration, options.iterations))
    with bar, closing(batches):
        for batch in batches:
            state.sums = state.sums + _step(state, criterion, batch, options)
            done = state.iteration
            bar.update()
            last = done == options.iterations
            if done % options.log_every == 0 or last:
                record = _log_record(state, criterion, options)
                terms = {name: f"{record[name]:.4f}" for name in criterion.terms}
                bar.set_postfix(terms, refresh=False)
                _append(log, record)
            if validate is not None and (done % options.validate_every == 0 or last):
                _append(log, _validate(state, validate))
            if checkpoint is not None and (done % options.checkpoint_every == 0 or last):
                state.skipped |= _names(criterion.skipped)
                _save_state(state, checkpoint, recipe)
            if on_iteration is not None:
                on_iteration(done)

    if state.best is not None:
        state.average.load_state_dict(state.best)
    skipped = state.skipped | _names(criterion.skipped)
    return TrainedCritic(state.average, state.iteration, state.validations, skipped)


def _names(skipped: dict[ImageSource, str]) -> dict[str, str]:
    # A copy, since the thread that draws batches may add to it.
    return {str(source): reason for source, reason in dict(skipped).items()}


def learning_rate(options: LoopOptions, iteration: int) -> float:
    """Exponential decay over the iterations 0, 1, ..., and a linear rise during the warmup."""
    progress = iteration / max(options.iterations - 1, 1)
    ratio = options.last_learning_rate / options.learning_rate
    rise = min(1.0, (iteration + 1) / max(options.warmup, 1))
    return float(options.learning_rate * ratio**progress * rise)


def _step(
    state: TrainingState, criterion: Criterion[Batch], batch: Batch, options: LoopOptions
) -> Tensor:
    """One step of the optimizer; returns the criterion's terms."""
    terms = criterion.accumulate(state.critic, batch)
    state.optimizer.step(learning_rate(options, state.iteration))
    state.critic.project()
    with torch.no_grad():
        # Begin with the plain mean: otherwise the initial weights would dominate for long.
        share = max(1 - options.weight_average, 1 / (state.iteration + 1))
        for mean, value in zip(state.average.parameters(), state.critic.parameters(), strict=True):
            mean.lerp_(value, share)
    state.iteration += 1
    return terms.detach().double()  # it stays where it is: no step waits for a copy


def _initial_state(critic: Critic, options: LoopOptions) -> TrainingState:
    average = critic_from_description(critic.describe())
    average.to(next(critic.parameters()).device).load_state_dict(critic.state_dict())
    return TrainingState(critic, average, CriticOptimizer(critic, options.optimizer))


def _validate(state: TrainingState, validate: Validate) -> dict[str, float]:
    quality, details = validate(state.average)
    record = {"iteration": state.iteration, "quality": quality, **details}
    if quality > max((v["quality"] for v in state.validations), default=-torch.inf):
        state.best = {k: v.detach().clone() for k, v in state.average.state_dict().items()}
    state.validations.append(record)
    return record


def _save_state(state: TrainingState, path: Path, recipe: dict[str, Any]) -> None:
    tensors = {f"critic.{k}": v for k, v in state.critic.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in state.average.state_dict().items()}
    tensors["sums"] = torch.as_tensor(state.sums, dtype=torch.float64)
    tensors |= {f"best.{k}": v for k, v in (state.best or {}).items()}
    tensors |= state.optimizer.state()
    header = {
        "recipe": recipe,
        "iteration": state.iteration,
        "validations": state.validations,
        "skipped": state.skipped,
    }
    write_tensors(path, header, tensors)


def _restore_state(state: TrainingState, path: Path, recipe: dict[str, Any]) -> None:
    if not path.is_file():
        raise LocregError(f"{path} does not exist: there is no interrupted training to resume.")
    header, tensors = read_tensors(path)
    if "recipe" not in header:
        raise LocregError(f"{path} is not a training checkpoint.")
    differing = sorted(
        key
        for key in recipe.keys() | header["recipe"].keys()
        if json.dumps(recipe.get(key)) != json.dumps(header["recipe"].get(key))
    )
    if differing:
        raise LocregError(
            f"{path} belongs to a training with other settings ({', '.join(differing)}): "
            "repeat its command exactly, or delete it to start anew."
        )

    state.critic.load_state_dict(under(tensors, "critic."))
    state.average.load_state_dict(under(tensors, "average."))
    state.best = under(tensors, "best.") or None
    state.sums = tensors["sums"].to(next(state.critic.parameters()).device)
    state.optimizer.restore(tensors)
    state.iteration = header["iteration"]
    state.validations = header["validations"]
    state.skipped = header.get("skipped", {})  # not in older files


def _log_record(
    state: TrainingState, criterion: Criterion[Batch], options: LoopOptions
) -> dict[str, float]:
    """Means of the terms since the last record; resets their sums."""
    count = (state.iteration - 1) % options.log_every + 1
    means = (torch.as_tensor(state.sums) / count).tolist()
    state.sums = 0.0
    if not all(map(math.isfinite, means)):
        raise LocregError(
            f"Training diverged before iteration {state.iteration}: lower the learning rate."
        )
    return {"iteration": state.iteration, **dict(zip(criterion.terms, means, strict=True))}


def _append(log: Path | None, record: dict[str, float]) -> None:
    if log is None:
        return
    try:
        with log.open("a") as file:
            file.write(json.dumps(record) + "\n")
    except OSError as error:
        raise LocregError(f"{log} cannot be written: {error.strerror}.") from None


def _cut_log(log: Path, iteration: int) -> None:
    """Drop lines of iterations that will be repeated, and a last line cut short by a kill."""
    if not log.is_file():
        return
    try:
        lines = [line for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]
        kept = [line for line in lines if json.loads(line)["iteration"] <= iteration]
    except (OSError, ValueError, KeyError, TypeError):
        raise LocregError(f"{log} is not the log of this training: move it away.") from None
    write_atomically(log, "".join(kept).encode())
