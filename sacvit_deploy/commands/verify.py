"""`sacvit verify`: are the files whole, and do they answer here as the reference did?"""

from __future__ import annotations

import json
from pathlib import Path

import click

from sacvit_deploy.backends import open_backend
from sacvit_deploy.bundle.bundle import check_file, open_bundle
from sacvit_deploy.bundle.find import find_bundle
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.golden import load_golden, measure

BATCHES = (1, 2)


@click.command("verify")
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@click.option("--backend", default="auto", show_default=True, help="auto, onnxruntime, tensorrt, tensorrt-rtx.")
@click.option("--provider", help="ONNX Runtime execution provider: cpu, cuda or a full name.  [default: cpu]")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: one a core]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(bundle: Path | None, backend: str, provider: str | None, threads: int | None, as_json: bool) -> int:
    """Check a BUNDLE's hashes, then every variant's answers on this machine against the reference's golden vectors."""
    opened = open_bundle(bundle or find_bundle())
    entries = opened.entries()
    for entry in entries:
        check_file(opened.path, entry)
    runner = open_backend(backend, provider=provider, threads=threads)
    golden = load_golden(opened.path / opened.manifest.golden.path)
    config = opened.manifest.config
    results = {}
    for precision in opened.manifest.variants:
        cascade = Cascade(runner, opened.checked_files(precision), config)
        results[precision] = measure(cascade, golden, precision, BATCHES)
    passed = all(parity.passed for parity in results.values())
    if as_json:
        parities = {precision: {"passed": p.passed, **p.to_dict()} for precision, p in results.items()}
        facts = {"bundle": str(opened.path), "files": len(entries), "passed": passed, "parity": parities}
        click.echo(json.dumps(facts))
        return 0 if passed else 1
    click.echo(f"{opened.path}: {len(entries)} files whole; {runner.description}")
    for precision, parity in results.items():
        click.echo(f"  {precision}: {'ok' if parity.passed else 'FAILED'}, {parity.summary()}")
    return 0 if passed else 1
