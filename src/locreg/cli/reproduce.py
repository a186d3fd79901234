"""``locreg reproduce``: the paper's tables and figures; ``locreg fit-epll``: one of its methods."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from locreg.arguments import check_at_least
from locreg.cli.console import DONE, say
from locreg.cli.settings import Output
from locreg.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Reproduce:
    """Reproduce the tables and figures of the paper, next to the paper's own numbers.

    Trains what is missing, measures, draws, and writes results.md into the output folder. After an
    interruption the same command continues: finished weights and measurements are kept.
    """

    name: Positional[Literal["fig1", "fig2", "fig3", "table1", "table2", "fig4", "fig5", "all"]]
    """What to reproduce."""
    data: Path
    """Folder that holds bsds500 (training photographs) and cbsd68 (test photographs)."""
    output: Annotated[Path, arg(aliases=["-o", "--out"])]
    """Folder to write to; a quick run writes to its subfolder quick."""
    quick: bool = False
    """Use small networks and crops, for about 10 minutes on 2 cores; every figure says so."""
    processes: int = 1
    """Number of images to restore at the same time."""

    def run(self) -> int:
        """Train, measure, draw, and print the results."""
        check_at_least(1, "processes", self.processes)
        from locreg.evaluation.paper.run import QUICK, Reproduction, Scale
        from locreg.evaluation.paper.sections import SECTIONS, reproduce

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
    """Fit the Gaussian mixture of patches for EPLL, a method to compare with."""

    clean: tuple[Path, ...]
    """Clean images: folders or tar files."""
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
    """Number of iterations of expectation maximisation."""
    seed: int = 0
    """Seed of the patches and of the first assignment."""

    def run(self) -> int:
        """Fit the mixture and write it."""
        for name in ("components", "patch_size", "patches", "iterations"):
            check_at_least(1, name, getattr(self, name))
        check_at_least(0, "seed", self.seed)
        if self.channels not in (1, 3):
            raise UsageError(f"channels must be 1 or 3, got {self.channels}.")
        if self.patches < 10 * self.components:
            raise UsageError(
                f"{self.patches} patches are too few for {self.components} components: give at "
                "least 10 for each."
            )
        from locreg.evaluation.epll import fit_mixture, save_mixture
        from locreg.images.files import check_apart
        from locreg.images.patches import PatchPool
        from locreg.images.sources import list_sources
        from locreg.regularizer.array_file import check_new_output

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
