"""What all commands share: how errors end them, how a signal ends them, and the options they have in common."""

from __future__ import annotations

import math
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import click

from sacvit_deploy.backends.open import BACKENDS
from sacvit_deploy.errors import SacvitError, UsageError
from sacvit_deploy.precisions import PRECISIONS

# Libraries that only an extra installs.
EXTRAS = {"torch": "export", "onnx": "int8", "onnx_ir": "int8", "onnxscript": "export", "safetensors": "export"}
F = TypeVar("F", bound=Callable[..., Any])


def run(command: click.Command) -> NoReturn:
    """Run a click command as the process: exit code 0, 2 for bad usage, 1 for a failed job, one line for an error."""
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
        # Where the reader (head, say) has gone, click replaces stdout and ends with 1; what it wanted it has.
        sys.exit(error.code if sys.stdout is stdout else 0)
    sys.exit(status if isinstance(status, int) else 0)


def fail(message: str, status: int) -> NoReturn:
    """Print one line and exit."""
    click.echo(f"Error: {message}", err=True)
    sys.exit(status)


def finite(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """Refuse NaN and infinity, which click's ranges let through; a click callback."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is no number to compare with", ctx, param)
    return value


def bundle_option(function: F) -> F:
    """--bundle."""
    return click.option("--bundle", type=click.Path(), help="The bundle; found by itself if there is just one near.")(
        function
    )


def backend_options(function: F) -> F:
    """--backend, --provider, --precision, --threads."""
    options = (
        click.option("--backend", default="auto", show_default=True, help=f"auto, {', '.join(BACKENDS)}."),
        click.option("--provider", help="ONNX Runtime execution provider: cpu, cuda or a full name.  [default: cpu]"),
        click.option("--precision", default="auto", show_default=True, help=f"Variant: auto, {', '.join(PRECISIONS)}."),
        click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: one a core]"),
    )
    for option in reversed(options):
        function = option(function)
    return function


def numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    """Read numbers separated by commas, `0.3,0.5`; a click callback."""
    try:
        return None if value is None else tuple(float(word) for word in value.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not a list of numbers separated by commas", ctx, param) from error
