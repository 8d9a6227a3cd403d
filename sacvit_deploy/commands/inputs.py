"""`sacvit inputs`: what one engine is given for real images, as a script that polygraphy loads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from sacvit_deploy.arrays import Array
from sacvit_deploy.bundle.find import find_bundle
from sacvit_deploy.commands.common import alpha_option, bundle_argument, note_to_user, threads_option
from sacvit_deploy.commands.strict import StrictCommand
from sacvit_deploy.console.terminal import say
from sacvit_deploy.console.text import counted
from sacvit_deploy.contract import ROLES
from sacvit_deploy.errors import SacvitError, UsageError
from sacvit_deploy.files import whole_file
from sacvit_deploy.glue import check_eta
from sacvit_deploy.images.paths import expand
from sacvit_deploy.model import SACViT
from sacvit_deploy.precisions import PRECISIONS
from sacvit_deploy.verification.engine_inputs import engine_inputs

SCRIPT = '''"""Inputs of {role} in {precision} for polygraphy: polygraphy run ENGINE --data-loader-script {name}"""

from pathlib import Path

import numpy as np


def load_data():
    with np.load(Path(__file__).with_suffix(".npz")) as arrays:
        for batch in range({batches}):
            yield {{name: arrays[f"{{batch}}.{{name}}"] for name in {names}}}
'''


@click.command("inputs", cls=StrictCommand)
@bundle_argument
@click.option("--role", required=True, type=click.Choice(ROLES), help="The engine.")
@click.option("--pictures", "images", required=True, help="Images to take through the cascade: file, folder or glob.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="NAME.py to write, beside NAME.npz.")
@click.option("--precision", default="fp32", show_default=True, type=click.Choice(list(PRECISIONS)), help="Variant.")
@click.option("--batch", type=click.IntRange(min=1), default=8, show_default=True, help="Images of a stage-1 call.")
@click.option("--count", type=click.IntRange(min=1), default=64, show_default=True, help="Images to take, at most.")
@click.option("--eta", type=float, help="Gate: what `gather` and `sac` get.  [default: the bundle's]")
@alpha_option
@threads_option
def command(
    bundle: Path | None,
    role: str,
    images: str,
    out: Path,
    precision: str,
    batch: int,
    count: int,
    eta: float | None,
    alpha: float | None,
    threads: int | None,
) -> None:
    """Write what an engine of a BUNDLE is given for real images, for `polygraphy run --data-loader-script`.

    Random tensors of random shapes, polygraphy's own, mean nothing to an engine, and most can't run on them.
    """
    if out.suffix != ".py" or "." in out.stem:
        raise UsageError(f"--out {out} must be NAME.py, without other dots: polygraphy imports it")
    sources = expand([images], note_to_user)[:count]
    folder = bundle or find_bundle()
    model = SACViT(folder, backend="onnxruntime", provider="cpu", precision=precision, threads=threads)
    eta, targets = model.eta if eta is None else check_eta(eta), model.config.num_targets(alpha)
    batches = list(engine_inputs(model, role, sources, batch=batch, eta=eta, count=targets))
    write_loader(out, role, precision, batches)
    say(f"wrote {out} and {out.with_suffix('.npz').name}: {counted(len(batches), 'call')} of {role}")
    file = folder / model.bundle.variant(precision).files[role].path
    say(f"next: polygraphy run {file} --onnxrt --data-loader-script {out}")


def write_loader(path: Path, role: str, precision: str, batches: Sequence[Mapping[str, Array]]) -> None:
    """Write a script with `load_data`, as polygraphy imports it, and the arrays beside it. Raises SacvitError."""
    arrays: dict[str, Any] = {}
    for at, batch in enumerate(batches):
        arrays |= {f"{at}.{name}": array for name, array in batch.items()}
    names = tuple(batches[0])
    text = SCRIPT.format(role=role, precision=precision, name=path.name, batches=len(batches), names=names)
    try:
        with whole_file(path.with_suffix(".npz")) as partial, partial.open("wb") as file:
            np.savez(file, **arrays)
        with whole_file(path) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SacvitError(f"can't write {path}: {error.strerror or error}") from error
