"""Shared by all commands: running one as a process, exit codes, and common options."""

from __future__ import annotations

import math
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from sacvit_deploy.backends.open import BACKENDS
from sacvit_deploy.errors import SacvitError, UsageError
from sacvit_deploy.precisions import PRECISIONS

# Libraries that only an extra installs, by import name.
EXTRAS = {"torch": "export", "onnx": "int8", "onnx_ir": "int8", "onnxscript": "export", "safetensors": "export"}
F = TypeVar("F", bound=Callable[..., Any])


def run_command(command: click.Command) -> NoReturn:
    """Run a click command as the process: an error prints one line; exit code 2 for bad usage, 1 for a failed job."""
    warnings.filterwarnings("ignore", module="PIL")  # broken EXIF and the like; real damage is an error
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    stdout = sys.stdout
    try:
        status = command.main(standalone_mode=False)
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
    except (click.Abort, KeyboardInterrupt):
        fail("interrupted", 130)
    except SystemExit as error:
        # Where the reader (head, say) has gone, click replaces stdout and ends with 1; the reader has what it wanted.
        sys.exit(error.code if sys.stdout is stdout else 0)
    sys.exit(status if isinstance(status, int) else 0)


def fail(message: str, status: int) -> NoReturn:
    """Print an error on one line and exit with `status`."""
    click.echo(f"Error: {message}", err=True)
    sys.exit(status)


def finite(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """Click callback: refuse NaN and infinity, which click's ranges let through."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a finite number", ctx, param)
    return value


bundle_argument = click.argument("bundle", required=False, type=click.Path(path_type=Path))
bundle_option = click.option("--bundle", type=click.Path(), help="The bundle; optional if there is just one nearby.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
provider_option = click.option(
    "--provider", help="ONNX Runtime execution provider: cpu, cuda or a full name.  [default: cpu]"
)
threads_option = click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: one per core]")


def backend_options(function: F) -> F:
    """Add --backend, --provider, --precision and --threads to a command."""
    options = (
        click.option("--backend", default="auto", show_default=True, help=f"auto, {', '.join(BACKENDS)}."),
        provider_option,
        click.option("--precision", default="auto", show_default=True, help=f"Variant: auto, {', '.join(PRECISIONS)}."),
        threads_option,
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
