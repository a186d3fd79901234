"""`locreg score` and `locreg info`."""

import json
from pathlib import Path

from locreg.images.image_file import read_samples

FAST = ("--steps", "2")


def test_score_draws_a_picture_and_prints_the_mean(locreg, noisy, weight_file):
    target = noisy.with_name("map.png")
    status, text, _ = locreg("score", noisy, "-o", target, "--weights", weight_file)
    assert status == 0
    assert "mean score" in text
    assert "90% of clean training images" in text
    assert min(read_samples(target).shape[:2]) > 100
    status, text, _ = locreg("score", noisy, "-o", target, "--weights", weight_file, "--json")
    assert {"mean_score", "clean_images", "degraded_images"} <= json.loads(text).keys()
    assert locreg("score", noisy, "-o", noisy, "--weights", weight_file)[0] == 2
    assert locreg("score", noisy, "-o", noisy.with_name("map.doc"))[0] == 1


def test_info_shows_what_a_file_holds(locreg, weight_file):
    status, text, _ = locreg("info", weight_file)
    assert status == 0
    assert "receptive_field: 5" in text
    record = json.loads(locreg("info", weight_file, "--json")[1])
    assert record["parameters"] == 3 * 4 * 9 + 4 + 4 * 9
    assert locreg("info", "nothing")[0] == 1


def test_the_denoising_energy_is_described(locreg):
    record = json.loads(locreg("info", "denoise-rgb", "--json")[1])
    assert record["noise_conditioned"]
    assert (record["in_channels"], record["receptive_field"]) == (3, 66)
    assert record["layers at 1/4 of the resolution"][-1]["channels"] == 1
    training = record["training"]
    assert training["noise"] == "0.005:0.5"
    while training["command"].startswith("benchmarks/coarse_scales.py"):
        training = training["initial"]
    assert training["command"].startswith("locreg train-denoiser")
    assert training["noise"] == "0:0.5"
    assert record["criterion"]["name"] == "denoising"


def test_packaged_weights_are_small_and_described(locreg):
    from importlib import resources

    folder = Path(str(resources.files("locreg"))) / "packaged"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 5_000_000
    record = json.loads(locreg("info", "denoise-gray", "--json")[1])
    assert (record["in_channels"], record["receptive_field"]) == (1, 15)
    assert record["noise_conditioned"]
    assert record["training"]["command"].startswith("locreg train-denoiser")
    for name, channels in (("alr-rgb", 3), ("alr-gray", 1)):
        record = json.loads(locreg("info", name, "--json")[1])
        assert (record["in_channels"], record["receptive_field"]) == (channels, 15)
        assert record["training"]["iterations_done"] >= 30_000
        assert record["training"]["noise"] == "0.05:0.3"
        assert record["training"]["command"].startswith("locreg train")
        assert record["training"]["validations"]
        assert record["calibration"]["lam_polynomial"]
    for name, channels in (("ridge-rgb", 3), ("ridge-gray", 1)):
        record = json.loads(locreg("info", name, "--json")[1])
        assert (record["in_channels"], record["receptive_field"]) == (channels, 13)
        assert record["training"]["command"].startswith("locreg train ")
        assert record["calibration"]["contrast_polynomial"]
