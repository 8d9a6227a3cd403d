"""Classifiers beside and inside networks: the same logits as the layers that stand there, or a refusal by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sacvit_deploy.errors import CheckpointError
from sacvit_deploy.export.checkpoint import Checkpoint, load_checkpoint

from .forwards import Timm, Transformers, Weights, drawn, timm_weights, transformers_weights
from .test_families import assert_same_logits

CLASSES, WIDTH = 5, 64


def headless(weights: Weights) -> Weights:
    return {name: value for name, value in weights.items() if not name.startswith(("head.", "classifier."))}


def under(prefix: str, weights: Weights) -> Weights:
    return {f"{prefix}{name}": value for name, value in weights.items()}


def linear(name: str, *, bias: bool = True, rows: int = CLASSES, columns: int = WIDTH) -> Weights:
    return drawn({f"{name}.weight": (rows, columns), **({f"{name}.bias": (rows,)} if bias else {})}, seed=3)


def layer_norm(name: str, size: int = WIDTH) -> Weights:
    return drawn({f"{name}.norm.weight": (size,), f"{name}.norm.bias": (size,)}, seed=4)


def batch_norm(name: str, size: int = WIDTH, *, affine: bool = True) -> Weights:
    """Make what torch's BatchNorm1d leaves in a state dict."""
    values = drawn({"norm.weight": (size,), "bias": (size,), "running_mean": (size,), "v": (size,)}, seed=5)
    out = {"running_mean": values["running_mean"], "running_var": 0.3 + values["v"].abs()}
    out |= {"weight": values["norm.weight"], "bias": values["bias"]} if affine else {}
    return under(f"{name}.", {**out, "num_batches_tracked": torch.tensor(7)})


def normed(weights: Weights, name: str, x: Tensor) -> Tensor:
    """Apply a batch norm as torch's module does at inference."""
    w = {key.removeprefix(f"{name}."): value.double() for key, value in weights.items() if key.startswith(f"{name}.")}
    return F.batch_norm(x, w["running_mean"], w["running_var"], w.get("weight"), w.get("bias"), False, 0.0, 1e-5)


def load(content: Any, path: Path, **options: Any) -> Checkpoint:
    torch.save(content, path / "a.pth")
    return load_checkpoint(path / "a.pth", **options)


def applied(weights: Weights, name: str, x: Tensor) -> Tensor:
    bias = weights.get(f"{name}.bias")
    return F.linear(x, weights[f"{name}.weight"].double(), None if bias is None else bias.double())


def expect(loaded: Checkpoint, body: Weights, head: Callable[[Tensor], Tensor]) -> None:
    """Compare with the head's own steps over the class token that the body's own forward pass gives."""
    assert_same_logits(loaded, lambda images: head(Timm(body, heads=1).pooled(images)))


# Each is written by a `Sequential`, whose layers without weights leave a gap in the numbers.
FOLDED: dict[str, tuple[Weights, Callable[[Weights, Tensor], Tensor]]] = {
    "dropout": (linear("1"), lambda w, x: applied(w, "1", x)),
    "no-bias": (linear("0", bias=False), lambda w, x: applied(w, "0", x)),
    "batch-norm": (batch_norm("0") | linear("1"), lambda w, x: applied(w, "1", normed(w, "0", x))),
    "batch-norm-of-a-probe": (
        batch_norm("0", affine=False) | linear("2", bias=False),
        lambda w, x: applied(w, "2", normed(w, "0", x)),
    ),
    "batch-norm-behind": (linear("0") | batch_norm("1", CLASSES), lambda w, x: normed(w, "1", applied(w, "0", x))),
}


@pytest.mark.parametrize("place", ["head", "backbone.head", "fc"])
@pytest.mark.parametrize("case", FOLDED)
def test_a_sequence_that_is_one_linear_layer_is_folded(case: str, place: str, tmp_path: Path) -> None:
    body, (head, forward) = headless(timm_weights()), FOLDED[case]
    inside = place.startswith("backbone.")
    loaded = load({**under("backbone.", body), **under(f"{place}.", head)}, tmp_path)
    expect(loaded, body, lambda x: forward(head, x))
    assert any(f"took `{place.removeprefix('backbone.')}." in note for note in loaded.notes), inside
    assert any("folded the batch norm" in note for note in loaded.notes) == case.startswith("batch-norm")
    assert any("zeros stand in" in note for note in loaded.notes) == (case == "no-bias")
    assert any("taken for dropout" in note for note in loaded.notes) == (case == "dropout")


def test_a_norm_before_the_classifier_is_the_last_one_where_the_network_has_none(tmp_path: Path) -> None:
    body = {name: value for name, value in headless(timm_weights()).items() if not name.startswith("norm.")}
    head = {name.replace(".norm", ""): value for name, value in layer_norm("0").items()} | linear("1")
    loaded = load({**under("backbone.", body), **under("head.", head)}, tmp_path)
    own = {**body, "norm.weight": head["0.weight"], "norm.bias": head["0.bias"]}
    expect(loaded, own, lambda x: applied(head, "1", x))
    assert any("took `head.0` as the last norm" in note for note in loaded.notes)


@pytest.mark.parametrize("place", ["head", "backbone.head"])
def test_a_second_norm_is_refused_by_name(place: str, tmp_path: Path) -> None:
    head = {name.replace(".norm", ""): value for name, value in layer_norm("0").items()} | linear("1")
    with pytest.raises(CheckpointError, match=r"classifier normalises once more .`head\.0`"):
        load({**under("backbone.", headless(timm_weights())), **under(f"{place}.", head)}, tmp_path)


def test_a_batch_norm_whose_epsilon_decides_is_refused(tmp_path: Path) -> None:
    head = batch_norm("0") | linear("1")
    head["0.running_var"][3] = 1e-6
    with pytest.raises(CheckpointError, match=r"`head\.0` has variances near zero, where its epsilon decides"):
        load({**under("backbone.", headless(timm_weights())), **under("head.", head)}, tmp_path)


def test_a_batch_norm_of_another_width_is_refused(tmp_path: Path) -> None:
    content = {**under("backbone.", headless(timm_weights())), **under("head.", batch_norm("0", 32) | linear("1"))}
    with pytest.raises(CheckpointError, match=r"`head\.0` has not the 64 channels"):
        load(content, tmp_path)


def test_a_classifier_without_bias_inside_the_network(tmp_path: Path) -> None:
    weights = timm_weights()
    del weights["head.bias"]
    loaded = load(weights, tmp_path)
    assert any("its classifier has no bias: zeros stand in" in note for note in loaded.notes)
    assert_same_logits(loaded, Timm(weights, heads=1))


def test_an_unknown_weight_among_the_networks_is_refused_and_not_left_out(tmp_path: Path) -> None:
    for weights in (timm_weights(), headless(timm_weights())):
        with pytest.raises(CheckpointError, match="no place in this model, `norm_post.weight`"):
            load(weights | {"norm_post.weight": torch.ones(WIDTH)}, tmp_path, start=True)


# What may stand between the class token and the answer.

BESIDE: dict[str, tuple[Weights, str]] = {
    "temperature": ({"temperature": torch.tensor([1.7])}, "`temperature`, which rescales"),
    "logit-scale": ({"logit_scale": torch.tensor(4.6)}, "`logit_scale`, which rescales"),
    "projector": (drawn({"projector.weight": (WIDTH, WIDTH)}), r"a projection .*`projector`.* and `fc.weight`"),
    "prototypes": (drawn({"prototypes.weight": (30, WIDTH)}), r"a projection .*`prototypes`"),
    "text": (drawn({"text.transformer.0.weight": (9, 9)}), r"a text tower .`text`. and `fc.weight`"),
    "norm": (drawn({"bottleneck.weight": (WIDTH,), "bottleneck.bias": (WIDTH,)}), "`bottleneck.bias`, which may"),
    "layer": (drawn({"hidden.weight": (WIDTH, WIDTH)}), "no single linear layer, but has 2"),
}


@pytest.mark.parametrize("case", BESIDE)
def test_what_may_change_the_answer_of_a_classifier_beside_is_refused(case: str, tmp_path: Path) -> None:
    extra, match = BESIDE[case]
    with pytest.raises(CheckpointError, match=match):
        load({**under("backbone.", headless(timm_weights())), **linear("fc"), **extra}, tmp_path)


OWN: dict[str, tuple[Weights, str]] = {
    "temperature": ({"temperature": torch.ones(1)}, "`temperature` beside the network rescales its answers"),
    "logit-adjustment": ({"log_prior": torch.ones(CLASSES)}, "`log_prior` beside the network has a number for each"),
    "stacked": (linear("fc", columns=CLASSES, rows=3), r"`fc.weight` \[3, 5\], which reads its answers"),
    "second": (linear("fc"), r"a classifier of its own, `head`, and beside it `fc.weight` \[5, 64\], which may be the"),
}


@pytest.mark.parametrize("case", OWN)
def test_what_may_change_the_answer_of_the_networks_own_classifier_is_refused(case: str, tmp_path: Path) -> None:
    extra, match = OWN[case]
    with pytest.raises(CheckpointError, match=match):
        load({**under("net.", timm_weights()), **extra}, tmp_path)


@pytest.mark.parametrize("value", [torch.tensor(1.7), torch.full((1,), 1.7), 1.7])
def test_a_temperature_beside_the_dict_of_weights_is_refused(value: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="`temperature` .*rescales (the|its) answers"):
        load({"model": timm_weights(), "temperature": value, "epoch": 3}, tmp_path)


@pytest.mark.parametrize("key", ["head", "classifier", "model_head"])
def test_a_head_in_a_dict_of_its_own_is_no_less_a_second_classifier(key: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"beside it `{key}.weight`"):
        load({"backbone": timm_weights(), key: {"weight": torch.ones(3, WIDTH), "bias": torch.ones(3)}}, tmp_path)


PARTS = {
    "roi_heads.box_head.fc6.weight": "a detector's head (`roi_heads`)",
    "mask_decoder.layers.0.weight": "a head for segmentation (`mask_decoder`)",
    "decode_head.conv_seg.weight": "a head for segmentation (`decode_head`)",
    "decoder.layers.0.weight": "a decoder (`decoder`)",
    "text_model.encoder.layers.0.weight": "a text tower (`text_model`)",
    "lm_head.weight": "a language head (`lm_head`)",
    "prototypes.weight": "a projection for self-supervised training (`prototypes`)",
    "criterion.weight": "a loss or a metric (`criterion`)",
}


@pytest.mark.parametrize("prefix", ["net.", ""])
@pytest.mark.parametrize("name", PARTS)
def test_other_parts_are_left_out_by_what_they_are(name: str, prefix: str, tmp_path: Path) -> None:
    weights = timm_weights()
    loaded = load({**under(prefix, weights), name: torch.ones(3, 3)}, tmp_path)
    assert f"left out {PARTS[name]} beside the network" in loaded.notes
    assert_same_logits(loaded, Timm(weights, heads=1))


def test_a_masked_autoencoder_is_a_start_to_train_from(tmp_path: Path) -> None:
    weights = headless(timm_weights()) | {"mask_token": torch.zeros(1, 1, 32)}
    weights |= drawn({"decoder_embed.weight": (32, WIDTH), "decoder_blocks.0.attn.qkv.weight": (96, 32)})
    match = r"no classifier .*; what is there: a decoder.*`decoder_embed`"
    with pytest.raises(CheckpointError, match=match):
        load(weights, tmp_path)
    started = load(weights, tmp_path, start=True)
    assert started.headless and any("left out a decoder" in note for note in started.notes)


# A pooler between.


def pooled(body: str = "vit") -> Weights:
    weights = transformers_weights(body)
    return weights | drawn({f"{body}.pooler.dense.weight": (WIDTH, WIDTH), f"{body}.pooler.dense.bias": (WIDTH,)})


@pytest.mark.parametrize("name", ["classifier", "fc", "head.1"])
def test_a_pooler_that_the_classifier_may_read_is_refused(name: str, tmp_path: Path) -> None:
    weights = {key: value for key, value in pooled().items() if not key.startswith("classifier.")} | linear(name)
    with pytest.raises(CheckpointError, match="may read the pooler .`pooler.dense`"):
        load(weights, tmp_path)
    started = load(weights, tmp_path, start=True)
    assert started.headless


def test_a_pooler_that_transformers_own_classifier_does_not_read_is_left_out(tmp_path: Path) -> None:
    torch.save(pooled(), tmp_path / "pytorch_model.bin")
    described = '{"model_type": "vit", "architectures": ["ViTForImageClassification"], "layer_norm_eps": 1e-12}'
    (tmp_path / "config.json").write_text(described)
    loaded = load_checkpoint(tmp_path)
    assert any("a pooler, which no classifier here reads" in note for note in loaded.notes)
    assert_same_logits(loaded, Transformers(pooled(), heads=1, eps=1e-12, body="vit"))
    (tmp_path / "config.json").write_text(described.replace("ViTForImageClassification", "ViTModel"))
    with pytest.raises(CheckpointError, match="may read the pooler"):
        load_checkpoint(tmp_path)


def test_one_name_inside_the_network_and_beside_it(tmp_path: Path) -> None:
    """Neither is known to be the one that counts."""
    inner = headless(timm_weights()) | linear("fc")
    with pytest.raises(CheckpointError, match="`fc.bias` stands inside the network and beside it"):
        load(under("backbone.", inner) | linear("fc"), tmp_path)


@pytest.mark.parametrize(
    ("shape", "match"),
    [
        ((CLASSES, 2 * WIDTH), "`fc` reads the class token and the mean of the patches, as DINOv2's"),
        ((CLASSES, WIDTH + 1), r"`fc.weight` has shape \[5, 65\], not that of a classifier over 64 channels"),
        ((CLASSES, WIDTH, 1, 1), r"`fc.weight` has shape \[5, 64, 1, 1\], not that of a classifier"),
    ],
)
def test_a_classifier_beside_that_reads_something_else(shape: tuple[int, ...], match: str, tmp_path: Path) -> None:
    head = {"fc.weight": torch.ones(shape), "fc.bias": torch.zeros(CLASSES)}
    with pytest.raises(CheckpointError, match=match):
        load(under("backbone.", headless(timm_weights())) | head, tmp_path)
