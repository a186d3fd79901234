"""Import of the released regularizer: the same scores, and nothing but tensors is loaded."""

import json
import pickle

import pytest
import torch
from torch import nn

from conftest import Trap, random_image, shaded_scenes
from locreg.errors import LocregError
from locreg.images.image_file import write_image
from locreg.regularizer.local_regularizer import LocalRegularizer, load
from locreg.regularizer.weights import load_weights
from locreg.restoration.options import RestoreOptions
from locreg.restoration.restore import restore
from locreg.solvers.options import AdamOptions
from locreg.training.import_localreg import calibrated, import_localreg

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
    found = restore(
        y, load(str(out)), options=RestoreOptions(lam=0.01, solver=AdamOptions(steps=2))
    )
    assert found.image.shape == y.shape
    status, _, said = locreg("import-localreg", released, "-o", out)
    assert status == 1
    assert "exists already" in said


def test_lam_is_fitted_on_a_folder(tmp_path, locreg):
    """The network sums the absolute differences of neighbours: the best lam grows with sigma."""
    network = released_network([[3, 12, 2, 1], [12, 1, 1, 1]])
    filters = torch.zeros(12, 3, 2, 2)
    for channel in range(3):
        for index, (row, column) in enumerate(((0, 1), (1, 0))):
            for sign in (1, -1):
                one = filters[4 * channel + 2 * index + (sign > 0), channel]
                one[0, 0], one[row, column] = -sign, sign
    with torch.no_grad():
        network[0].weight.copy_(filters)
        network[2].weight.fill_(1.0)
        for layer in (0, 2):
            network[layer].bias.zero_()
    model, clean = tmp_path / "model", tmp_path / "clean"
    model.mkdir()
    torch.save(checkpoint(network), model / "checkpoint_last.pt")
    parameters = {"conv_params": [[3, 12, 2, 1], [12, 1, 1, 1]], "noise_std": 0.1}
    (model / "params.json").write_text(json.dumps(parameters))
    clean.mkdir()
    write_image(clean / "scene.png", shaded_scenes(1, seed=3, side=20)[0][0].numpy())
    out = tmp_path / "released.safetensors"
    assert locreg("import-localreg", model, "-o", out, "--clean", clean)[0] == 0
    calibration = load_weights(out).calibration
    assert 0 < calibration.lam(0.1) < calibration.lam(0.3)
    assert calibration.record["images"] == 1


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


def test_missing_or_damaged_files_are_named(released, tmp_path, folder):
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
