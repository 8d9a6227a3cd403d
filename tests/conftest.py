"""Fixtures shared by all tests: one tiny random SAC-ViT as checkpoint, reference model and exported bundle."""

from __future__ import annotations

import dataclasses
import io
import shutil
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import onnx
import pytest
import torch
from hypothesis import settings
from onnx import TensorProto, helper

from sacvit_deploy import SACViT
from sacvit_deploy.backends.telemetry import silence_onnxruntime, silence_openvino
from sacvit_deploy.bundle.bundle import MANIFEST, describe_file, open_bundle
from sacvit_deploy.bundle.manifest import Manifest, read_manifest
from sacvit_deploy.config import Geometry, ModelConfig
from sacvit_deploy.console.progress import Progress
from sacvit_deploy.export.checkpoint import load_checkpoint, save_checkpoint
from sacvit_deploy.export.model import ReferenceSACViT
from sacvit_deploy.export.modules import random_model
from sacvit_deploy.export.pipeline import ExportRequest, export_bundle

# Some tests import the libraries themselves.
silence_onnxruntime()
silence_openvino()

# No deadline for an example: the first call of a library, or a busy machine, is no failure.
settings.register_profile("sacvit", deadline=None)
settings.load_profile("sacvit")

TINY = ModelConfig(Geometry(image_size=224, width=64, depth=2, heads=1, classes=10))
LABELS = [f"thing {number}" for number in range(TINY.geometry.classes)]
ETA = 0.6  # splits the photographs: some exit, some continue


# What takes long to make: exports (torch's takes 50 s of CPU time for one model in two precisions), and training runs.
# Without them, the recorded bundle in tests/data/before is what the runtime is tested on.
SLOW_FIXTURES = {"tiny_bundle", "exports", "variants", "engines", "finished"}
# Rooms whose tests share fixtures that take long to make.
SHARED_ROOMS = {"calibration", "engines", "evaluation", "export"}


@pytest.hookimpl(tryfirst=True)  # before `-m "not slow"` is looked at
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need such a fixture as slow, so that `make check` leaves them out.

    With several processes (`-n 2`) a file's tests stay in one, and a room's where its fixtures take long to make.
    """
    for item in items:
        room, _, rest = item.nodeid.partition("::")[0].removeprefix("tests/").partition("/")
        item.add_marker(pytest.mark.xdist_group(room if room in SHARED_ROOMS else f"{room}/{rest}"))
        if SLOW_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of our own format, with random weights."""
    model = random_model(TINY, seed=3)
    with torch.no_grad():
        # Fresh weights are so small that all pictures look alike and stage 2 only repeats stage 1. With these factors
        # stage 1 gives the photographs probabilities from 0.5 to 0.98, and stage 2 contradicts it on some.
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and name.startswith(("blocks", "reuse_block")):
                parameter.mul_(6)
        model.pos_embed.mul_(10)
        model.patch_embed.proj.weight.mul_(4)
        model.head.weight.mul_(20)
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    save_checkpoint(path, model, labels=LABELS, eta=ETA, provenance={"data": "none, random weights"})
    return path


@pytest.fixture(scope="session")
def reference_model(tiny_checkpoint: Path) -> ReferenceSACViT:
    """The torch reference with the checkpoint's weights, in eval mode."""
    return load_checkpoint(tiny_checkpoint).model


@pytest.fixture(scope="session")
def tiny_bundle(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint exported in fp32 and fp16. Shared: never change a file in it, take `bundle_copy`."""
    target = tmp_path_factory.mktemp("bundle") / "tiny.sacvit"
    request = ExportRequest(target, precisions=("fp32", "fp16"), threads=2)
    export_bundle(load_checkpoint(tiny_checkpoint), request, Progress(io.StringIO()))
    return target


@pytest.fixture
def bundle_copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the bundle to damage."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "copy" / "tiny.sacvit"))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of seven small photographs, `0.jpg` .. `6.jpg`; shared, so write nothing into it."""
    folder = tmp_path_factory.mktemp("pictures")
    for entry in (resources.files("sacvit_deploy.export") / "pictures").iterdir():
        if entry.name.endswith(".jpg"):
            (folder / entry.name).write_bytes(entry.read_bytes())
    return folder


@pytest.fixture(scope="session")
def image_paths(pictures: Path) -> list[Path]:
    """The photographs in the order of their names."""
    return sorted(pictures.iterdir())


@pytest.fixture(scope="session")
def model(tiny_bundle: Path) -> SACViT:
    """The bundle opened in fp32 on one thread."""
    return SACViT(tiny_bundle, precision="fp32", threads=1)


@pytest.fixture(scope="session")
def easy(model: SACViT, image_paths: list[Path]) -> Path:
    """A photograph that exits at the bundle's eta."""
    path = max(image_paths, key=lambda path: model.predict(path).stage_one_probability)
    assert model.predict(path).stage == 1
    return path


@pytest.fixture(scope="session")
def hard(model: SACViT, image_paths: list[Path]) -> Path:
    """A photograph that continues at the bundle's eta."""
    path = min(image_paths, key=lambda path: model.predict(path).stage_one_probability)
    assert model.predict(path).stage == 2
    return path


@pytest.fixture
def edit_manifest() -> Callable[[Path, Callable[[Manifest], Manifest]], None]:
    """Rewrite a bundle's manifest through a function, with a digest that fits: what a careful forger would do."""

    def edit(bundle: Path, change: Callable[[Manifest], Manifest]) -> None:
        manifest = read_manifest(bundle / MANIFEST)
        (bundle / MANIFEST).write_bytes(change(manifest).to_bytes())

    return edit


@pytest.fixture
def rehash(edit_manifest: Callable[[Path, Callable[[Manifest], Manifest]], None]) -> Callable[[Path], None]:
    """Bring a bundle's manifest up to date with its changed files, so that only the change itself is left to notice."""

    def update(bundle: Path) -> None:
        def change(manifest: Manifest) -> Manifest:
            variants = {
                precision: dataclasses.replace(
                    variant, files={role: describe_file(bundle / entry.path) for role, entry in variant.files.items()}
                )
                for precision, variant in manifest.variants.items()
            }
            return dataclasses.replace(
                manifest,
                variants=variants,
                labels=describe_file(bundle / manifest.labels.path),
                golden=describe_file(bundle / manifest.golden.path),
            )

        edit_manifest(bundle, change)
        open_bundle(bundle)

    return update


@pytest.fixture
def spoil() -> Callable[..., None]:
    """Make an fp32 engine file give NaN logits for pictures brighter than any photograph, and only for those.

    It adds 0 * log(limit - mean(input)) to the logits; a very low limit spoils all pictures.
    """

    def change(path: Path, limit: float = 2.0) -> None:
        model = onnx.load(path, load_external_data=False)
        graph = model.graph
        source = graph.input[0]  # `image` or `patches`
        axes = list(range(1, len(source.type.tensor_type.shape.dim)))
        for node in graph.node:
            for at, name in enumerate(node.output):
                if name == "logits":
                    node.output[at] = "sound_logits"
        graph.node.extend(
            [
                helper.make_node("ReduceMean", [source.name, "spoil_axes"], ["spoil_mean"], keepdims=0),
                helper.make_node("Sub", ["spoil_limit", "spoil_mean"], ["spoil_rest"]),
                helper.make_node("Log", ["spoil_rest"], ["spoil_log"]),
                helper.make_node("Mul", ["spoil_log", "spoil_zero"], ["spoil_row"]),
                helper.make_node("Unsqueeze", ["spoil_row", "spoil_last"], ["spoil_column"]),
                helper.make_node("Add", ["sound_logits", "spoil_column"], ["logits"]),
            ]
        )
        graph.initializer.extend(
            [
                helper.make_tensor("spoil_axes", TensorProto.INT64, [len(axes)], axes),
                helper.make_tensor("spoil_last", TensorProto.INT64, [1], [1]),
                helper.make_tensor("spoil_limit", TensorProto.FLOAT, [], [limit]),
                helper.make_tensor("spoil_zero", TensorProto.FLOAT, [], [0.0]),
            ]
        )
        path.write_bytes(model.SerializeToString())

    return change
