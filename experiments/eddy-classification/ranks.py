"""
The processes that train together, whoever started them.

`connect()` finds out: Horovod when HOROVOD_RANK is set, torch.distributed when RANK, WORLD_SIZE and
MASTER_ADDR are (as torchrun sets them), else this process alone. Each library is used in its own
way: Horovod wraps the optimizer, torch.distributed wraps the model. Both average the gradients.
"""

import os

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class Ranks:
    """
    One process alone, and what the others have in common with it.

    Attributes:
        rank: number of this process, from 0.
        size: how many there are.
        device: where this process computes.
    """

    name = "alone"

    def __init__(self) -> None:
        self.rank, self.size = 0, 1
        self.device = _device(0, torch.cuda.is_available())

    def join(self, model: nn.Module, optimizer: Optimizer) -> tuple[nn.Module, Optimizer]:
        """
        Start every rank from the state of rank 0, and average gradients from now on.

        Args:
            model: on `device`.
            optimizer: of the model's parameters.

        Returns:
            What to call and what to step in the training loop; `model` shares their weights.
        """
        return model, optimizer

    def sum(self, values: Tensor) -> Tensor:
        """Sum over the ranks, element by element; every rank must call it and gets the result."""
        return values

    def close(self) -> None:
        """Say goodbye to the other ranks."""


class TorchRanks(Ranks):
    """Ranks that meet through torch.distributed: NCCL between GPUs, gloo between CPUs."""

    name = "torch.distributed"

    def __init__(self) -> None:
        cuda = torch.cuda.is_available()
        self.device = _device(int(os.environ.get("LOCAL_RANK", "0")), cuda)
        torch.distributed.init_process_group("nccl" if cuda else "gloo")
        self.rank = torch.distributed.get_rank()
        self.size = torch.distributed.get_world_size()

    def join(self, model: nn.Module, optimizer: Optimizer) -> tuple[nn.Module, Optimizer]:
        """Wrap the model; making the wrapper sends the weights of rank 0 to all."""
        devices = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, device_ids=devices), optimizer

    def sum(self, values: Tensor) -> Tensor:
        """All-reduce of a copy on this rank's device, given back where `values` are."""
        total = values.to(self.device, copy=True)
        torch.distributed.all_reduce(total)
        return total.to(values.device)

    def close(self) -> None:
        """Leave the process group."""
        torch.distributed.destroy_process_group()


class HorovodRanks(Ranks):
    """Ranks that meet through Horovod; they use a GPU only where Horovod was built with NCCL."""

    name = "horovod"

    def __init__(self) -> None:
        import horovod.torch as hvd

        hvd.init()
        self._hvd = hvd
        self.rank, self.size = hvd.rank(), hvd.size()
        cuda = torch.cuda.is_available() and bool(hvd.nccl_built())
        self.device = _device(hvd.local_rank(), cuda)

    def join(self, model: nn.Module, optimizer: Optimizer) -> tuple[nn.Module, Optimizer]:
        """Send the state of rank 0 to all and wrap the optimizer."""
        self._hvd.broadcast_parameters(model.state_dict(), root_rank=0)
        if optimizer.state:  # else Horovod would take a step first, which decays the weights
            self._hvd.broadcast_optimizer_state(optimizer, root_rank=0)
        names = model.named_parameters()
        return model, self._hvd.DistributedOptimizer(optimizer, named_parameters=names)

    def sum(self, values: Tensor) -> Tensor:
        """All-reduce of the values."""
        total: Tensor = self._hvd.allreduce(values, op=self._hvd.Sum)
        return total

    def close(self) -> None:
        """Leave Horovod's ring."""
        self._hvd.shutdown()


def connect() -> Ranks:
    """Meet the other ranks; blocks until all are there or the library gives up."""
    if "HOROVOD_RANK" in os.environ:
        return HorovodRanks()
    if {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys():
        return TorchRanks()
    return Ranks()


def _device(local_rank: int, cuda: bool) -> torch.device:
    if not cuda:
        return torch.device("cpu")
    device = torch.device("cuda", local_rank % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device
