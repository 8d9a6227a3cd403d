"""Several processes: gradients averaged, batches shared out, the leader's value broadcast."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import torch
import torch.multiprocessing
from torch import nn

from sacvit_deploy.errors import UsageError
from sacvit_deploy.training.parallel import Team, join_team


def _member(rank: int, port: int, out: Path) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    team = join_team()
    used, unused = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))
    used.grad = torch.tensor([1.0, 2.0, 3.0]) * (1 + 2 * rank)
    team.average_gradients([used, unused])
    torch.save((team.rank, team.size, used.grad, unused.grad, team.broadcast(10.0 + rank)), out / f"{rank}.pt")


def test_gradients_are_averaged_and_the_leader_decides(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.spawn(_member, (port, tmp_path), nprocs=2)  # type: ignore[attr-defined, no-untyped-call]
    for number in range(2):
        rank, size, gradient, unused, value = torch.load(tmp_path / f"{number}.pt")
        assert (rank, size) == (number, 2)
        assert gradient.tolist() == [2.0, 4.0, 6.0]
        assert unused is None
        assert value == 10.0


def test_a_batch_is_divided_equally() -> None:
    shards = [list(range(12))[Team(rank, 3).shard(12)] for rank in range(3)]
    assert shards == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    with pytest.raises(UsageError, match="can't be shared by 3"):
        Team(0, 3).shard(10)


def test_a_single_process_needs_no_group() -> None:
    assert join_team() == Team(0, 1)
    assert Team().leads and Team().broadcast(3.5) == 3.5
