"""Networks inside dicts, wrappers and prefixes, as trainers and libraries leave them."""

from __future__ import annotations

import argparse
import collections
import datetime
import pathlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sacvit_deploy.errors import CheckpointError
from sacvit_deploy.export.checkpoint import load_checkpoint
from sacvit_deploy.export.containers import find_weights
from sacvit_deploy.export.wrappers import unwrap

from .making import Weights, deit_weights

Wrap = Callable[[Weights], Any]


def under(prefix: str, weights: Weights) -> Weights:
    return {f"{prefix}{name}": value for name, value in weights.items()}


def in_blocks(part: str, weights: Weights) -> Weights:
    """Put a wrapper's name behind each block's number."""
    out = {}
    for name, value in weights.items():
        parts = name.split(".")
        at = 2 if parts[0] == "blocks" else len(parts)
        out[".".join([*parts[:at], *([part] if at < len(parts) else []), *parts[at:]])] = value
    return out


# Each as the tool that is named writes it.
WRAPPED: dict[str, Wrap] = {
    "lightning": lambda w: {
        "epoch": 3,
        "global_step": 77,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": under("model.", w),
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}}],
        "hyper_parameters": {"lr": 1e-3},
    },
    "lightning-other-attribute": lambda w: {"state_dict": under("net.", w)},
    "lightning-with-a-loss": lambda w: {"state_dict": {**under("model.", w), "criterion.weight": torch.ones(5)}},
    "torch-tutorial": lambda w: {"epoch": 5, "model_state_dict": w, "optimizer_state_dict": {"state": {}}, "loss": 0.3},
    "net": lambda w: {"net": w, "acc": 93.1},
    "any-attribute-at-all": lambda w: under("my_student_model.image_tower.", w),
    "fsdp": lambda w: {"model": under("_fsdp_wrapped_module.", in_blocks("_fsdp_wrapped_module", w))},
    "compiled-blocks": lambda w: {"model": in_blocks("_orig_mod", w)},
    "checkpointed-blocks": lambda w: in_blocks("_checkpoint_wrapped_module", w),
    "compiled-then-parallel": lambda w: {"state_dict": under("module._orig_mod.", w)},
    "averaged-model": lambda w: {"model_ema": {"n_averaged": torch.tensor(12), **under("module.", w)}},
    "self-distillation": lambda w: {"teacher": under("backbone.", w), "epoch": 100},
    "deepspeed": lambda w: {
        "module": w,
        "param_shapes": [collections.OrderedDict((k, v.shape) for k, v in w.items())],
        "ds_version": "0.14",
    },
    "thop": lambda w: {**w, "total_ops": torch.zeros(1), "blocks.0.total_params": torch.zeros(1)},
    "backbone-and-head": lambda w: {
        **under("backbone.", {k: v for k, v in w.items() if not k.startswith("head.")}),
        **{k.replace("head.", "fc."): v for k, v in w.items() if k.startswith("head.")},
    },
    "nan-in-an-unused-key": lambda w: {**under("model.", w), "loss.weight": torch.full((5,), float("nan"))},
}


@pytest.mark.parametrize("case", WRAPPED)
def test_a_network_is_found_in_whatever_is_around_it(case: str, tmp_path: Path) -> None:
    weights = deit_weights(64, depth=2)
    torch.save(WRAPPED[case](weights), tmp_path / "a.pth")
    state = load_checkpoint(tmp_path / "a.pth").model.state_dict()
    assert state.keys() == weights.keys()
    assert all(torch.equal(state[name], weights[name]) for name in weights)


def test_what_is_left_out_or_taken_from_beside_is_said(tmp_path: Path) -> None:
    for case, word in {
        "thop": "total_ops, total_params",
        "lightning-with-a-loss": "a loss or a metric (`criterion`)",
        "backbone-and-head": "took `fc` as the classifier",
    }.items():
        torch.save(WRAPPED[case](deit_weights(64, depth=1)), tmp_path / "a.pth")
        assert any(word in note for note in load_checkpoint(tmp_path / "a.pth").notes), case


def test_a_head_of_several_layers_is_no_classifier_of_ours(tmp_path: Path) -> None:
    """As DINO's projection: its first layer alone would look like one."""
    weights = {name: value for name, value in deit_weights(64, depth=1).items() if not name.startswith("head.")}
    head = {"head.mlp.0.weight": torch.ones(256, 64), "head.mlp.2.weight": torch.ones(256, 256)}
    torch.save({"teacher": {**under("backbone.", weights), **head}}, tmp_path / "dino.pth")
    with pytest.raises(CheckpointError, match="is no single linear layer, but has 2"):
        load_checkpoint(tmp_path / "dino.pth")
    started = load_checkpoint(tmp_path / "dino.pth", start=True)
    assert started.headless
    assert torch.equal(started.model.norm.weight, weights["norm.weight"])


def test_two_networks_are_not_chosen_between(tmp_path: Path) -> None:
    first, second = deit_weights(64, depth=1, seed=1), deit_weights(64, depth=1, seed=2)
    torch.save({**under("small.", first), **under("large.", second)}, tmp_path / "two.pth")
    with pytest.raises(CheckpointError, match="several networks, `small` and `large`; save the one to take"):
        load_checkpoint(tmp_path / "two.pth")
    torch.save({**under("one.", first), **under("same.", first)}, tmp_path / "same.pth")
    assert torch.equal(load_checkpoint(tmp_path / "same.pth").model.head.weight, first["head.weight"])


AVERAGES = {
    "another-width": ("student", "teacher", {"width": 64}, {"width": 128}),
    "another-depth": ("model", "model_ema", {"depth": 1}, {"depth": 2}),
    "other-classes": ("state_dict", "state_dict_ema", {"classes": 5}, {"classes": 7}),
}


@pytest.mark.parametrize("case", AVERAGES)
def test_a_network_of_other_shapes_is_nobodys_average(case: str, tmp_path: Path) -> None:
    """A distilled student's teacher, for example: which of the two is meant, only the user knows."""
    one, two, first, second = AVERAGES[case]
    sets = {"model": deit_weights(64, **{"depth": 1, **first}), "ema": deit_weights(64, **{"depth": 1, **second})}
    torch.save({one: sets["model"], two: sets["ema"]}, tmp_path / "a.pth")
    match = f"different networks, `{one}` and `{two}`.*--weights model takes `{one}`, --weights ema takes `{two}`"
    with pytest.raises(CheckpointError, match=match):
        load_checkpoint(tmp_path / "a.pth")
    for choice in ("model", "ema"):
        loaded = load_checkpoint(tmp_path / "a.pth", weights=choice)  # type: ignore[arg-type]
        assert torch.equal(loaded.model.head.weight, sets[choice]["head.weight"])
        assert any("different networks" in note for note in loaded.notes)
        assert not any("averaged" in note for note in loaded.notes)


def test_a_teacher_without_a_student_beside_it_is_not_preferred(tmp_path: Path) -> None:
    """Distillation by a network of the same shapes: what was trained is the model."""
    trained, teacher = deit_weights(64, depth=1, seed=1), deit_weights(64, depth=1, seed=2)
    torch.save({"model": trained, "teacher": teacher}, tmp_path / "a.pth")
    loaded = load_checkpoint(tmp_path / "a.pth")
    assert torch.equal(loaded.model.head.weight, trained["head.weight"])
    assert any("--weights ema takes the others" in note for note in loaded.notes)


def test_an_optimisers_moments_are_no_network(tmp_path: Path) -> None:
    """Some optimisers keep them by the weights' names."""
    weights, moments = deit_weights(64, depth=1, seed=1), deit_weights(64, depth=1, seed=2)
    torch.save({"model": weights, "optimizer": {"exp_avg": moments, "momentum": moments}}, tmp_path / "a.pth")
    loaded = load_checkpoint(tmp_path / "a.pth")
    assert torch.equal(loaded.model.head.weight, weights["head.weight"])
    assert not any("averaged" in note for note in loaded.notes)
    with pytest.raises(CheckpointError, match="nothing but weights as trained; leave --weights ema away"):
        load_checkpoint(tmp_path / "a.pth", weights="ema")
    torch.save({"optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}}, tmp_path / "moments.pth")
    with pytest.raises(CheckpointError, match="it looks like the state of an optimiser"):
        load_checkpoint(tmp_path / "moments.pth")


def test_momentum_weights_are_an_average(tmp_path: Path) -> None:
    trained, averaged = deit_weights(64, depth=1, seed=1), deit_weights(64, depth=1, seed=2)
    content = {**under("module.base_encoder.", trained), **under("module.momentum_encoder.", averaged)}
    torch.save({"state_dict": content}, tmp_path / "moco.pth")
    assert torch.equal(load_checkpoint(tmp_path / "moco.pth").model.head.weight, trained["head.weight"])


def test_a_wrapper_among_containers_does_not_hide_what_is_beside(tmp_path: Path) -> None:
    weights = deit_weights(64, depth=1)
    body = {name: value for name, value in weights.items() if not name.startswith("head.")}
    inner = {**under("backbone.", body), "fc.weight": weights["head.weight"], "fc.bias": weights["head.bias"]}
    torch.save({"saved": {"state": inner}, "centre": torch.zeros(3)}, tmp_path / "a.pth")
    assert torch.equal(load_checkpoint(tmp_path / "a.pth").model.head.weight, weights["head.weight"])
    apart = {"backbone": body, "head": {"weight": weights["head.weight"], "bias": weights["head.bias"]}}
    torch.save(apart, tmp_path / "apart.pth")
    assert torch.equal(load_checkpoint(tmp_path / "apart.pth").model.head.weight, weights["head.weight"])


NAME = st.lists(st.sampled_from(["a", "b", "blocks", "0", "1", "attn", "weight", "_orig_mod"]), min_size=1, max_size=5)


@given(st.lists(NAME.map(".".join), unique=True, max_size=12))
def test_no_two_names_become_one(names: list[str]) -> None:
    """Where no name is the beginning of another, as in any state dict."""
    leaves = [name for name in names if not any(other.startswith(f"{name}.") for other in names)]
    short = unwrap(leaves)
    assert len(set(short.values())) == len(leaves)
    assert all(new.rpartition(".")[2] == old.rpartition(".")[2] for old, new in short.items())


@given(st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=3), max_size=5))
def test_dicts_without_tensors_have_no_weights(raw: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="no weights found"):
        find_weights({"model": raw, **raw})


# Pickled things beside the weights.

BESIDE: dict[str, Any] = {
    "paths": argparse.Namespace(output_dir=pathlib.Path("/data/out"), pure=pathlib.PureWindowsPath("C:/x")),
    "device": argparse.Namespace(device=torch.device("cuda:0"), dtype=torch.float16, shape=torch.Size([3])),
    "arrays": {"history": np.arange(5.0), "best": np.float32(0.3), "names": np.array(["a", "b"]), "empty": np.ones(0)},
    "numpy-scalars": [np.int32(5), np.bool_(True), np.uint8(3), np.float16(1.5), np.complex64(1j)],
    "dates": [datetime.datetime(2024, 5, 6, 7, 8), datetime.timedelta(3), datetime.date(2024, 1, 1)],
    "collections": [collections.OrderedDict(a=1), collections.Counter("abca"), {1, 2}, b"bytes"],
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("case", BESIDE)
def test_harmless_things_beside_the_weights_need_no_trust(case: str, legacy: bool, tmp_path: Path) -> None:
    weights = deit_weights(64, depth=1)
    content = {"model": weights, "args": BESIDE[case]}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
    assert torch.equal(load_checkpoint(tmp_path / "a.pth").model.head.weight, weights["head.weight"])


# Tensors that can't be computed with.


def with_head(value: Any) -> Weights:
    return deit_weights(64, depth=1) | {"head.weight": value}


ODD: dict[str, tuple[Callable[[], torch.Tensor], str]] = {
    "meta": (lambda: torch.ones(5, 64, device="meta"), "has a shape but no data"),
    "sparse": (lambda: torch.ones(5, 64).to_sparse(), "is sparse; save it with `.to_dense"),
    "sparse-rows": (lambda: torch.ones(5, 64).to_sparse_csr(), "is sparse; save it with `.to_dense"),
    "nested": (lambda: torch.nested.nested_tensor([torch.ones(5, 64), torch.ones(3, 64)]), "is a nested tensor"),
    "quantised": (lambda: torch.quantize_per_tensor(torch.ones(5, 64), 0.1, 0, torch.qint8), "is quantised"),
    "complex": (lambda: torch.ones(5, 64, dtype=torch.complex64), "holds torch.complex64, complex numbers"),
    "bytes": (lambda: torch.ones(5, 64, dtype=torch.uint8), "holds torch.uint8, not floating-point"),
}


@pytest.mark.parametrize("where", ["once", "beside-an-average"])
@pytest.mark.parametrize("case", ODD)
def test_a_tensor_that_cannot_be_computed_with_is_refused_by_name(case: str, where: str, tmp_path: Path) -> None:
    make, match = ODD[case]
    odd, other = with_head(make()), with_head(make())
    torch.save(odd if where == "once" else {"model": odd, "model_ema": other}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=f"`head.weight` {match}"):
        load_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize("case", ["complex", "nested", "quantised", "sparse"])
def test_an_odd_layer_scale_is_refused_before_it_is_folded(case: str, tmp_path: Path) -> None:
    gamma = {
        "complex": torch.ones(64, dtype=torch.complex64),
        "nested": torch.nested.nested_tensor([torch.ones(3), torch.ones(2)]),
        "quantised": torch.quantize_per_tensor(torch.ones(64), 0.1, 0, torch.qint8),
        "sparse": torch.ones(64).to_sparse(),
    }[case]
    torch.save(deit_weights(64, depth=1) | {"blocks.0.ls1.gamma": gamma}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"`blocks.0.ls1.gamma` (holds|is)"):
        load_checkpoint(tmp_path / "a.pth")


def test_dynamically_quantised_layers_are_refused_as_such(tmp_path: Path) -> None:
    weights = deit_weights(64, depth=1)
    del weights["head.weight"]
    torch.save({**weights, "head.scale": torch.tensor(1.0), "head.zero_point": torch.tensor(0)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="is quantised; give the checkpoint as trained"):
        load_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.bfloat16, torch.float16, torch.float64])
def test_every_floating_point_type_is_read(dtype: torch.dtype, suffix: str, tmp_path: Path) -> None:
    weights = {name: value.to(dtype) for name, value in deit_weights(64, depth=1).items()}
    path = tmp_path / f"a{suffix}"
    torch.save(weights, path) if suffix == ".pth" else safetensors.torch.save_file(weights, path)
    loaded = load_checkpoint(path)
    assert all(torch.equal(value, weights[name].float()) for name, value in loaded.model.state_dict().items())
    narrow = any("and 19 more are float8_e4m3fn: taken as the numbers they hold" in note for note in loaded.notes)
    assert narrow == (dtype is torch.float8_e4m3fn)


def test_contents_decide_and_not_suffixes(tmp_path: Path) -> None:
    weights = deit_weights(64, depth=1)
    for name in ("model.pth", "model.bin", "model", "MODEL.SAFETENSORS"):
        safetensors.torch.save_file(weights, tmp_path / name)
        assert torch.equal(load_checkpoint(tmp_path / name).model.head.weight, weights["head.weight"])
    torch.save(nn.ParameterDict({"a": torch.ones(1)}).state_dict(), tmp_path / "b.safetensors")
    torch.save({"model": weights}, tmp_path / "a.safetensors")
    assert torch.equal(load_checkpoint(tmp_path / "a.safetensors").model.head.weight, weights["head.weight"])
