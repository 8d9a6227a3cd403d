"""A bundle as a model repository: `ee`, `sac`, and the model that calls them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from sacvit_deploy.bundle.bundle import MANIFEST, Bundle
from sacvit_deploy.bundle.external_weights import with_weights_inside
from sacvit_deploy.bundle.held import hold
from sacvit_deploy.bundle.plans import PlanRecord, incompatibilities, list_plans
from sacvit_deploy.commands.pack import copy_checked, pack_bundle
from sacvit_deploy.contract import STAGES
from sacvit_deploy.errors import BundleError, UsageError
from sacvit_deploy.glue import check_eta
from sacvit_deploy.serving.triton.layout import BUNDLE, CASCADE, CONFIG, MAX_MEMORY, MAX_PIXELS, VERSION
from sacvit_deploy.serving.triton.model_config import FILES, Serving, cascade_config, stage_config
from sacvit_deploy.serving.triton.pbtxt import Message, to_pbtxt

# All that a model.py holds: the code is the installed package's.
MODEL = '''"""Loaded by Triton's Python backend, in whose Python sacvit-deploy must be installed."""

from sacvit_deploy.serving.triton.{module} import {name} as TritonPythonModel  # noqa: F401
'''
TENSORRT = "tensorrt"


@dataclass(frozen=True)
class RepositoryRequest:
    """What to write. stages: how `ee` and `sac` are served; cascade: how the model that calls them is.

    eta, alpha: defaults for requests that name none; None takes the bundle's. plans: folder name of the plans to take.
    max_pixels, max_memory: limits of an image, `SACViT`'s; None for the defaults.
    """

    precision: str
    ee: Serving
    sac: Serving
    cascade: Serving
    eta: float | None = None
    alpha: float | None = None
    plans: str | None = None
    max_pixels: int | None = None
    max_memory: int | None = None

    def bounds(self) -> dict[str, int]:
        """Return the limits of an image that are not the defaults."""
        given = {MAX_PIXELS: self.max_pixels, MAX_MEMORY: self.max_memory}
        return {name: value for name, value in given.items() if value is not None}


def write_repository(bundle: Bundle, request: RepositoryRequest, folder: Path) -> RepositoryRequest:
    """Write the models into an empty folder, and return what was asked for with what the plans allow.

    Raises BundleError, UsageError.
    """
    manifest, config, precision = bundle.manifest, bundle.manifest.config, request.precision
    bundle.variant(precision)
    eta = check_eta(manifest.eta_of(precision) if request.eta is None else request.eta)
    alpha = config.method.alpha if request.alpha is None else request.alpha
    count = config.num_targets(alpha)
    for path in folder.iterdir():  # of a try that found the bundle replaced
        shutil.rmtree(path)
    plans: tuple[Path, PlanRecord] | None = None
    if request.ee.backend == TENSORRT:
        plans = choose_plans(bundle, precision, request.plans)
        request = _within(request, plans[1], count)
    held = bundle.held_files(precision, for_gpu=request.ee.gpu) if request.ee.backend == "onnxruntime" else {}
    for role, serving in zip(STAGES, (request.ee, request.sac), strict=True):
        # Triton refuses a plan that gives an output which its config does not have.
        optional = plans[1].plans[role].facts.get("outputs", ()) if plans else ()
        place = _model(folder, role, stage_config(role, config, precision, serving, optional, count))
        if serving.backend == "python":
            _write_python(place, "stage_model", "StageModel")
            (place / BUNDLE).mkdir()
            pack_bundle(bundle, precision, place / BUNDLE)
        elif plans:
            entry = plans[1].plans[role].file
            (place / FILES[TENSORRT]).write_bytes(hold(plans[0] / entry.path, entry, "build the plans again").data.data)
        else:
            (place / FILES["onnxruntime"]).write_bytes(with_weights_inside(held[role], held.get("weights")))
    targets = (plans[1].targets[0], plans[1].targets[2]) if plans else None
    called = cascade_config(config, precision, eta, alpha, request.cascade, targets, request.bounds())
    place = _model(folder, CASCADE, called)
    _write_python(place, "cascade_model", "CascadeModel")
    _copy_facts(bundle, place / BUNDLE)
    return request


def choose_plans(bundle: Bundle, precision: str, name: str | None) -> tuple[Path, PlanRecord]:
    """Return TensorRT's plan folder of a precision, the only one or the one of that name. Raises BundleError.

    Whether it fits the server's GPU and library is not checked here, on another machine: Triton refuses it there.
    """
    command = f"sacvit build {bundle.path} --runtime {TENSORRT} --precision {precision}"
    found = {
        path.name: (path, record)
        for path, record in list_plans(bundle)
        if record.place.runtime == TENSORRT and record.precision == precision
    }
    if name is None and len(found) > 1:
        raise UsageError(f"{bundle.path} has {precision} plans for several machines; name one: --plans {min(found)}")
    if not found or name not in (None, *found):
        missing = f"no {precision} plans for {TENSORRT}" if name is None else f"no {precision} plans {name}"
        raise BundleError(f"{bundle.path} has {missing}; build them with: {command}")
    path, record = next(iter(found.values())) if name is None else found[name]
    if stale := [why for why in incompatibilities(record, bundle, record.place)]:
        raise BundleError(f"{path} was {stale[0]}; build the plans anew with: {command}")
    return path, record


def _within(request: RepositoryRequest, record: PlanRecord, count: int) -> RepositoryRequest:
    """Return a request with the batches that the plans take, and their profile for whole batches. Raises UsageError."""
    low, _, high = record.targets
    if not low <= count <= high:
        raise UsageError(f"the plans take {low} to {high} targets, and this alpha has {count}; give another --alpha")
    least, _, most = record.batch
    if least > 1:
        raise UsageError(
            f"the plans take batches of {least} and more, and Triton also makes smaller ones; build from 1 on"
        )

    def fitted(role: str, serving: Serving) -> Serving:
        return replace(serving, batch=min(serving.batch, most), profile=len(record.plans[role].profiles) - 1)

    cascade = replace(request.cascade, batch=min(request.cascade.batch, most))
    return replace(request, ee=fitted("ee", request.ee), sac=fitted("sac", request.sac), cascade=cascade)


def _model(folder: Path, name: str, config: Message) -> Path:
    """Make a model's folder with its config, and return the folder of its version."""
    place = folder / name / VERSION
    place.mkdir(parents=True)
    (folder / name / CONFIG).write_text(to_pbtxt(config), encoding="utf-8")
    return place


def _write_python(place: Path, module: str, name: str) -> None:
    (place / FILES["python"]).write_text(MODEL.format(module=module, name=name), encoding="utf-8")


def _copy_facts(bundle: Bundle, folder: Path) -> None:
    """Copy a bundle's manifest and class names, all that is read of it where other models run its engines."""
    folder.mkdir()
    copy_checked(bundle.path, bundle.manifest.labels, folder)
    (folder / MANIFEST).write_bytes(bundle.manifest.to_bytes())
