"""Recipes refuse what cannot be trained."""

import pytest

from locreg.errors import UsageError
from locreg.training.options import DataOptions
from locreg.training.recipes import CriticRecipe


def test_common_patches_are_for_synthetic_noise(tmp_path):
    with pytest.raises(UsageError, match="common_patches is for synthetic noise"):
        CriticRecipe(
            clean=tmp_path / "a", degraded=tmp_path / "b", data=DataOptions(common_patches=True)
        )


def test_levels_to_fit_lam_at_are_for_synthetic_noise(tmp_path):
    data = DataOptions(calibration_sigmas=(0.1, 0.2))
    with pytest.raises(UsageError, match="calibration_sigmas is for synthetic noise"):
        CriticRecipe(clean=tmp_path / "a", degraded=tmp_path / "b", data=data)


def test_overlapping_folders_are_refused(folder):
    for degraded in (folder, folder / "damaged", folder.parent):
        with pytest.raises(UsageError, match="overlap"):
            CriticRecipe(clean=folder, degraded=degraded)
