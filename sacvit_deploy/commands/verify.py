"""`sacvit verify`: check a bundle's hashes, and its answers on this machine against the reference's."""

from __future__ import annotations

import json
from pathlib import Path

import click

from sacvit_deploy.backends.choose import choose_backend
from sacvit_deploy.backends.device_name import parse_device
from sacvit_deploy.backends.onnxruntime.session import load_library as load_onnxruntime
from sacvit_deploy.backends.open import BACKENDS, open_backend
from sacvit_deploy.bundle.bundle import check_file, open_bundle
from sacvit_deploy.bundle.find import find_bundle
from sacvit_deploy.bundle.plans import check_plans
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.commands.common import bundle_argument, device_option, json_option, note_to_user, threads_option
from sacvit_deploy.commands.strict import StrictCommand
from sacvit_deploy.console.terminal import say
from sacvit_deploy.console.text import counted
from sacvit_deploy.errors import BackendError, BundleError
from sacvit_deploy.images.decode import ImageSource
from sacvit_deploy.images.paths import expand
from sacvit_deploy.model import SACViT
from sacvit_deploy.verification.compare import BackendComparison, compare_models
from sacvit_deploy.verification.golden import load_golden
from sacvit_deploy.verification.parity import Parity, measure_parity

BATCHES = (1, 2)


@click.command("verify", cls=StrictCommand)
@bundle_argument
@click.option("--pictures", "images", help="Compare answers and tensors on these images, too: file, folder or glob.")
@click.option("--precision", help="Check this variant alone.  [default: all]")
@click.option("--backend", default="onnxruntime", show_default=True, help=f"{', '.join(BACKENDS)}.")
@device_option
@threads_option
@json_option
def command(
    bundle: Path | None,
    images: str | None,
    precision: str | None,
    backend: str,
    device: str | None,
    threads: int | None,
    as_json: bool,
) -> int:
    """Check a BUNDLE's hashes and its plans', then its variants' answers here against the reference's golden vectors.

    Another backend than ONNX Runtime's CPU is also compared with that in fp32, as is any with --pictures: the error of
    every tensor, the targets in common, the answers of the whole cascade.
    """
    opened = open_bundle(bundle or find_bundle())
    if backend == "auto" and device is None:
        backend, device, _ = choose_backend(opened)
    sources: list[ImageSource] = [*expand([images], note_to_user)] if images else []
    entries = opened.entries()
    for entry in entries:
        check_file(opened.path, entry)
    plans = check_plans(opened)
    runner = open_backend(backend, device=device, threads=threads)
    golden = load_golden(opened.path / opened.manifest.golden.path, opened.manifest.config)
    config = opened.manifest.config
    note = ""
    if not sources and not (backend in ("auto", "onnxruntime") and parse_device(device).is_cpu):
        try:
            opened.variant("fp32")
            load_onnxruntime()
            sources = list(golden.images)
        except (BackendError, BundleError) as error:
            note = f"not compared with fp32 on ONNX Runtime: {error}"
    parities: dict[str, Parity] = {}
    comparisons: dict[str, BackendComparison] = {}
    reference = None
    if sources:
        reference = SACViT(opened.path, backend="onnxruntime", device="cpu", precision="fp32", threads=threads)
    # Where no variant can be opened, opening the first raises the reason.
    for name in [precision] if precision else runner.precisions(opened) or list(opened.manifest.variants)[:1]:
        parities[name] = measure_parity(Cascade(runner, runner.files(opened, name), config), golden, name, BATCHES)
        if reference is not None:
            model = SACViT(opened.path, backend=backend, device=device, precision=name, threads=threads)
            comparisons[name] = compare_models(model, reference, sources)
    passed = all(parity.passed for parity in parities.values())
    if as_json:
        facts = {
            "bundle": str(opened.path),
            "files": len(entries),
            "plans": plans,
            "passed": passed,
            "parity": {name: {"passed": parity.passed, **parity.to_dict()} for name, parity in parities.items()},
            "note": note,
            "against_cpu_fp32": {name: comparison.to_dict() for name, comparison in comparisons.items()},
        }
        click.echo(json.dumps(facts))
        return 0 if passed else 1
    counts = f"{len(entries)} files" + (f" and {counted(plans, 'plan')}" if plans else "")
    say(f"{opened.path}: {counts} whole; {runner.description}")
    for name, parity in parities.items():
        say(f"  {name}: {'ok' if parity.passed else 'FAILED'}, {parity.summary()}")
        if name in comparisons:
            say(f"    {comparisons[name].summary()}")
    if note:
        say(f"  {note}")
    return 0 if passed else 1
