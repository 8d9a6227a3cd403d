"""Fixtures of the export tests: a few small models, each exported once."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from sacvit_deploy.backends.onnxruntime.backend import OnnxRuntimeBackend
from sacvit_deploy.bundle.bundle import Bundle, open_bundle
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.config import Geometry, ModelConfig
from sacvit_deploy.console.progress import Progress
from sacvit_deploy.export.checkpoint import load_checkpoint, save_checkpoint
from sacvit_deploy.export.families import two_table_method
from sacvit_deploy.export.model import ReferenceSACViT
from sacvit_deploy.export.pipeline import ExportRequest, export_bundle
from sacvit_deploy.export.reference import make_golden, shipped_images
from sacvit_deploy.verification.golden import Golden

from .making import cf_vit_weights, config_of, deit_weights, lively_model


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Run on one thread, as several slow such small models down, the more so on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Exported:
    """Checkpoint, the reference loaded from it, and the bundle, which tests share: write nothing into it."""

    checkpoint: Path
    model: ReferenceSACViT
    bundle: Bundle
    golden: Golden
    output: str

    @property
    def config(self) -> ModelConfig:
        return self.model.config

    @property
    def precisions(self) -> tuple[str, ...]:
        return tuple(self.bundle.manifest.variants)

    def file(self, role: str, precision: str) -> Path:
        return self.bundle.path / self.bundle.variant(precision).files[role].path

    def cascade(self, precision: str) -> Cascade:
        return Cascade(OnnxRuntimeBackend("cpu", 1), self.bundle.checked_files(precision), self.config)


def _write_plain(path: Path) -> None:
    model = lively_model(config_of(width=192, heads=3, depth=2, classes=10))
    save_checkpoint(path, model, labels=[f"thing {number}" for number in range(10)], eta=0.625)


def _write_cf_vit(path: Path) -> None:
    torch.save({"model": cf_vit_weights(288, width=128)}, path)


def _write_deit(path: Path) -> None:
    torch.save({"model": deit_weights(224)}, path)


def _write_other(path: Path) -> None:
    fields = {"class_token": "union", "background": "features", "fusion": "expand", "score_first_block": 1}
    save_checkpoint(path, lively_model(config_of(width=64, heads=4, depth=2, **fields)))


def _write_lf_vit(path: Path) -> None:
    model = ReferenceSACViT(
        ModelConfig(Geometry(288, width=128, depth=2, heads=2, classes=5), two_table_method("lf-vit"))
    )
    model.load_state_dict(cf_vit_weights(288, width=128))
    save_checkpoint(path, model)


# Between them: both sizes, both precisions, and every choice of the method that changes a graph.
MODELS: dict[str, tuple[Callable[[Path], None], str, tuple[str, ...]]] = {
    "plain": (_write_plain, "plain.safetensors", ("fp32", "fp16")),
    "cf-vit-288": (_write_cf_vit, "cf_vit.pth", ("fp32",)),
    "lf-vit-288": (_write_lf_vit, "lf_vit.safetensors", ("fp32",)),
    "deit": (_write_deit, "deit.pth", ("fp16",)),
    "union-features-expand": (_write_other, "other.safetensors", ("fp32",)),
}
VARIANTS = [(name, precision) for name, (_, _, precisions) in MODELS.items() for precision in precisions]


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Exported]:
    """Export a model of MODELS on first use."""
    done: dict[str, Exported] = {}

    def export(name: str) -> Exported:
        if name not in done:
            write, file, precisions = MODELS[name]
            path = tmp_path_factory.mktemp("export") / file
            write(path)
            checkpoint = load_checkpoint(path)
            output = io.StringIO()
            target = path.with_suffix(".sacvit")
            export_bundle(checkpoint, ExportRequest(target, precisions), Progress(output))
            golden = make_golden(checkpoint.model, shipped_images())
            done[name] = Exported(path, checkpoint.model, open_bundle(target), golden, output.getvalue())
        return done[name]

    return export


@pytest.fixture(scope="session")
def plain(exports: Callable[[str], Exported]) -> Exported:
    """Export the default method at 224, in fp32 and fp16."""
    return exports("plain")
