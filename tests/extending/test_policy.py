"""CONTRIBUTING's recipe for a second-stage policy: its name, and one function in numpy and in torch."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sacvit_deploy import BundleError, SACViT, config, selection
from sacvit_deploy.arrays import Array
from sacvit_deploy.config import Method, ModelConfig
from sacvit_deploy.console.progress import Progress
from sacvit_deploy.errors import UsageError
from sacvit_deploy.export import policies
from sacvit_deploy.export.checkpoint import load_checkpoint, save_checkpoint
from sacvit_deploy.export.pipeline import ExportRequest, export_bundle
from tests.data import record

NAME = "last_m"


def last(scores: Array, count: int, config: ModelConfig) -> Array:
    """Prefer the tokens at the end, whatever their scores."""
    return np.broadcast_to(np.arange(scores.shape[1], dtype=np.float32), scores.shape)


def last_in_torch(scores: torch.Tensor, count: int, config: ModelConfig) -> torch.Tensor:
    return 0 * scores + torch.arange(scores.shape[1]).float()


def register(patch: pytest.MonkeyPatch) -> None:
    """The recipe's three changes."""
    patch.setattr(config, "SELECTIONS", (*config.SELECTIONS, NAME))
    patch.setitem(selection.PREFERENCES, NAME, last)
    patch.setitem(policies.PREFERENCES, NAME, last_in_torch)


@pytest.mark.slow
def test_a_bundle_selects_by_it_on_the_host_and_in_its_gather_engine(tmp_path: Path) -> None:
    """The export itself holds the host's glue and the `gather` engine against each other and the reference."""
    bundle = tmp_path / "policy.sacvit"
    with pytest.MonkeyPatch.context() as patch:
        register(patch)
        checkpoint = load_checkpoint(record.TINY)
        model = checkpoint.model
        model.config = dataclasses.replace(
            model.config, method=dataclasses.replace(model.config.method, selection=NAME)
        )
        save_checkpoint(tmp_path / "policy.safetensors", model, labels=checkpoint.labels, eta=checkpoint.eta)
        source = tmp_path / "policy.safetensors"
        export_bundle(load_checkpoint(source), ExportRequest(bundle), Progress(io.StringIO()))
        assert json.loads((bundle / "manifest.json").read_text())["method"]["selection"] == NAME
        prediction = SACViT(bundle, precision="fp32").predict(record.TINY_IMAGES[0], eta=1.0)
        tokens = model.config.geometry.tokens
        assert prediction.targets is not None
        assert prediction.targets.tolist() == list(range(tokens))[-len(prediction.targets) :]
    with pytest.raises(BundleError, match="selection is 'last_m'; it must be one of top_m, window"):
        SACViT(bundle)


def test_the_default_policy_is_not_written_and_an_unknown_one_is_refused() -> None:
    """Bundles of schema 1 have no such field, and their readers refuse fields they do not know."""
    assert "selection" not in ModelConfig().to_dict()["method"]
    assert ModelConfig.from_dict(ModelConfig().to_dict()).method.selection == "top_m"
    with pytest.raises(UsageError, match="selection is 'last_m'"):
        Method(selection=NAME)
