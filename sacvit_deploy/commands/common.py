"""Shared by all commands: running one as a process, exit codes, and common options."""

from __future__ import annotations

import io
import math
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from sacvit_deploy.backends.device_name import DECODERS
from sacvit_deploy.backends.open import BACKENDS
from sacvit_deploy.commands.completion import complete_bundle, complete_words
from sacvit_deploy.commands.stopping import stopping_at_signals
from sacvit_deploy.console.terminal import printable, say
from sacvit_deploy.cpu import MOST_THREADS
from sacvit_deploy.errors import SacvitError, UsageError
from sacvit_deploy.images.budget import MAX_PIXELS
from sacvit_deploy.images.decode import lift_pillows_limit
from sacvit_deploy.precisions import PRECISIONS

# Libraries that only an extra installs, by import name.
EXTRAS = {"torch": "export", "onnx": "int8", "onnx_ir": "int8", "onnxscript": "export", "safetensors": "export"}
EXTRAS |= dict.fromkeys(("fastapi", "starlette", "uvicorn", "python_multipart", "prometheus_client"), "serve")
DEVICES = ("cpu", "cuda", "cuda:0", "cuda:1", "webgpu")  # offered by shells; others are taken, too
F = TypeVar("F", bound=Callable[..., Any])


def run_command(command: click.Command) -> NoReturn:
    """Run a click command as the process: an error prints one line; exit code 2 for bad usage, 1 for a failed job.

    Ctrl-C and SIGTERM end it with 130 and 143.
    """
    warnings.filterwarnings("ignore", module="PIL")  # broken EXIF and the like; real damage is an error
    stdout = sys.stdout
    for stream in (stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what can't be written there, as bytes in a file's name, is escaped
            stream.reconfigure(errors="backslashreplace")
    try:
        with stopping_at_signals():
            status = command.main(standalone_mode=False, help_option_names=["--help", "-h"])
    except UsageError as error:
        fail(str(error), 2)
    except SacvitError as error:
        fail(str(error), 1)
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in EXTRAS:
            raise
        fail(f"this needs {library}; install it with: pip install 'sacvit-deploy[{EXTRAS[library]}]'", 1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except SystemExit as error:
        # Where the reader (head, say) has gone, click replaces stdout and ends with 1; the reader has what it wanted.
        sys.exit(error.code if sys.stdout is stdout else 0)
    sys.exit(status if isinstance(status, int) else 0)


def fail(message: str, status: int) -> NoReturn:
    """Print an error on one line and exit with `status`."""
    say(f"Error: {printable(message)}", err=True)
    sys.exit(status)


def note_to_user(text: str) -> None:
    """Print a remark on stderr."""
    say(f"Note: {printable(text)}", err=True)


def finite(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """Click callback: refuse NaN and infinity, which click's ranges let through."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a finite number", ctx, param)
    return value


bundle_argument = click.argument(
    "bundle", required=False, type=click.Path(path_type=Path), shell_complete=complete_bundle
)
bundle_option = click.option(
    "--bundle",
    type=click.Path(),
    shell_complete=complete_bundle,
    help="The bundle; optional if there is just one nearby.",
)
alpha_option = click.option(
    "--alpha",
    type=float,
    help="Share of tokens (of the window's, if the model has one) that stage 2 sees in full.  [default: the bundle's]",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
device_option = click.option(
    "--device",
    "--provider",  # its name in the first versions
    "device",
    shell_complete=complete_words(DEVICES),
    help="cpu, cuda, cuda:0,cuda:1 (both), webgpu or an execution provider's name.  [default: the backend's own]",
)
threads_option = click.option(
    "--threads", type=click.IntRange(1, MOST_THREADS), help="CPU threads.  [default: as `sacvit doctor` says]"
)


def lift_limit(ctx: click.Context, param: click.Parameter, value: int | None) -> int | None:
    """Click callback: let Pillow open images as large as the user allows."""
    if value is not None:
        lift_pillows_limit(value)
    return value


max_memory_option = click.option(
    "--max-memory",
    type=click.IntRange(min=1),
    help="MB that all images being decoded may take.  [default: 2400, 600 of them for one, or half of what is free]",
)
max_pixels_option = click.option(
    "--max-pixels",
    type=click.IntRange(min=1),
    callback=lift_limit,
    help=f"Pixels of an image.  [default: {MAX_PIXELS:,}]",
)


def backend_options(function: F) -> F:
    """Add what `SACViT` takes to a command: --backend, --device, --precision, --threads, --max-memory and so on."""
    options = (
        click.option(
            "--backend",
            default="auto",
            show_default=True,
            shell_complete=complete_words(["auto", *BACKENDS]),
            help=f"auto, {', '.join(BACKENDS)}.",
        ),
        device_option,
        click.option(
            "--precision",
            default="auto",
            show_default=True,
            shell_complete=complete_words(["auto", *PRECISIONS]),
            help=f"Variant: auto, {', '.join(PRECISIONS)}.",
        ),
        threads_option,
        click.option("--capture", is_flag=True, help="On WebGPU and CUDA: record the engines' calls and replay them."),
        click.option("--device-memory", type=click.IntRange(min=1), help="MB that each engine may take, on CUDA."),
        click.option(
            "--decode",
            type=click.Choice(DECODERS),
            default="cpu",
            show_default=True,
            help="gpu decodes most JPEGs on an NVIDIA GPU; see docs/gpu.md.",
        ),
        max_memory_option,
        max_pixels_option,
    )
    for option in reversed(options):
        function = option(function)
    return function


def numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    """Click callback: read numbers separated by commas, such as `0.3,0.5`."""
    try:
        return None if value is None else tuple(float(word) for word in value.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not a list of numbers separated by commas", ctx, param) from error
