"""``locreg reproduce``: the paper's tables and figures; ``locreg fit-epll``: a peer of theirs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from locreg.cli_common import DONE, Output, say
from locreg.errors import UsageError
from locreg.options import check_at_least


@dataclass(frozen=True, kw_only=True)
class Reproduce:
    """Make the tables and figures of the paper again, beside its own numbers.

    Trains what is missing, runs, draws, and writes OUT/results.md. Weights and measured cells that
    lie in OUT are not made again: an interrupted run goes on where it ended.
    """

    name: Positional[Literal["fig1", "fig2", "fig3", "table1", "table2", "fig4", "fig5", "all"]]
    """What to make."""
    data: Path
    """Folder that holds bsds500 (photographs to train on) and cbsd68 (to test on)."""
    output: Annotated[Path, arg(aliases=["-o", "--out"])]
    """Folder to write to; a quick run writes to its subfolder quick."""
    quick: bool = False
    """Small networks and crops, in about 10 minutes of 2 cores; every figure says so."""
    processes: int = 1
    """Images that are restored at once."""

    def run(self) -> int:
        """Make it."""
        check_at_least(1, "processes", self.processes)
        from locreg.paper_sections import SECTIONS, reproduce
        from locreg.reproduction import QUICK, Reproduction, Scale

        names: list[str] = list(SECTIONS) if self.name == "all" else [self.name]
        run = Reproduction(
            self.data,
            self.output / "quick" if self.quick else self.output,
            QUICK if self.quick else Scale(),
            self.processes,
            say,
        )
        print(reproduce(run, names))
        return DONE


@dataclass(frozen=True, kw_only=True)
class FitEpll:
    """Fit the Gaussian mixture of patches that EPLL needs, a method to compare with."""

    clean: tuple[Path, ...]
    """Clean images: folders, or tar files."""
    output: Output
    """File to write (.safetensors)."""
    channels: int = 3
    """3 for colour images, 1 for grey ones."""
    components: int = 200
    """Number of Gaussians."""
    patch_size: int = 8
    """Side of the patches, in pixels."""
    patches: int = 200_000
    """Number of random patches."""
    iterations: int = 40
    """Of expectation maximisation."""
    seed: int = 0
    """Of the patches and of the first assignment."""

    def run(self) -> int:
        """Fit, and write."""
        for name in ("components", "patch_size", "patches", "iterations"):
            check_at_least(1, name, getattr(self, name))
        check_at_least(0, "seed", self.seed)
        if self.channels not in (1, 3):
            raise UsageError(f"channels must be 1 or 3, got {self.channels}.")
        if self.patches < 10 * self.components:
            raise UsageError("Give at least 10 patches for each component.")
        from locreg.epll import fit_mixture, save_mixture
        from locreg.images import list_sources
        from locreg.patches import PatchPool
        from locreg.training_files import check_new_output
        from locreg.training_options import check_apart

        check_apart(self.clean)
        check_new_output(self.output)
        pool = PatchPool(
            list_sources(self.clean),
            size=self.patch_size,
            channels=self.channels,
            seed=self.seed,
        )
        mixture = fit_mixture(
            pool,
            components=self.components,
            patches=self.patches,
            iterations=self.iterations,
            seed=self.seed,
        )
        save_mixture(mixture, self.output)
        print(f"{self.output}: log-likelihood {mixture.record['log_likelihood']:.2f} per patch")
        return DONE
