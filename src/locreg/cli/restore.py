"""The commands that restore images: denoise, deblur, inpaint, upscale."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import OmitArgPrefixes, Positional

from locreg.arguments import uses_gpu
from locreg.cli.console import DONE, FAILED, Progress, counted, say, show
from locreg.cli.settings import Output, Settings
from locreg.restoration.options import ANTIALIASING, Border, Pages

if TYPE_CHECKING:
    from locreg.restoration.file_tasks import FileTask


@dataclass(frozen=True, kw_only=True)
class _RestoreCommand:
    """The options that all commands for images share."""

    input: Positional[tuple[Path, ...]]
    """Image, several images, or a folder of images with all its subfolders."""
    output: Output
    """Image to write, or folder; an input is never overwritten."""
    overwrite: bool = False
    """Make results again that are in the output folder already."""
    quality: int | None = None
    """Quality of JPEG and WebP files, from 1 to 100; by default 95 for JPEG, and WebP without
    loss."""
    workers: int | None = None
    """How many images of a folder are restored at once; by default 2 for denoising on
    the processor, else 1.    Each needs memory of its own."""
    axes: str | None = None
    """Axes of TIFF files of several pages that do not say them: ZYX (depth), TYX (time) or CYX
    (channels)."""
    pages: Pages = "together"
    """together: the pages of a TIFF file have one noise level for each channel; independent: a
    level for each page, as for scans."""
    settings: OmitArgPrefixes[Settings] = field(default_factory=Settings)

    def _workers(self, task: FileTask) -> int:
        """How many images are restored at once: several would share the memory of a GPU."""
        if self.workers is not None:
            return self.workers
        return 2 if task.denoises and not uses_gpu(self.settings.device) else 1

    def _restore(self, task: FileTask) -> int:
        """Restore every image that is not there yet, and report each one."""
        from locreg.report.records import history_record, restoration_record, sentence
        from locreg.restoration.restore_files import restore_files
        from locreg.restoration.restore_image_file import Events, LoadedWeights, RestoredFile

        settings = self.settings
        options = replace(
            settings.options(),
            overwrite=self.overwrite,
            quality=self.quality,
            axes=self.axes,
            workers=self._workers(task),
            pages=self.pages,
        )
        weights = LoadedWeights(options)

        def restored(file: RestoredFile) -> None:
            record = restoration_record(file, options)
            if settings.json:
                show(json.dumps({**record, "history": history_record(file.restoration.solution)}))
            else:
                show(sentence(record))
            if file.job.page is not None:
                from locreg.report.page import write_restoration_page

                write_restoration_page(file.job.page, record, file)

        counts = restore_files(
            self.input,
            self.output,
            task,
            options,
            Events(message=say, progress=Progress, several=counted, restored=restored),
            pages=settings.report,
            weights=weights,
        )
        if counts.failed:
            say(f"{counts.failed} of {counts.total} images failed.")
        return FAILED if counts.failed else DONE


@dataclass(frozen=True, kw_only=True)
class Denoise(_RestoreCommand):
    """Remove noise from an image, or from all images of a folder.

    Bit depth, colour profile, EXIF data and transparency are kept. In a folder, images that are
    already in the output folder are skipped. Exit status 0: done; 1: something failed; 2: wrong
    usage.
    """

    def run(self) -> int:
        """Denoise every image that is not there yet."""
        from locreg.restoration.file_tasks import denoise_task

        return self._restore(denoise_task())


@dataclass(frozen=True, kw_only=True)
class Deblur(_RestoreCommand):
    """Undo a known blur of an image, or of all images of a folder.

    The scene beyond the border of a photograph is estimated too, because it was blurred into the
    photograph; this avoids ringing at the border. Exit status 0: done; 1: something failed; 2:
    wrong usage.
    """

    kernel: str
    """Blur: gaussian:SIZE:STD, uniform:SIZE, a .npy file with a matrix, or a grey image file."""
    normalize_kernel: bool = False
    """Divide a kernel from a file by its sum; a kernel from an image file needs this."""
    border: Border = "unknown"
    """unknown: estimate the scene beyond the border, as photographs need; circular: assume that the
    image wraps around, as in benchmarks."""

    def run(self) -> int:
        """Deblur every image that is not there yet."""
        from locreg.restoration.file_tasks import deblur_task

        task = deblur_task(self.kernel, normalize_kernel=self.normalize_kernel, border=self.border)
        return self._restore(task)


@dataclass(frozen=True, kw_only=True)
class Inpaint(_RestoreCommand):
    """Fill the missing pixels of an image, or of all images of a folder.

    Known pixels are denoised at the same time. Exit status 0: done; 1: something failed; 2: wrong
    usage.
    """

    mask: Path
    """Image of the same size, white where pixels are missing and black where they are known; or a
    folder with a mask for each image, under the name of the image."""

    def run(self) -> int:
        """Fill every image that is not there yet."""
        from locreg.restoration.file_tasks import inpaint_task

        return self._restore(inpaint_task(self.mask))


@dataclass(frozen=True, kw_only=True)
class Upscale(_RestoreCommand):
    """Enlarge an image, or all images of a folder, by a whole factor.

    The small image is assumed to be the large one after Gaussian smoothing and sampling. Exit
    status 0: done; 1: something failed; 2: wrong usage.
    """

    factor: int = 2
    """How many times larger the result is: a whole number of at least 2."""
    antialiasing: float = ANTIALIASING
    """How strongly the small image was smoothed: standard deviation of the Gaussian, in pixels of
    the small image, from 0.1 to 1. Larger values sharpen more, but put rims on edges that are sharp
    already."""

    def run(self) -> int:
        """Enlarge every image that is not there yet."""
        from locreg.restoration.file_tasks import upscale_task

        return self._restore(upscale_task(self.factor, antialiasing=self.antialiasing))
