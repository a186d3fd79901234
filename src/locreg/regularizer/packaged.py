"""The weights that come with locreg."""

from __future__ import annotations

from importlib import resources


def packaged_critic(*, grey: bool) -> str:
    """Name of the packaged critic that scores grey images, or colour images."""
    return "alr-gray" if grey else "alr-rgb"


def packaged_names() -> list[str]:
    """Names of the weights that come with locreg."""
    folder = resources.files("locreg") / "packaged"
    return sorted(
        entry.name.removesuffix(".safetensors")
        for entry in folder.iterdir()
        if entry.name.endswith(".safetensors")
    )
