"""What stands beside a network that classifies, told by its weights' names: towers, decoders, other heads, losses."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

LOSS = "a loss or a metric"
# Of a part of a dotted name: what the weights below it are. The first that fits counts.
KINDS = {
    r"criterion\w*|\w*loss(es)?|\w*loss_(fn|func)\w*|metrics?|\w+_metrics?|(train|val|valid|test)_(acc\w*|auroc|f1)|"
    r"class_weights?|pos_weight": LOSS,
    r"text|text_?(model|encoder|decoder|tower|branch|proj\w*|embed\w*)|textual|language_model|llm|bert|token_embedding|"
    r"ln_final|embed_tokens|tokenizer": "a text tower",
    r"lm_head|mlm\w*|cls_predictions|itm_head|vqa\w*|caption\w*": "a language head",
    r"rpn\w*|roi_heads?|bbox_(head|embed|predictor)|class_(embed|labels_classifier)|box_\w+|query_embed|"
    r"det(ection)?_head|input_proj": "a detector's head",
    r"mask_decoder|prompt_encoder|mask_(head|embed)|decode_head|aux(iliary)?_head|seg\w*_head|sem_seg_head|segmenter|"
    r"neck|fpn\w*|depth_head": "a head for segmentation",
    r"decoder\w*|mim_\w+|pixel_decoder": "a decoder",
    r"\w*projector|projection_head|proj_head|predictor|prototypes?|dino_(head|loss)|ibot_\w+|last_layer|queue\w*|"
    r"center|contrastive\w*|simclr\w*|byol\w*": "a projection for self-supervised training",
    r"(module_)?(optimi[sz]er|exp_avg\w*)": "an optimiser's moments",
}
_KINDS = {re.compile(pattern): words for pattern, words in KINDS.items()}
# What a layer or a dict of layers is called that classifies.
HEADISH = re.compile(r"(\w*_)?(heads?|classifier|fc|linear|clf|probe)(_\w+)?", re.IGNORECASE)
# Names by which a number beside the network changes its answers.
RESCALES = re.compile(r"(.*\.)?(temperature|temp|tau|logit_scale|logit_bias|(inv_|cosine_|output_)?scale)(\.\w+)?")


@dataclass(frozen=True)
class Part:
    """Weights with one beginning and what they are: title ``text_model``, kind ``a text tower``."""

    title: str
    kind: str
    names: tuple[str, ...]


def parts_in(names: Iterable[str]) -> list[Part]:
    """Return the parts that names tell, in the order of their first names; names of no known part are in none."""
    found: dict[tuple[str, str], list[str]] = {}
    for name in names:
        pieces = name.split(".")
        for at, piece in enumerate(pieces):
            kind = next((words for pattern, words in _KINDS.items() if pattern.fullmatch(piece)), None)
            if kind is not None:
                found.setdefault((".".join(pieces[: at + 1]), kind), []).append(name)
                break
    return [Part(title, kind, tuple(inside)) for (title, kind), inside in found.items()]


def listed_parts(parts: Iterable[Part]) -> str:
    """Name parts for a line, each kind once: ``a text tower (`text_model` and 3 more), a decoder (`decoder`)``."""
    by_kind: dict[str, list[Part]] = {}
    for part in parts:
        by_kind.setdefault(part.kind, []).append(part)
    words = []
    for kind, same in by_kind.items():
        more = f" and {len(same) - 1} more" * (len(same) > 1)
        words.append(f"{kind} (`{same[0].title}`{more})")
    return ", ".join(words)
