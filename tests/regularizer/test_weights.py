"""Weight files: what is written is read back, and nothing else is accepted."""

import pickle

import pytest
import torch

from conftest import Trap, conditioned_critic, random_image, small_critic
from locreg.errors import LocregError
from locreg.regularizer.array_file import FORMAT
from locreg.regularizer.criterion_record import DenoisingRecord, WassersteinRecord
from locreg.regularizer.local_regularizer import LocalRegularizer
from locreg.regularizer.stored_weights import Calibration
from locreg.regularizer.tensor_file import write_tensors
from locreg.regularizer.weights import Weights, load_weights, save_weights


def test_round_trip(tmp_path):
    calibration = Calibration(
        lam_polynomial=(-1.5, 1.1), sigma_range=(0.05, 0.4), quantile_levels=(0.5,),
        clean_patches=(0.1,), degraded_patches=(0.2,), clean_images=(0.3,), degraded_images=(0.4,),
    )  # fmt: skip
    weights = Weights(
        critic=small_critic("silu"), criterion=WassersteinRecord(penalty=5.0),
        training={"seed": 3}, calibration=calibration,
    )  # fmt: skip
    path = tmp_path / "w.safetensors"
    weights.critic.float()
    save_weights(weights, path)
    found = load_weights(path)
    assert found.calibration == calibration
    assert found.training == {"seed": 3}
    assert found.critic.describe() == weights.critic.describe()
    z = torch.rand(2, 1, 12, 12)
    assert torch.equal(found.critic(z), weights.critic(z))


def test_lam_is_proportional_to_sigma_outside_the_fitted_range():
    quantiles = dict.fromkeys(
        ("clean_patches", "degraded_patches", "clean_images", "degraded_images"), (0.0,)
    )
    calibration = Calibration(
        lam_polynomial=(-1.0, 1.5), sigma_range=(0.05, 0.4), quantile_levels=(0.5,), **quantiles
    )
    assert calibration.lam(0.1) / calibration.lam(0.05) == pytest.approx(2**1.5)
    assert calibration.lam(0.02) / calibration.lam(0.01) == pytest.approx(2)
    assert calibration.lam(0.8) / calibration.lam(0.4) == pytest.approx(2)
    assert calibration.lam(0) == 0


def pickled(path):
    torch.save({"weight": torch.zeros(3)}, path)


def plain_pickle(path):
    path.write_bytes(pickle.dumps({"weight": [1, 2, 3]}))


def truncated(path):
    save_weights(Weights(critic=small_critic()), path)
    path.write_bytes(path.read_bytes()[:-100])


def other_version(path):
    write_tensors(path, {"format": FORMAT + 1, "critic": {}}, {})


def foreign(path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, path)


def wrong_tensors(path):
    header = {"critic": small_critic().describe()}
    write_tensors(path, header, {"weights.0": torch.zeros(1)})


def mixture(path):
    write_tensors(path, {"mixture": {}}, {})


def checkpoint(path):
    write_tensors(path, {"recipe": {}}, {})


BAD_FILES = [
    (pickled, "pickle"),
    (plain_pickle, "pickle"),
    (truncated, "not a complete safetensors"),
    (lambda p: p.write_bytes(b""), "not a complete safetensors"),
    (lambda p: p.write_text("hello"), "not a complete safetensors"),
    (other_version, f"format version {FORMAT + 1}"),
    (foreign, "not one written by locreg"),
    (wrong_tensors, "damaged"),
    (checkpoint, "training checkpoint"),
    (mixture, "no critic"),
]


@pytest.mark.parametrize(("make", "words"), BAD_FILES)
def test_other_files_are_refused_by_name(tmp_path, make, words):
    path = tmp_path / "w.safetensors"
    make(path)
    with pytest.raises(LocregError, match=words) as caught:
        load_weights(path)
    assert "w.safetensors" in str(caught.value)


def test_a_pickle_is_never_executed(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(pickle.dumps(Trap(tmp_path / "exploded")))
    with pytest.raises(LocregError, match="pickle"):
        load_weights(path)
    assert not (tmp_path / "exploded").exists()


def test_unknown_names_list_the_packaged_ones():
    with pytest.raises(LocregError, match="alr-gray, alr-rgb, denoise-gray, denoise-rgb"):
        load_weights("alr-blue")


def test_the_weight_file_keeps_the_noise_conditioning(tmp_path):
    critic = conditioned_critic().float()
    path = tmp_path / "w.safetensors"
    save_weights(Weights(critic=critic, criterion=DenoisingRecord()), path)
    loaded = load_weights(path).critic
    x = random_image(1, 1, 8, 8, dtype=torch.float32)
    assert torch.equal(LocalRegularizer(critic).grad(x, 0.3), LocalRegularizer(loaded).grad(x, 0.3))
