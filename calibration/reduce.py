"""From a bundle with fp32 to one whose reduced variants are calibrated, judged and told in the manifest."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from sacvit_deploy.backends.onnxruntime import OnnxRuntimeBackend
from sacvit_deploy.bundle.bundle import MANIFEST, Bundle, open_bundle
from sacvit_deploy.bundle.manifest import GLUE, Variant
from sacvit_deploy.calibration.data import Pictures, counted
from sacvit_deploy.calibration.feeds import gather
from sacvit_deploy.calibration.gate import Verdict, judge, table
from sacvit_deploy.calibration.int8 import (
    PRECISION,
    Settings,
    cache_key,
    describe,
    ranged_or_cached,
    ranked,
    read_models,
    write_int8,
)
from sacvit_deploy.calibration.outputs import Outputs, collect
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.errors import ExportError
from sacvit_deploy.export.progress import Progress
from sacvit_deploy.golden import Parity, load_golden

BUDGET = 0.5  # points a variant may lose before layers are kept in fp32, where no --max-drop says otherwise


@dataclass(frozen=True)
class Jury:
    """Pictures to judge on, and how they are called in the table. labelled pictures give accuracies."""

    pictures: Pictures
    name: str


def calibrate(pictures: Pictures, settings: Settings, court: Court, budget: float, say: Progress) -> None:
    """Write an int8 variant into the court's bundle folder, which nobody else reads yet.

    The layers that do most damage stay in fp32, more and more of them, until the golden vectors' answers are met and,
    where the jury's pictures are labelled, no accuracy falls by more than `budget` points. Raises OutputError,
    ImageError, and ExportError where half the layers are not enough.
    """
    bundle, threads = court.bundle, court.backend.threads
    folder, files = bundle.path, bundle.checked_files("fp32")
    fp32 = Cascade(court.backend, files, bundle.manifest.config)
    with say.bar(f"{len(pictures):,} calibration pictures through the fp32 cascade", len(pictures)) as advance:
        calibration = gather(fp32, pictures, eta=settings.eta, alphas=settings.alphas, advance=advance)
    for note in calibration.notes:
        say.note(f"note: {note}")
    models = read_models(files)
    key = cache_key(files, calibration, settings)
    found = ranged_or_cached(folder, models, key, calibration, settings, threads, say)
    golden = load_golden(folder / bundle.manifest.golden.path)
    order = [layer for layer, _ in ranked(found.damage)]
    keep: list[str] = []

    def write() -> tuple[Variant, Parity]:
        with say.step(f"int8 engines, {f'{len(keep)} of {len(order)} layers kept in fp32' if keep else 'all layers'}"):
            variant, parity = write_int8(folder, models, found, keep, golden, fp32)
        continued = sum(request.size for request in calibration.requests) // len(settings.alphas)
        facts = describe(found, keep, settings, len(calibration.images), continued)
        # Its engines take and give the same types as fp32's, so the glue for devices is the same.
        shared = {role: entry for role, entry in bundle.variant("fp32").files.items() if role in GLUE}
        return dataclasses.replace(variant, files={**variant.files, **shared}, report={"calibration": facts}), parity

    while True:
        variant, parity = write()
        if not parity.passed:
            trouble = f"int8 is too far from the reference, {parity.summary()}"
        elif (drop := court.hear(PRECISION, variant, say).drop) is not None and drop > budget:
            trouble = f"int8 loses {drop:.2f} points"
        else:
            break
        most = len(order) // 2  # beyond, it would be fp32 by another name
        if len(keep) >= most:
            raise ExportError(
                f"{trouble} even with {len(keep)} of {len(order)} layers in fp32; calibrate with more pictures, or "
                "allow a larger --max-drop"
            )
        keep = order[: min(max(1, 2 * len(keep)), most)]
        say.note(f"{trouble}; keeping {counted(len(keep), 'layer')} in fp32, the worst first")
    save(bundle, {PRECISION: variant})


class Court:
    """Judges a bundle's variants against fp32, running each file over the jury's pictures once."""

    def __init__(self, bundle: Bundle, jury: Jury, backend: OnnxRuntimeBackend) -> None:
        self.bundle, self.jury, self.backend = bundle, jury, backend
        self.alpha = bundle.manifest.config.method.alpha
        self.eta = bundle.manifest.eta
        self._heard: dict[str, tuple[Variant, Outputs]] = {}

    def outputs(self, precision: str, variant: Variant, say: Progress) -> Outputs:
        """What a variant, whose files lie in the bundle's folder, says of every picture."""
        known = self._heard.get(precision)
        if known is not None and known[0].files == variant.files:
            return known[1]
        files = {role: self.bundle.path / entry.path for role, entry in variant.files.items()}
        with say.step(f"{precision} on {len(self.jury.pictures):,} {self.jury.name}"):
            cascade = Cascade(self.backend, files, self.bundle.manifest.config)
            found = collect(cascade, self.jury.pictures, [self.alpha])
        if precision == "fp32":
            for what, errors in (("can't be read", found.unreadable), ("get no finite answer", found.overflowed)):
                if errors:
                    share = f"{len(errors)} of the {len(self.jury.pictures):,} {self.jury.pictures.kind}"
                    say.note(f"note: {share} to judge on {what}, such as: {errors[0]}")
        self._heard[precision] = variant, found
        return found

    def hear(self, precision: str, variant: Variant, say: Progress) -> Verdict:
        """Judge one variant."""
        reference = self.outputs("fp32", self.bundle.manifest.variants["fp32"], say)
        found = self.outputs(precision, variant, say)
        return judge(precision, found, reference, self.alpha, self.eta, labelled=self.jury.pictures.labelled)


def judge_all(court: Court, max_drop: float | None, say: Progress, show: Callable[[str], object]) -> None:
    """Judge every reduced variant of the court's bundle; write verdict and eta into its manifest.

    Raises ExportError naming the variants that lose more than `max_drop` points.
    """
    jury = court.jury
    bundle = open_bundle(court.bundle.path)  # with what was calibrated since
    verdicts = [court.hear(name, variant, say) for name, variant in _fp32_first(bundle)]
    count = len(court.outputs("fp32", bundle.manifest.variants["fp32"], say).rows)
    judged_on = f"{count:,} {jury.name}"
    show(table(verdicts, judged_on))
    changed = {}
    for verdict in verdicts[1:]:
        old = bundle.manifest.variants[verdict.precision]
        if old.eta not in (None, verdict.eta):
            say.note(f"{verdict.precision}: its default eta {old.eta:g} becomes {verdict.eta:g}")
        report = {**old.report, "judged_on": judged_on, **verdict.to_dict()}
        changed[verdict.precision] = dataclasses.replace(old, eta=verdict.eta, report=report)
    save(bundle, changed)
    worse = [v for v in verdicts[1:] if max_drop is not None and v.drop is not None and v.drop > max_drop]
    if worse:
        named = ", ".join(f"{verdict.precision} loses {verdict.drop:.2f} points" for verdict in worse)
        raise ExportError(f"{named}, more than the {max_drop:g} of --max-drop; nothing was written")


def _fp32_first(bundle: Bundle) -> list[tuple[str, Variant]]:
    return sorted(bundle.manifest.variants.items(), key=lambda item: item[0] != "fp32")


def save(bundle: Bundle, changed: dict[str, Variant]) -> None:
    """Rewrite the manifest of a bundle folder that nobody else reads yet."""
    variants = {**bundle.manifest.variants, **changed}
    manifest = dataclasses.replace(bundle.manifest, variants=variants)
    (bundle.path / MANIFEST).write_bytes(manifest.to_bytes())
