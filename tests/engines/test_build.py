"""Plans of every engine and variant by the real TensorRT-RTX compiler. None is run, as that needs a GPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sacvit_deploy.backends.tensorrt.library import Library
from sacvit_deploy.config import Geometry, Method, ModelConfig
from sacvit_deploy.engines.build import BuildOptions, build_plan, make_config, parse_network
from sacvit_deploy.engines.profiles import ShapeRange, SizeRange, input_ranges, target_range
from sacvit_deploy.errors import BackendError, UsageError

from .conftest import PRECISIONS, ROLES, Files, inputs_of, tiny, write_variant

Variants = Callable[[int, str], Files]
BATCH = SizeRange(1, 8, 32)
GPUS = BuildOptions(("8.6", "8.9", "12.0"))


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("size", [224, 288])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_engine_builds(rtx: Library, precision: str, size: int, role: str, variants: Variants) -> None:
    files, shapes = variants(size, precision), input_ranges(role, tiny(size), BATCH)
    inputs = inputs_of(parse_network(rtx, files[role]))
    assert set(inputs) == set(shapes)
    for name, (_, shape) in inputs.items():
        closed = [(size, wanted) for size, wanted in zip(shape, shapes[name].opt, strict=True) if size >= 0]
        assert all(size == wanted for size, wanted in closed), name
    assert len(build_plan(rtx, files[role], [shapes], GPUS)) > 50_000


WIDE = ModelConfig(
    Geometry(width=384, depth=1, heads=6), Method(class_token="union", background="features", fusion="expand")
)
CF_VIT = tiny(288, attention="global", rounding="ceil", positions="separate", downsample="bilinear_corners")


@pytest.mark.slow
@pytest.mark.parametrize("config", [WIDE, CF_VIT], ids=["union, as wide as DeiT-S", "CF-ViT"])
def test_stage_two_builds_for_other_methods(rtx: Library, config: ModelConfig, tmp_path: Path) -> None:
    files = write_variant(tmp_path, config, "fp16", ("sac",))
    plan = build_plan(rtx, files["sac"], [input_ranges("sac", config, BATCH, target_range(config, (0.3, 0.9)))], GPUS)
    assert len(plan) > files["weights"].stat().st_size  # the weights are in it


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_files_precision_is_the_plans(rtx: Library, precision: str, variants: Variants) -> None:
    """Strongly typed, and no TF32, which the library would use for fp32 on its own."""
    network = parse_network(rtx, variants(224, precision)["ee"])
    config, trt = make_config(network, [input_ranges("ee", tiny(), BATCH)], GPUS), network.library.trt
    assert network.definition.get_flag(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    assert not config.get_flag(trt.BuilderFlag.TF32)


def test_a_plan_is_for_the_capabilities_asked_for(rtx: Library, variants: Variants) -> None:
    """Read back from the library's settings: the plan's own bytes differ from build to build."""
    network = parse_network(rtx, variants(224, "fp16")["ee"])
    config = make_config(network, [input_ranges("ee", tiny(), BATCH)], GPUS)
    assert [config.get_compute_capability(index).name for index in range(3)] == ["SM86", "SM89", "SM120"]


def test_without_a_name_a_plan_is_for_the_gpu_at_hand(rtx: Library, variants: Variants) -> None:
    """Also for one that the library has no name for. No plan can be built here: there is no GPU at hand."""
    network = parse_network(rtx, variants(224, "fp16")["ee"])
    config = make_config(network, [input_ranges("ee", tiny(), BATCH)], BuildOptions())
    assert config.num_compute_capabilities == 1
    assert config.get_compute_capability(0).name == "CURRENT"


@pytest.mark.parametrize(
    ("capabilities", "kind", "match"),
    [
        (["sm86"], UsageError, "'sm86' is no compute capability; write it as 8.6"),
        (["8.6", "1.0"], BackendError, "can't build for compute capability 1.0; it offers .*8.6, 8.9"),
    ],
)
def test_wrong_capabilities_are_refused(
    rtx: Library, capabilities: list[str], kind: type[Exception], match: str, variants: Variants
) -> None:
    with pytest.raises(kind, match=match):
        build_plan(
            rtx, variants(224, "fp32")["ee"], [input_ranges("ee", tiny(), BATCH)], BuildOptions(tuple(capabilities))
        )


def test_ranges_for_other_inputs_are_refused(rtx: Library, variants: Variants) -> None:
    with pytest.raises(BackendError, match="has the inputs image, but ranges were given for patches, positions"):
        build_plan(rtx, variants(224, "fp32")["ee"], [input_ranges("sac", tiny(), BATCH)], GPUS)


def test_a_failed_build_gives_the_librarys_reason(rtx: Library, variants: Variants) -> None:
    """Ranges of another image size. The next build reports its own reasons alone."""
    engine = variants(224, "fp32")["ee"]
    wrong = {"image": ShapeRange(*((count, 3, 100, 112) for count in BATCH))}
    with pytest.raises(BackendError, match=r"can't build .*ee.fp32.onnx for 8.6, 8.9, 12.0: .*image.*100") as caught:
        build_plan(rtx, engine, [wrong], GPUS)
    assert "\n" not in str(caught.value)
    # Turing computes no fp32 products in this library.
    with pytest.raises(BackendError, match="for 7.5: .*SM75") as caught:
        build_plan(rtx, engine, [input_ranges("ee", tiny(), BATCH)], BuildOptions(("7.5",)))
    assert "100" not in str(caught.value)
