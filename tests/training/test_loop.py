"""The loop of a training: learning rate, validation, checkpoints."""

import pytest
import torch

from locreg.degradation.noise import NoiseRange
from locreg.errors import LocregError
from locreg.images.patches import PatchPool
from locreg.regularizer.critic import PatchCritic
from locreg.regularizer.layers import standard_layers
from locreg.training.criteria.wasserstein import UnpairedPatches, WassersteinCriterion
from locreg.training.loop import learning_rate, train
from locreg.training.options import TrainingOptions
from locreg.training.output import TrainingRun


def test_the_best_validated_weights_are_kept(folder):
    files = sorted(folder.iterdir())
    pools = [PatchPool(files[k::2], size=15, channels=1, seed=k) for k in range(2)]
    patches = UnpairedPatches(pools[0], pools[1], NoiseRange(low=0.1, high=0.1), seed=0)
    criterion = WassersteinCriterion(patches, 2, 5.0)
    critic = PatchCritic(standard_layers([3] * 6), in_channels=1)
    seen = []

    def validate(candidate):
        seen.append(candidate.weights[0].detach().clone())
        return [1.0, 3.0, 2.0][len(seen) - 1], {}

    options = TrainingOptions(iterations=9, batch=2, validate_every=3, log_every=3)
    trained = train(criterion, critic, options, validate=validate, progress=False)
    assert torch.equal(trained.critic.weights[0], seen[1])
    assert [v["quality"] for v in trained.validations] == [1.0, 3.0, 2.0]


def test_learning_rate_decays_from_first_to_last():
    options = TrainingOptions(iterations=11)
    assert learning_rate(options, 0) == pytest.approx(1e-3)
    assert learning_rate(options, 10) == pytest.approx(1e-4)
    assert learning_rate(options, 5) == pytest.approx(10**-3.5)


def test_resuming_with_other_settings_is_refused(folder, tmp_path):
    output = tmp_path / "w.safetensors"

    def interrupt(_):
        raise InterruptedError

    files = sorted(folder.iterdir())
    pools = [PatchPool(files, size=15, channels=1, seed=k) for k in range(2)]
    criterion = WassersteinCriterion(UnpairedPatches(pools[0], pools[1], None, seed=0), 2, 5.0)
    checkpoint = TrainingRun(output=output).checkpoint
    options = TrainingOptions(iterations=4, batch=2, checkpoint_every=2, validate_every=3)
    critic = PatchCritic(standard_layers([3] * 6), in_channels=1)
    with pytest.raises(InterruptedError):
        train(criterion, critic, options, validate=interrupt, checkpoint=checkpoint, progress=False)
    changed = TrainingOptions(iterations=5, batch=2, checkpoint_every=2, validate_every=3)
    with pytest.raises(LocregError, match=r"other settings \(options\)"):
        train(criterion, critic, changed, checkpoint=checkpoint, resume=True, progress=False)
