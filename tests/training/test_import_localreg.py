"""Import of the released regularizer: the same scores, and nothing but tensors is loaded."""

import json
import pickle

import pytest
import torch
from torch import nn

from conftest import Trap, random_image
from locreg.errors import LocregError
from locreg.import_localreg import calibrated, import_localreg
from locreg.options import AdamOptions
from locreg.regularizer import LocalRegularizer, load
from locreg.restoration import restore
from locreg.weights import load_weights

CONVOLUTIONS = [[3, 8, 3, 1], [8, 4, 3, 1], [4, 4, 3, 3], [4, 4, 3, 1], [4, 4, 1, 1], [4, 5, 1, 1]]


def released_network(convolutions=CONVOLUTIONS):
    """Convolutions with ReLU between; the score is the mean over the last one's channels."""
    torch.manual_seed(0)
    modules = []
    for index, layer in enumerate(convolutions):
        modules += [nn.ReLU()] * (index > 0) + [nn.Conv2d(*layer)]
    return nn.Sequential(*modules)


def checkpoint(network):
    model = {f"net.{name}": tensor for name, tensor in network.state_dict().items()}
    optim = torch.optim.Adam(network.parameters()).state_dict()
    return {"model": model, "optim": optim, "current_epoch": 100}


@pytest.fixture
def released(tmp_path):
    """A folder as the authors publish it."""
    folder = tmp_path / "cnn15"
    folder.mkdir()
    torch.save(checkpoint(released_network()), folder / "checkpoint_last.pt")
    parameters = {"conv_params": CONVOLUTIONS, "act": "ReLU", "noise_std": [0.05, 0.3], "mu": 5,
                  "patch_size": 15, "model": "CNN"}  # fmt: skip
    (folder / "params.json").write_text(json.dumps(parameters))
    return folder


def test_the_scores_are_those_of_the_released_code(released):
    critic = import_localreg(released).critic
    x = random_image(2, 3, 31, 28, dtype=torch.float32)
    with torch.no_grad():
        expected = released_network()(x).mean(1, keepdim=True)
    torch.testing.assert_close(critic(x), expected)


def test_the_receptive_field_is_derived(released):
    """params.json says 15."""
    critic = import_localreg(released).critic
    assert (critic.receptive_field, critic.stride) == (13, 3)
    x = random_image(1, 3, 13, 13, dtype=torch.float32).requires_grad_()
    critic.requires_grad_(False)(x).sum().backward()
    seen = x.grad.abs().sum((0, 1)) > 0
    assert seen[0].any()
    assert seen[-1].any()


def test_score_map_and_tiles_are_right_with_stride_three(released):
    regularizer = LocalRegularizer(import_localreg(released).critic)
    x = random_image(1, 3, 41, 38, dtype=torch.float32)
    assert regularizer.score_map(x).shape[-2:] == (14, 13)
    whole = regularizer.value_and_grad(x)
    tiled = LocalRegularizer(regularizer.critic, tile=9).value_and_grad(x)
    for a, b in zip(whole, tiled, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_the_command_writes_weights_that_restore(released, tmp_path, locreg):
    out = tmp_path / "released.safetensors"
    status, printed, said = locreg("import-localreg", released, "-o", out)
    assert status == 0
    assert "receptive field 13x13, stride 3" in printed
    assert "--clean" in said
    assert load_weights(out).training["licence"] == "MIT"
    y = random_image(1, 3, 20, 22, dtype=torch.float32)
    found = restore(y, load(str(out)), lam=0.01, solver=AdamOptions(steps=2))
    assert found.image.shape == y.shape
    status, _, said = locreg("import-localreg", released, "-o", out)
    assert status == 1
    assert "exists already" in said


def test_lam_is_fitted_on_a_folder(released, tmp_path, folder, locreg, monkeypatch):
    monkeypatch.setattr("locreg.import_localreg._CALIBRATION_IMAGES", 1)
    monkeypatch.setattr("locreg.import_localreg._CALIBRATION_SIZE", 16)
    out = tmp_path / "released.safetensors"
    assert locreg("import-localreg", released, "-o", out, "--clean", folder)[0] == 0
    assert load_weights(out).calibration.lam(0.1) > 0


def edit(folder, **changes):
    path = folder / "params.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"act": "LeakyReLU"}, "LeakyReLU"),
        ({"conv_params": CONVOLUTIONS[:-1]}, "more layers"),
        ({"conv_params": [*CONVOLUTIONS, [5, 1, 1, 1]]}, "lacks layer 7"),
        ({"conv_params": [[3, 9, 3, 1], *CONVOLUTIONS[1:]]}, "different layers"),
        ({"conv_params": [[3, 8, 3]]}, "does not list"),
        ({"conv_params": None}, "does not list"),
    ],
)
def test_another_network_is_refused(released, changes, said):
    edit(released, **changes)
    with pytest.raises(LocregError, match=said):
        import_localreg(released)


def test_what_is_missing_or_damaged_is_named(released, tmp_path, folder):
    with pytest.raises(LocregError, match=r"params\.json cannot be read"):
        import_localreg(tmp_path / "nowhere")
    edit(released, noise_std=None)
    with pytest.raises(LocregError, match="noise_std must be"):
        calibrated(import_localreg(released), folder)
    path = released / "checkpoint_last.pt"
    for content in (torch.zeros(3), "text", {"model": {"net.0.weight": {}}}, {"model": 3}):
        torch.save(content, path)
        with pytest.raises(LocregError, match="not a checkpoint"):
            import_localreg(released)
    torch.save(checkpoint(released_network()), path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(LocregError, match="not a checkpoint"):
        import_localreg(released)
    path.unlink()
    with pytest.raises(LocregError, match=r"checkpoint_last\.pt cannot be read"):
        import_localreg(released)


@pytest.mark.parametrize("save", [torch.save, lambda x, path: path.write_bytes(pickle.dumps(x, 2))])
def test_a_checkpoint_cannot_run_code(released, tmp_path, save):
    save({"model": Trap(tmp_path / "written")}, released / "checkpoint_last.pt")
    with pytest.raises(LocregError, match="not a checkpoint"):
        import_localreg(released)
    assert not (tmp_path / "written").exists()
