"""Devices and processes: data-parallel training under torchrun, with batches shared out and gradients averaged."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from sacvit_deploy.errors import UsageError


@dataclass(frozen=True)
class Team:
    """Rank of this process among the `size` processes that train one model."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Tells whether this process writes the files and the messages."""
        return self.rank == 0

    def shard(self, batch: int) -> slice:
        """Return this process's rows of a batch. Raises UsageError if the batch can't be divided equally."""
        if batch % self.size:
            raise UsageError(f"a batch of {batch} can't be shared by {self.size} processes; make it a multiple")
        each = batch // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its mean over the processes."""
        if self.size == 1:
            return
        for parameter in parameters:
            if parameter.grad is not None:
                dist.all_reduce(parameter.grad)
                parameter.grad /= self.size

    def broadcast(self, value: float) -> float:
        """Return rank 0's value in every process, so that all take the same decision."""
        if self.size == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=team_device())
        dist.broadcast(shared, 0)
        return float(shared)


def join_team() -> Team:
    """Join the processes that torchrun started; without torchrun, return a team of one."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Team()
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    # The group's threads must end before the interpreter does, or the process is now and then aborted after its work.
    atexit.register(dist.destroy_process_group)
    return Team(dist.get_rank(), size)


def team_device() -> torch.device:
    """Return this process's own GPU, or the CPU on a machine without one."""
    return torch.device("cuda", dist.get_node_local_rank(0)) if torch.cuda.is_available() else torch.device("cpu")


def fast_bf16(device: torch.device) -> bool:
    """Tell whether bfloat16 products are fast on `device`: GPUs from Ampere on, CPUs with instructions for them."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and any(name in cpuinfo.read_text() for name in ("avx512_bf16", "amx_bf16"))
