"""Bundles with plans for the C++ tests: the plans name ONNX files, which the tests' stand-in for TensorRT runs.

cases.json lists bundle, precision and machine with the answer of Python's `find_plans`: the plans, or an error and a
word that must be in the error of either runtime.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from sacvit_deploy.bundle.bundle import Bundle, describe_file, open_bundle
from sacvit_deploy.bundle.digest import seal
from sacvit_deploy.bundle.external_weights import with_weights_inside
from sacvit_deploy.bundle.plans import FOLDER, RECORD, BuildTarget, PlanFile, PlanRecord, find_plans
from sacvit_deploy.engines.profiles import SizeRange, batch_ranges, input_ranges
from sacvit_deploy.errors import BundleError
from sacvit_deploy.precisions import PRECISIONS

HERE = BuildTarget("tensorrt", "10.3.0.26", "Stand-in", ("8.7",), "12.6")
BATCH = SizeRange(1, 4, 8)
ROLES = ("ee", "sac")


def add_plans(bundle: Bundle, precision: str, place: BuildTarget = HERE) -> Path:
    """Write a plan folder for one variant; returns it. fp16's plans give their confidence, the others are old ones."""
    config = bundle.manifest.config
    greatest = config.num_targets()
    targets = SizeRange(1, greatest, greatest)
    record = PlanRecord(place, precision, (1, 4, 8), (targets.min, targets.opt, targets.max), {})
    folder = bundle.path / FOLDER / record.folder_name()
    folder.mkdir(parents=True)
    files = bundle.variant(precision).files
    plans = {}
    for role in ROLES:
        plan = folder / f"{role}.plan"
        profiles = tuple(input_ranges(role, config, batch, targets) for batch in batch_ranges(BATCH))
        engine = bundle.path / files[role].path
        if precision == "fp16":
            engine = write_confident(bundle, precision, role, folder / f"{role}.onnx")
        plan.write_text(json.dumps({"onnx": str(engine), "profiles": profiles}))
        onnx = {entry.path: entry.sha256 for name, entry in files.items() if name in (role, "weights")}
        plans[role] = PlanFile(describe_file(plan), onnx, profiles)
    (folder / RECORD).write_bytes(replace(record, plans=plans).to_bytes())
    return folder


def write_confident(bundle: Bundle, precision: str, role: str, path: Path) -> Path:
    """Write an engine, weights and all, with the output that `sacvit build` adds behind logits; returns the path."""
    held = bundle.held_files(precision)
    model = onnx.load_from_string(with_weights_inside(held[role], held["weights"]))
    node = onnx.helper.make_node
    model.graph.node.extend(
        [
            node("Softmax", ["logits"], ["shares"], axis=1),
            node("ReduceMax", ["shares", "classes"], ["highest"]),
            node("ReduceSum", ["logits", "classes"], ["total"]),
            node("Concat", ["highest", "total"], ["confidence"], axis=1),
        ]
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(1, np.int64), "classes"))
    batch = next(output for output in model.graph.output if output.name == "logits").type.tensor_type.shape.dim[0]
    model.graph.output.append(
        onnx.helper.make_tensor_value_info("confidence", onnx.TensorProto.FLOAT, [batch.dim_param, 2])
    )
    path.write_bytes(model.SerializeToString())
    return path


def copy(source: Path, target: Path) -> Bundle:
    """Copy a bundle without its plans. No hard links: the onnx package refuses weights that have any."""
    shutil.copytree(source.resolve(), target, copy_function=os.symlink, ignore=shutil.ignore_patterns(FOLDER))
    return open_bundle(target)


def main() -> None:
    """Run as a script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    shutil.rmtree(options.folder, ignore_errors=True)
    options.folder.mkdir(parents=True)
    good = copy(options.bundle.resolve(), options.folder / "good.sacvit")
    precisions = list(good.manifest.variants)
    for precision in precisions:
        add_plans(good, precision)
    cases: list[tuple[Path, str, BuildTarget, str]] = [(good.path, precision, HERE, "") for precision in precisions]
    others = {
        "version": replace(HERE, version="10.4.0"),
        "gpu": replace(HERE, device="Another"),
        "capability": replace(HERE, capabilities=("8.9",)),
        "runtime": replace(HERE, runtime="tensorrt-rtx"),
    }
    named = {"version": "10.4.0", "gpu": "Another", "capability": "Stand-in", "runtime": "tensorrt-rtx"}
    cases += [(good.path, precisions[0], place, named[name]) for name, place in others.items()]

    ahead = copy(good.path, options.folder / "ahead.sacvit")
    add_plans(ahead, precisions[0], replace(HERE, device=None, capabilities=("8.6", "8.7")))
    cases += [(ahead.path, precisions[0], HERE, ""), (ahead.path, precisions[0], others["capability"], "8.9")]
    both = copy(good.path, options.folder / "both.sacvit")
    add_plans(both, precisions[0], others["version"])
    cases.append((both.path, precisions[0], HERE, "10.4.0"))
    cases += [(both.path, name, HERE, name) for name in PRECISIONS if name not in precisions]
    add_plans(both, precisions[0])
    cases.append((both.path, precisions[0], HERE, ""))

    def damaged(name: str, named: str) -> Path:
        bundle = copy(good.path, options.folder / f"{name}.sacvit")
        folder = add_plans(bundle, precisions[0])
        cases.append((bundle.path, precisions[0], HERE, named))
        return folder

    record = damaged("digest", RECORD) / RECORD
    record.write_bytes(record.read_bytes().replace(b"Stand-in", b"Stand-on"))
    record = damaged("newer", "newer") / RECORD
    record.write_bytes(record.read_bytes().replace(b'"schema": 1', b'"schema": 2'))
    plan = damaged("changed", "sac.plan") / "sac.plan"
    plan.write_text(plan.read_text()[:-1] + "?")
    (damaged("missing", "ee.plan") / "ee.plan").unlink()
    plan = damaged("shorter", "ee.plan") / "ee.plan"
    plan.write_text("?")

    def edited(name: str, named: str, edit: Callable[[dict[str, Any]], None]) -> None:
        """Change a record and seal it again."""
        record = damaged(name, named) / RECORD
        data = json.loads(record.read_text())
        edit(data)
        schema = data.pop("schema")
        data.pop("digest")
        record.write_bytes(seal(schema, data))

    engine = good.variant(precisions[0]).files["ee"].path
    edited("stale", engine, lambda data: data["plans"]["ee"]["onnx"].update({engine: "0" * 64}))
    edited("half", "sac", lambda data: data["plans"].pop("sac"))
    edited("none", "ee", lambda data: data["plans"].clear())

    answers = []
    for path, precision, place, word in cases:
        answer: dict[str, Any]
        try:
            plans = find_plans(open_bundle(path), precision, place)
            answer = {"plans": {role: str(plan.path) for role, plan in plans.items()}}
        except BundleError as error:
            assert word and word in str(error), (word, str(error))
            answer = {"error": str(error), "named": word}
        answers.append({"bundle": str(path), "precision": precision, "place": asdict(place)} | answer)
    (options.folder / "cases.json").write_text(json.dumps(answers, indent=1))


if __name__ == "__main__":
    main()
