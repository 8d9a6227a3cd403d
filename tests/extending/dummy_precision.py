"""`sacvit` with one precision more, added as CONTRIBUTING's recipe says: two entries, in two files.

python tests/extending/dummy_precision.py export --ckpt model.safetensors --bf16w
"""

from __future__ import annotations

import copy

import torch

from sacvit_deploy.commands.group import main
from sacvit_deploy.export.model import ReferenceSACViT
from sacvit_deploy.export.modules import CONVERSIONS
from sacvit_deploy.precisions import PRECISIONS, Precision


def rounded(model: ReferenceSACViT) -> ReferenceSACViT:
    """Round the weights to bfloat16 and leave the arithmetic in fp32."""
    out = copy.deepcopy(model)
    for parameter in out.parameters():
        parameter.data = parameter.data.to(torch.bfloat16).float()
    return out


PRECISIONS["bf16w"] = Precision(
    "Also write a variant with bfloat16 weights.", "export", tolerance=5e-2, cpu=4, device=4
)
CONVERSIONS["bf16w"] = rounded

if __name__ == "__main__":
    main()
