"""`sacvit pack`: a bundle of one precision, with what a runtime opens and nothing else."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import click

from sacvit_deploy.bundle.bundle import MANIFEST, SUFFIX, Bundle, describe_file, read_steadily
from sacvit_deploy.bundle.held import hold
from sacvit_deploy.bundle.manifest import FileEntry, Manifest
from sacvit_deploy.bundle.plans import FOLDER, RECORD, list_plans
from sacvit_deploy.bundle.write import whole_folder
from sacvit_deploy.commands.strict import StrictCommand
from sacvit_deploy.console.terminal import say
from sacvit_deploy.contract import BASELINE, FOR_GPU
from sacvit_deploy.errors import UsageError
from sacvit_deploy.precisions import PRECISIONS
from sacvit_deploy.verification.golden import Golden, load_golden

# Roles that no runtime opens: they are for benchmarks and for calibrating again.
UNUSED = (BASELINE, BASELINE + FOR_GPU, "ranges")
MARK = "packed: "  # prefix of the note that says what is not in the folder


@click.command("pack", cls=StrictCommand)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--precision", required=True, type=click.Choice(list(PRECISIONS)), help="The variant to keep.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help=f"Bundle to write: NAME{SUFFIX}.")
@click.option("--force", is_flag=True, help="Replace an existing bundle.")
def command(bundle: Path, precision: str, out: Path, force: bool) -> None:
    """Write a smaller copy of a BUNDLE, to ship: one variant and its plans, without the baseline of benchmarks.

    Its answers are the same to the last bit, and `sacvit verify` checks it. What compares with fp32 or with a plain
    DeiT (calibrate, bench) needs the whole bundle.
    """
    if out.suffix != SUFFIX:
        raise UsageError(f"--out {out} must end in {SUFFIX}")
    with whole_folder(out, replace=force) as folder:
        read_steadily(bundle, lambda opened: pack_bundle(opened, precision, folder))
    whole, packed = folder_size(bundle), folder_size(out)
    say(f"wrote {out}: {precision} alone, {packed / 1e6:.2f} MB of {whole / 1e6:.2f} MB")


def pack_bundle(bundle: Bundle, precision: str, folder: Path) -> Manifest:
    """Write a bundle with one variant of another into a folder, in place of what is in it, and return its manifest.

    Engines, weights and labels are copied byte for byte, and so are the plans of that precision. Raises BundleError for
    a variant that is not there and for a damaged file.
    """
    manifest, variant = bundle.manifest, bundle.variant(precision)
    files = {role: entry for role, entry in variant.files.items() if role not in UNUSED}
    for path in folder.iterdir():  # of a try that found the bundle replaced
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for entry in {manifest.labels, manifest.golden, *files.values()}:
        copy_checked(bundle.path, entry, folder)
    golden = folder / manifest.golden.path
    thin(load_golden(golden, manifest.config)).save(golden)
    copy_plans(bundle, precision, folder)
    notes = [note for note in manifest.provenance.get("notes", []) if not str(note).startswith(MARK)]
    packed = dataclasses.replace(
        manifest,
        golden=describe_file(golden),
        variants={precision: dataclasses.replace(variant, files=files)},
        provenance={**manifest.provenance, "notes": [*notes, f"{MARK}{precision} alone, without the baseline"]},
    )
    (folder / MANIFEST).write_bytes(packed.to_bytes())
    return packed


def copy_checked(source: Path, entry: FileEntry, target: Path, remedy: str = "export the bundle again") -> None:
    """Copy a file from one folder into another: the bytes that were checked. Raises BundleError."""
    (target / entry.path).write_bytes(hold(source / entry.path, entry, remedy).data.data)


def thin(golden: Golden) -> Golden:
    """Leave out all random images but the first: noise can't be compressed, and real images judge every batch size."""
    first = golden.kinds.index("random") if "random" in golden.kinds else -1
    return golden.pick([row for row, kind in enumerate(golden.kinds) if kind != "random" or row == first])


def copy_plans(bundle: Bundle, precision: str, folder: Path) -> None:
    """Copy a precision's plans, without those of engines that are left out: they would have nothing to be checked by.

    Raises BundleError for a damaged plan.
    """
    for source, record in list_plans(bundle):
        if record.precision != precision:
            continue
        kept = dataclasses.replace(record, plans={role: p for role, p in record.plans.items() if role not in UNUSED})
        target = folder / FOLDER / source.name
        target.mkdir(parents=True)
        for plan in kept.plans.values():
            copy_checked(source, plan.file, target, "build the plans again with sacvit build")
        (target / RECORD).write_bytes(kept.to_bytes())


def folder_size(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
