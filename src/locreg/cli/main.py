"""The command line: parse, call, show. No mathematics, and no heavy import before it is needed."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from io import TextIOWrapper
from typing import Any

import tyro

from locreg.cli.console import DONE, FAILED, WRONG_USAGE, discard_output, say
from locreg.cli.evaluate import Evaluate
from locreg.cli.inspect import Export, Info, Score
from locreg.cli.reproduce import FitEpll, Reproduce
from locreg.cli.restore import Deblur, Denoise, Inpaint, Upscale
from locreg.cli.train import ImportLocalreg, Refine, Train, TrainDenoiser, TrainRidge
from locreg.cli.two_folders import Restore
from locreg.errors import (
    INSTALL_PYTORCH,
    LocregError,
    UsageError,
    is_about_pytorch,
    out_of_memory_is,
)
from locreg.version import __version__

_TOO_LARGE = (
    "the memory of the device is too small: use smaller images, a smaller --batch, --patch-size or "
    "--filters, or another --device."
)

_COMMANDS: dict[str, Callable[..., Any]] = {
    "denoise": Denoise,
    "deblur": Deblur,
    "inpaint": Inpaint,
    "upscale": Upscale,
    "restore": Restore,
    "score": Score,
    "train": Train,
    "train-ridge": TrainRidge,
    "train-denoiser": TrainDenoiser,
    "refine": Refine,
    "import-localreg": ImportLocalreg,
    "info": Info,
    "export": Export,
    "evaluate": Evaluate,
    "fit-epll": FitEpll,
    "reproduce": Reproduce,
}


def main() -> None:
    """Entry point of the ``locreg`` command. Exit status: 0 done, 1 something failed, 2 usage."""
    _keep_freed_memory()
    # Numpy is not loaded yet. The threads of its matrix products wait for work in a loop, on cores
    # that the tiles of images need, and little is multiplied here.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for stream in (sys.stdout, sys.stderr):  # file names may be invalid UTF-8
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # Treat SIGTERM like Ctrl+C, so that batch systems stop us cleanly.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if sys.argv[1:] == ["--version"]:
        print(f"locreg {__version__}")
        sys.exit(DONE)
    try:
        command = tyro.extras.subcommand_cli_from_dict(
            _COMMANDS,
            prog="locreg",
            description="Learned local regularization for image restoration. `locreg --version` "
            "prints the installed version.",
        )
        with out_of_memory_is(_TOO_LARGE):
            status = command.run()
    except ModuleNotFoundError as error:
        if not is_about_pytorch(error):
            raise
        say(f"error: this needs PyTorch: {INSTALL_PYTORCH}")
        status = FAILED
    except UsageError as error:
        say(f"error: {error}")
        status = WRONG_USAGE
    except LocregError as error:
        say(f"error: {error}")
        status = FAILED
    except BrokenPipeError:  # the reader of the output, such as head, has stopped
        discard_output()
        status = DONE
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        say(f"error: {where}{error.strerror or error}.")
        status = FAILED
    except KeyboardInterrupt:
        say("interrupted.")
        status = 130
    sys.exit(status)


def _keep_freed_memory() -> None:
    """Ask glibc to keep freed memory instead of returning it to the system between two layers.

    Mapping the memory again for every layer of a critic costs a quarter of the time of a gradient.
    The setting affects the whole process, so the command makes it and the library does not.
    """
    if sys.platform == "linux":
        import ctypes

        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
        if mallopt is not None:
            trim_threshold, mmap_threshold = -1, -3
            mallopt(mmap_threshold, 32 << 20)
            mallopt(trim_threshold, 2**31 - 1)
