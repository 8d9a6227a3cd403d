"""Bundles to carry: weights in tiles, which an archive stores once."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest
import torch

from sacvit_deploy.benchmarks.gpu_check.__main__ import GEOMETRIES as OFFERED
from sacvit_deploy.benchmarks.gpu_check.carried import unpack
from sacvit_deploy.benchmarks.gpu_check.check_settings import Settings
from sacvit_deploy.benchmarks.gpu_check.int8_once import measure as measure_int8
from sacvit_deploy.benchmarks.gpu_check.labels import measure
from sacvit_deploy.benchmarks.gpu_check.preparing_bundles import GEOMETRIES, TILE, prepare, tiled
from sacvit_deploy.benchmarks.gpu_check.subject import noise
from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.config import Geometry, ModelConfig
from sacvit_deploy.export.glue import ViewStage
from sacvit_deploy.export.modules import random_model
from tests.data import record


def test_tiled_weights_compress_and_still_tell_images_apart() -> None:
    model = tiled(random_model(ModelConfig(Geometry(image_size=64, width=256, depth=2, heads=4))))
    weight = model.layers()[0].mlp.fc1.weight.detach()
    assert torch.equal(weight[:TILE, :TILE], weight[TILE : 2 * TILE, 2 * TILE : 3 * TILE])
    data = weight.numpy().tobytes()
    assert len(lzma.compress(data, preset=6)) < len(data) / 20
    with torch.no_grad():
        view = ViewStage(model.config, torch.float32)(torch.from_numpy(noise(model.config, 8)))
        found = model.stage_one(view).logits.softmax(-1).max(-1).values
    assert len(found.unique()) == 8 and found.max() < 1


def test_the_commands_choices_are_the_sizes_there_are() -> None:
    assert tuple(GEOMETRIES) == OFFERED


@pytest.mark.slow
def test_both_bundles_are_written_and_open(tmp_path: Path) -> None:
    size = prepare(tmp_path / "carried", "toy", record.TINY)
    assert 0 < size < 2 << 20
    speed, example, _ = unpack(tmp_path / "carried", tmp_path / "work")
    for bundle in (speed, example):
        for precision in ("fp32", "fp16", "int8"):
            assert open_bundle(bundle).checked_files(precision)
        assert "ee-gpu" in open_bundle(bundle).variant("fp16").files
    # All of the engine that is measured is in int8.
    assert not open_bundle(speed).variant("int8").report
    # Both layouts are compared where there are two.
    rows = list(measure(Settings("cpu", "fp16", speed, example, images=4)))
    assert {row["precision"] for row in rows} == {"fp16", "fp16, plain layout", "fp32"}
    assert all("not run" not in row for row in rows)
    rows = list(measure_int8(Settings("cpu", "fp16", speed, example, batches=(2,), images=4, least=4, seconds=0.01)))
    assert not any({"not run", "why", "why not"} & set(row) for row in rows)
