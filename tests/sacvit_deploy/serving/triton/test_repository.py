"""The model repository as it is written: engines that answer, configs that say what the engines take and give."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner, Result

from sacvit_deploy import BundleError, StageOne, UsageError
from sacvit_deploy.bundle.bundle import describe_file, open_bundle
from sacvit_deploy.bundle.plans import FOLDER, RECORD, BuildTarget, PlanFile, PlanRecord, read_record
from sacvit_deploy.commands.common import run_command
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.serving.triton.cascade_model import output_tensors, read_gate
from sacvit_deploy.serving.triton.cli_triton import command
from sacvit_deploy.serving.triton.pbtxt import Name, to_pbtxt
from tests.data import record

TYPES = {"TYPE_FP32": "tensor(float)", "TYPE_FP16": "tensor(float16)", "TYPE_INT64": "tensor(int64)"}
ONNX_TYPES = {1: "tensor(float)", 7: "tensor(int64)", 10: "tensor(float16)"}
CONFIG: ModelConfig = open_bundle(record.BEFORE).manifest.config


def write(out: Path, *options: str, bundle: Path = record.BEFORE) -> Result:
    """Run `sacvit triton`."""
    return CliRunner().invoke(command, [str(bundle), "--out", str(out), *options])


def tensors(config: str, field: str) -> dict[str, tuple[str, list[int]]]:
    """Return type and dimensions by name, of the config's inputs or outputs."""
    found = {}
    for block in re.findall(rf"^{field} {{\n(.*?)^}}", config, re.MULTILINE | re.DOTALL):
        (name,), (kind,) = re.findall(r'name: "(\w+)"', block), re.findall(r"data_type: (\w+)", block)
        found[name] = kind, [int(size) for size in re.findall(r"dims: (-?\d+)", block)]
    return found


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_onnx_models_are_whole_and_what_their_configs_say(precision: str, tmp_path: Path) -> None:
    result = write(tmp_path / "models", "--precision", precision, "--threads", "3", "--batch", "5")
    assert result.exit_code == 0 and "not run" in result.output, result.output
    for role in ("ee", "sac"):
        folder = tmp_path / "models" / role
        config = (folder / "config.pbtxt").read_text()
        assert [path.name for path in (folder / "1").iterdir()] == ["model.onnx"]
        session = onnxruntime.InferenceSession(
            (folder / "1/model.onnx").read_bytes(), providers=["CPUExecutionProvider"]
        )
        for field, values in (("input", session.get_inputs()), ("output", session.get_outputs())):
            told = {name: (TYPES[kind], dims) for name, (kind, dims) in tensors(config, field).items()}
            dims = {value.name: [size if isinstance(size, int) else -1 for size in value.shape[1:]] for value in values}
            assert told == {value.name: (value.type, dims[value.name]) for value in values}
        assert 'backend: "onnxruntime"' in config and "max_batch_size: 5\n" in config and 'string_value: "3"' in config
        assert config.count("model_warmup") == 2 and "batch_size: 5" in config
    whole = StageOne(record.BEFORE, backend="onnxruntime", precision=precision, threads=1)
    low = whole.opened.cascade.low_view([np.zeros((64, 64, 3), np.uint8)])
    (given,) = onnxruntime.InferenceSession(tmp_path / "models/ee/1/model.onnx").run(
        ["logits"], {"image": low.astype(np.float16 if precision == "fp16" else np.float32)}
    )
    np.testing.assert_array_equal(given, whole.opened.cascade.stage_one(low)["logits"])


def test_an_engine_for_a_gpu_may_give_more_than_its_config_says(tiny_bundle: Path, tmp_path: Path) -> None:
    """Triton's ONNX Runtime fetches what the config lists; the model that gates takes the logits alone."""
    assert write(tmp_path / "m", "--gpu", "--precision", "fp16", bundle=tiny_bundle).exit_code == 0
    for role in ("ee", "sac"):
        config = (tmp_path / "m" / role / "config.pbtxt").read_text()
        graph = onnx.load(tmp_path / "m" / role / "1/model.onnx").graph
        given = {value.name: value.type.tensor_type for value in graph.output}
        told = tensors(config, "output")
        assert given.keys() - told.keys() == {"confidence"}
        for name, (kind, dims) in {**tensors(config, "input"), **told}.items():
            tensor = given.get(name) or {value.name: value.type.tensor_type for value in graph.input}[name]
            assert TYPES[kind] == ONNX_TYPES[tensor.elem_type]
            assert dims == [size.dim_value or -1 for size in tensor.shape.dim[1:]]


def test_instances_delays_and_defaults_of_the_gate(tmp_path: Path) -> None:
    options = [
        "--instances-ee",
        "3",
        "--instances-sac",
        "2",
        "--instances",
        "4",
        "--delay-ee",
        "0.0005",
        "--delay-sac",
        "0.007",
    ]
    limits = ["--max-queue", "9", "--max-pixels", "5000", "--max-memory", "70"]
    assert write(tmp_path / "m", *options, *limits, "--eta", "0.7", "--alpha", "0.3").exit_code == 0
    told = {name: (tmp_path / "m" / name / "config.pbtxt").read_text() for name in ("ee", "sac", "sacvit")}
    found = {
        name: (re.findall(r"count: (\d+)", config), re.findall(r"queue_delay_microseconds: (\d+)", config))
        for name, config in told.items()
    }
    assert found == {"ee": (["3"], ["500"]), "sac": (["2"], ["7000"]), "sacvit": (["4"], ["500"])}
    assert "max_queue_size: 9\n" in told["sacvit"] and "max_queue_size" not in told["ee"] + told["sac"]
    gate_and_limits = (("eta", "0.7"), ("alpha", "0.3"), ("max_pixels", "5000"), ("max_memory", "70"))
    for name, value in gate_and_limits:
        assert re.search(rf'key: "{name}"\s+value {{\s+string_value: "{value}"', told["sacvit"])
    assert "model_warmup" not in told["sacvit"] and "KIND_CPU" in told["ee"]
    assert open_bundle(tmp_path / "m/sacvit/1/bundle.sacvit").labels == open_bundle(record.BEFORE).labels


def test_python_models_hold_a_packed_bundle(tmp_path: Path) -> None:
    assert write(tmp_path / "m", "--backend", "python", "--precision", "int8").exit_code == 0
    for role in ("ee", "sac"):
        assert "StageModel as TritonPythonModel" in (tmp_path / "m" / role / "1/model.py").read_text()
        assert list(open_bundle(tmp_path / "m" / role / "1/bundle.sacvit").manifest.variants) == ["int8"]


def test_what_is_there_is_replaced_only_if_it_is_a_repository(tmp_path: Path) -> None:
    out = tmp_path / "m"
    assert write(out).exit_code == 0
    assert "say --force" in str(write(out).exception)
    assert write(out, "--force").exit_code == 0
    (tmp_path / "other").mkdir()
    assert "is not a model repository" in str(write(tmp_path / "other", "--force").exception)
    for options in (["--eta", "2"], ["--alpha", "1.5"], ["--gpu", "--backend", "python"], ["--plans", "x"]):
        assert isinstance(write(tmp_path / "new", *options).exception, UsageError), options
    assert not (tmp_path / "new").exists()


def with_plans(folder: Path, names: tuple[str, ...] = ("A10",), facts: dict[str, Any] | None = None) -> Path:
    """Return a copy of the bundle with plan folders, whose plans are stand-ins: nothing loads them here."""
    bundle = Path(shutil.copytree(record.BEFORE, folder / "planned.sacvit"))
    entries = open_bundle(bundle).variant("fp16").files
    for name in names:
        place = BuildTarget("tensorrt", "10.3.0", name, ("8.6",))
        made = PlanRecord(place, "fp16", (1, 4, 16), (1, 8, 12), {})
        target = bundle / FOLDER / made.folder_name()
        target.mkdir(parents=True)
        plans = {}
        for role in ("ee", "sac"):
            (target / f"{role}.plan").write_bytes(f"{role} for {name}".encode())
            onnx = {entries[role].path: entries[role].sha256}
            plans[role] = PlanFile(describe_file(target / f"{role}.plan"), onnx, ({}, {}), facts or {})
        (target / RECORD).write_bytes(dataclasses.replace(made, plans=plans).to_bytes())
    return bundle


def test_tensorrt_takes_the_plans_and_their_limits(tmp_path: Path) -> None:
    bundle = with_plans(tmp_path)
    result = write(tmp_path / "m", "--backend", "tensorrt", "--precision", "fp16", bundle=bundle)
    assert result.exit_code == 0 and "batches of up to 16" in result.output, (result.output, result.exception)
    assert (tmp_path / "m/sac/1/model.plan").read_bytes() == b"sac for A10"
    config = (tmp_path / "m/ee/config.pbtxt").read_text()
    assert 'backend: "tensorrt"' in config and "KIND_GPU" in config and 'profile: "1"' in config
    assert "max_batch_size: 16" in config and "TYPE_FP16" in config and "intra_op" not in config
    config = (tmp_path / "m/sacvit/config.pbtxt").read_text()
    assert "max_batch_size: 16" in config and re.search(r'key: "targets"\s+value {\s+string_value: "1 12"', config)


def test_a_plans_confidence_stands_in_its_config(tmp_path: Path) -> None:
    """Older plans have none, nor do their records name their outputs."""
    for name, facts in (("new", {"outputs": ["logits", "confidence"]}), ("old", {})):
        (tmp_path / name).mkdir()
        bundle = with_plans(tmp_path / name, facts=facts)
        written = write(tmp_path / name / "m", "--backend", "tensorrt", "--precision", "fp16", bundle=bundle)
        assert written.exit_code == 0, written.output
        for role in ("ee", "sac"):
            told = tensors((tmp_path / name / "m" / role / "config.pbtxt").read_text(), "output")
            assert told.get("confidence") == (("TYPE_FP32", [2]) if facts else None)
            assert "logits" in told


def test_plans_that_do_not_do(tmp_path: Path) -> None:
    def why(bundle: Path, *options: str) -> str:
        error = write(tmp_path / "m", "--backend", "tensorrt", *options, bundle=bundle).exception
        assert isinstance(error, (BundleError, UsageError)), error
        return str(error)

    assert "no fp16 plans for tensorrt; build them with: sacvit build" in why(record.BEFORE, "--precision", "fp16")
    two = with_plans(tmp_path, ("A10", "L4"))
    assert "name one: --plans tensorrt-10.3.0-a10-fp16" in why(two, "--precision", "fp16")
    assert "no fp16 plans other" in why(two, "--precision", "fp16", "--plans", "other")
    assert "take 1 to 12 targets" in why(two, "--alpha", "0.9", "--plans", "tensorrt-10.3.0-l4-fp16")
    place = two / FOLDER / "tensorrt-10.3.0-l4-fp16"
    (place / RECORD).write_bytes(dataclasses.replace(read_record(place), batch=(4, 4, 16)).to_bytes())
    assert "take batches of 4 and more" in why(two, "--plans", place.name)


def test_a_gate_from_parameters() -> None:
    assert read_gate({"eta": "0.25", "alpha": 0.5}, CONFIG) == (0.25, CONFIG.num_targets(0.5))
    for wrong in ({"eta": "nan"}, {"eta": None}, {"eta": 1.5}, {"alpha": []}, {"alpha": 0}, {"alpha": "inf"}):
        with pytest.raises(UsageError):
            read_gate({"eta": 0.5, "alpha": 0.5, **wrong}, CONFIG)


def test_an_alpha_that_the_plans_do_not_take() -> None:
    gate = {"eta": 0.5, "alpha": 0.9}
    count = CONFIG.num_targets(0.9)
    assert read_gate(gate, CONFIG, (1, count)) == (0.5, count)
    with pytest.raises(UsageError, match=rf"alpha is 0.9, which makes {count} targets, and the plans take 1 to 12"):
        read_gate(gate, CONFIG, (1, 12))


def test_rows_without_an_answer_are_marked() -> None:
    rows = output_tensors([BundleError("wrong")], 3, 2)
    assert (rows["stage"].item(), rows["index"].item(), rows["error"].item()) == (0, -1, b"wrong")
    assert rows["targets"].tolist() == [[-1, -1, -1]] and np.isnan(rows["probabilities"]).all()


def test_text_format() -> None:
    message: Any = {
        "a": 'quote " and \n',
        "kind": Name("KIND_GPU"),
        "yes": True,
        "dims": [-1, 3],
        "empty": [],
        "in": {"x": 0.5},
    }
    assert (
        to_pbtxt(message) == 'a: "quote \\" and \\n"\nkind: KIND_GPU\nyes: true\ndims: -1\ndims: 3\nin {\n  x: 0.5\n}\n'
    )


def test_a_missing_bundle_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setattr("sys.argv", ["sacvit", str(tmp_path / "none.sacvit"), "--out", str(tmp_path / "m")])
    with pytest.raises(SystemExit) as ended:
        run_command(command)
    assert ended.value.code == 1 and capsys.readouterr().err.count("\n") == 1
