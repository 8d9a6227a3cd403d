"""What the name of an architecture or of an activation says, where no weight shows it; and what is guessed without."""

from __future__ import annotations

import re

from sacvit_deploy.errors import CheckpointError
from sacvit_deploy.export.settings_fields import Settings

# Their positions turn queries and keys: EVA-02, the rope-vit family, DINOv3 and networks on it, Perception Encoder.
ROTARY = re.compile(r"(^|_)rope(_|$)|^eva_?02|dinov3|^vit_pe_|_lingbot|_sapiens2")
# timm's definitions that have torch's own epsilon, where its other ViTs have 1e-6.
CLIP = re.compile(r"^vit_.*_clip_|^beit3_")
CLIP_EPS = 1e-5
TANH = ("vit_base_patch32_siglip", "vit_giantopt_", "vit_large_patch16_siglip_512", "vit_so400m_patch16_siglip")
# Names of activations by what they compute: GELU with the error function, and its approximations.
EXACT = ("gelu", "gelu_python", "gelu_erf", "gelu_none", "nn.gelu", "torch.nn.gelu")
APPROXIMATE = {
    "gelu_new": "GELU's approximation by tanh",
    "gelu_tanh": "GELU's approximation by tanh",
    "gelu_pytorch_tanh": "GELU's approximation by tanh",
    "gelu_python_tanh": "GELU's approximation by tanh",
    "gelu_accurate": "GELU's approximation by tanh",
    "gelu_fast": "GELU's approximation by tanh",
    "gelutanh": "GELU's approximation by tanh",
    "quick_gelu": "GELU's approximation by a sigmoid, as OpenAI's CLIP",
    "quickgelu": "GELU's approximation by a sigmoid, as OpenAI's CLIP",
}
HEAD_WIDTH = 64
# Widths whose heads are not 64 wide: ViT-H, -g, -G and SoViT-400m, in timm, transformers and the papers.
SIXTEEN_HEADS = (1152, 1280, 1408, 1664, 1792)
TEST_VIT = (64, 6, 192)  # width, depth and MLP of timm's test_vit, which has 2 heads


def said_by_name(name: str) -> Settings:
    """Return what an architecture's name says of a network's arithmetic; of a name that is not known, nothing."""
    plain = re.sub(r"[-./]", "_", name.lower().rpartition("/")[2])
    activation = "quick_gelu" if "quickgelu" in plain else "gelu_tanh" if plain.startswith(TANH) else None
    return Settings(
        norm_eps=CLIP_EPS if CLIP.search(plain) else None,
        activation=activation,
        rotary=name if ROTARY.search(plain) else None,
    )


def refuse_arithmetic(settings: Settings) -> None:
    """Raise CheckpointError where the files say that a network computes what SAC-ViT does not, by its name."""
    if settings.rotary is not None:
        raise CheckpointError(
            f"{settings.sources['rotary']} names the architecture `{settings.rotary}`, whose positions are rotary, "
            "which no weight shows; SAC-ViT's need a table (if the name is wrong, save the state_dict alone)"
        )
    if settings.activation is not None and settings.activation.lower() not in EXACT:
        found = settings.activation
        what = f", {APPROXIMATE[found.lower()]}" if found.lower() in APPROXIMATE else ""
        raise CheckpointError(
            f"its MLPs use {found}{what}, by {settings.sources['activation']}, and SAC-ViT's use gelu, the exact one"
        )


def guess_heads(width: int, depth: int, hidden: int, name: str = "") -> tuple[int, str]:
    """Return the likely number of attention heads, which no weight shows, and why. Raises CheckpointError.

    hidden: of the first MLP. name: the architecture's, where it is known.
    """
    if re.match(r"(timm/)?test_vit(\.|$)", name) or (not name and (width, depth, hidden) == TEST_VIT):
        return 2, "timm's test_vit"
    if width in SIXTEEN_HEADS:
        return 16, f"those of the published ViTs of width {width}"
    if width % HEAD_WIDTH:
        raise CheckpointError(f"the number of heads can't be told from width {width}; say --heads")
    return width // HEAD_WIDTH, f"width / {HEAD_WIDTH}"


def assumptions(
    settings: Settings, heads: tuple[int, str] | None, eps: float, size: int, *, clip: bool, named: bool
) -> list[str]:
    """Return one line with all that neither the weights nor a file says of a network and that is guessed; or none.

    heads: the guess with its reason, None where it is known. size: of the images, in pixels. clip: it has a norm before
    its blocks. named: its architecture is known, and with it whether its positions are rotary, too.
    """
    guesses = []
    if settings.pool is None:
        guesses.append("the class token is what it classifies")
    if not named:
        guesses.append("no rotary positions")
    if settings.activation is None:
        guesses.append("exact GELU" + " (OpenAI's CLIP has quick_gelu)" * clip)
    if settings.norm_eps is None:
        guesses.append(f"the norms' epsilon (`layer_norm_eps`) {eps:g}")
    if settings.image_size is None:
        guesses.append(f"images of {size} pixels")
    if heads is not None:
        guesses.append(f"heads {heads[0]} = {heads[1]}")
    if not guesses:
        return []
    flag = "--heads to change; " if heads is not None else ""
    return [
        f"no file says how it computes; assumed: {', '.join(guesses)} ({flag}its config.json, of timm or transformers, "
        "beside it is read)"
    ]
