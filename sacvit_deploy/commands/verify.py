"""`sacvit verify`: are the files whole, and do they answer here as the reference did?"""

from __future__ import annotations

import json
from pathlib import Path

import click

from sacvit_deploy.backends.choose import choose_backend, is_cpu
from sacvit_deploy.backends.onnxruntime.session import load_library as load_onnxruntime
from sacvit_deploy.backends.open import BACKENDS, open_backend
from sacvit_deploy.bundle.bundle import check_file, open_bundle
from sacvit_deploy.bundle.find import find_bundle
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.errors import BackendError
from sacvit_deploy.images.decode import ImageSource
from sacvit_deploy.images.paths import expand
from sacvit_deploy.verification.compare import BackendComparison, compare_bundle
from sacvit_deploy.verification.golden import load_golden
from sacvit_deploy.verification.parity import Parity, measure_parity

BATCHES = (1, 2)


@click.command("verify")
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@click.option("--pictures", help="Compare answers and every tensor on these, too: file, folder or glob.")
@click.option("--precision", help="This variant alone.  [default: all]")
@click.option("--backend", default="onnxruntime", show_default=True, help=f"{', '.join(BACKENDS)}.")
@click.option("--provider", help="ONNX Runtime execution provider: cpu, cuda or a full name.  [default: cpu]")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: one a core]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    bundle: Path | None,
    pictures: str | None,
    precision: str | None,
    backend: str,
    provider: str | None,
    threads: int | None,
    as_json: bool,
) -> int:
    """Check a BUNDLE's hashes, then its variants' answers on this machine against the reference's golden vectors.

    On a backend other than ONNX Runtime's CPU, and with --pictures, also against that in fp32: the error of every
    tensor, the targets in common, the answers of the whole cascade.
    """
    opened = open_bundle(bundle or find_bundle())
    if backend == "auto" and provider is None:
        backend, _ = choose_backend(opened)
    sources: list[ImageSource] = [*expand([pictures])] if pictures else []
    entries = opened.entries()
    for entry in entries:
        check_file(opened.path, entry)
    runner = open_backend(backend, provider=provider, threads=threads)
    golden = load_golden(opened.path / opened.manifest.golden.path)
    config = opened.manifest.config
    note = ""
    if not sources and not (backend in ("auto", "onnxruntime") and is_cpu(provider)):
        try:
            load_onnxruntime()
            sources = list(golden.images)
        except BackendError as error:
            note = f"not compared with fp32 on ONNX Runtime: {error}"
    parities: dict[str, Parity] = {}
    comparisons: dict[str, BackendComparison] = {}
    # Where no variant can be opened, the first says why.
    for name in [precision] if precision else runner.precisions(opened) or list(opened.manifest.variants)[:1]:
        parities[name] = measure_parity(Cascade(runner, runner.files(opened, name), config), golden, name, BATCHES)
        if sources:
            comparisons[name] = compare_bundle(opened.path, backend, provider, name, sources, threads)
    passed = all(parity.passed for parity in parities.values())
    if as_json:
        parity = {name: {"passed": its.passed, **its.to_dict()} for name, its in parities.items()}
        against = {name: its.to_dict() for name, its in comparisons.items()}
        facts = {"bundle": str(opened.path), "files": len(entries), "passed": passed, "parity": parity, "note": note}
        click.echo(json.dumps({**facts, "against_cpu_fp32": against}))
        return 0 if passed else 1
    click.echo(f"{opened.path}: {len(entries)} files whole; {runner.description}")
    for name, its in parities.items():
        click.echo(f"  {name}: {'ok' if its.passed else 'FAILED'}, {its.summary()}")
        if name in comparisons:
            click.echo(f"    {comparisons[name].summary()}")
    if note:
        click.echo(f"  {note}")
    return 0 if passed else 1
