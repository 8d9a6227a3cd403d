"""Stage 2's clusters as matrices over its tokens, made in the graph from how many targets and background tokens it has.

A token's facts are a row of floats, since runtimes keep whole numbers that follow from shapes on the host: what it adds
to the logits of tokens of each kind, one for its own kind and zero for the others, and its number.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sacvit_deploy.geometry import CHILDREN

MULTIPLE = 8  # CUDA's fused attention takes a mask for such numbers of tokens alone
HIDDEN = -60000.0  # added to a logit, it leaves nothing of the probability; half precision holds it
TARGET, FIRST, SECOND, BACKGROUND, PADDING = range(5)  # kinds; the shared tokens are FIRST, and SECOND where they recur
KINDS = PADDING + 1


class Places(nn.Module):
    """The sequence of targets, shared tokens, background and padding, for up to `tokens` = N targets.

    count: shared tokens, the class token and registers. twice: they stand there once for each cluster, and their two
    updates are averaged; otherwise once, and see all.
    """

    def __init__(self, tokens: int, count: int, *, twice: bool) -> None:
        super().__init__()
        self.twice = twice
        children = CHILDREN * tokens
        seen: dict[int, tuple[int, ...]] = {TARGET: (TARGET, FIRST), PADDING: (PADDING,)}
        if twice:
            seen |= {FIRST: seen[TARGET], SECOND: (SECOND, BACKGROUND), BACKGROUND: (SECOND, BACKGROUND)}
        else:
            seen |= {FIRST: (TARGET, FIRST, BACKGROUND), BACKGROUND: (FIRST, BACKGROUND)}

        def facts(kind: int, first: int, length: int) -> Tensor:
            added = [0.0 if other in seen[kind] else HIDDEN for other in range(KINDS)]
            own = [float(other == kind) for other in range(KINDS)]
            return torch.tensor([[*added, *own, first + number] for number in range(length)])

        self.targets = nn.Buffer(facts(TARGET, 0, children))
        self.background = nn.Buffer(facts(BACKGROUND, children, tokens))
        self.padding = nn.Buffer(facts(PADDING, children + tokens, MULTIPLE))
        shared = [facts(kind, -count, count) for kind in ((FIRST, SECOND) if twice else (FIRST,))]
        self.shared = nn.Buffer(torch.cat(shared))

    def facts(self, targets: int, background: int) -> tuple[Tensor, int]:
        """Return the facts [T,11] of a sequence, padded to a multiple of MULTIPLE, and how many tokens pad it."""
        padding = -(targets + len(self.shared) + background) % MULTIPLE
        parts = (self.targets[:targets], self.shared, self.background[:background], self.padding[:padding])
        return torch.cat(parts), padding

    def mask(self, facts: Tensor) -> Tensor:
        """Return what is added to the logits [T,T]: 0 where the row's token sees the column's, else HIDDEN."""
        return facts[:, :KINDS] @ facts[:, KINDS : 2 * KINDS].T

    def mean(self, facts: Tensor) -> Tensor:
        """Return the matrix [T,T] that averages the two places of each shared token and keeps all others."""
        number = facts[:, -1]
        same = (number[:, None] == number).float()
        return same / same.sum(dim=1, keepdim=True)
