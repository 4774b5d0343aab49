"""The processes that train one model together: who they are, what they add up, what the first tells the others.

Every process makes the same batch of a step and takes every N-th row of it. Gradients, losses and requests to stop are
added up in one exchange a step, so all processes take the same step and stop at the same one. Files, checkpoints and
progress are the first one's business: what the others need of a checkpoint it sends them.

Started by torchrun, which says rank and size in the environment; a process that nobody started so is alone, and loads
nothing of torch.distributed.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mmgen.errors import ConfigError, WorkersError
from mmgen.models.base import Share

PATIENCE = datetime.timedelta(minutes=10)
"""Longest wait for another process: the first may be saving a checkpoint or drawing samples meanwhile."""

FACTS = "facts"
"""Name, among the tensors of a checkpoint that is sent, of the JSON beside them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Workers:
    """One process's view of the group."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """Where this process computes."""

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and shows progress."""
        return self.rank == 0

    @property
    def share(self) -> Share:
        """The rows of each batch that this process takes."""
        return Share(self.rank, self.size)

    def summed(
        self, learned: Sequence[nn.Parameter], losses: Mapping[str, Tensor], *flags: bool
    ) -> tuple[dict[str, Tensor], list[bool]]:
        """Add up gradients (in place) and losses over all processes; a flag is true when it is anywhere.

        Raises:
            WorkersError: another process is gone.
        """
        if self.size == 1:
            return dict(losses), list(flags)
        import torch.distributed as dist

        # A parameter that no process reached keeps no gradient, as in one process: the optimiser then leaves it alone.
        signs = [parameter.grad is not None for parameter in learned] + list(flags)
        gradients = [torch.zeros_like(each) if each.grad is None else each.grad for each in learned]
        pieces = [*gradients, *losses.values(), torch.tensor(signs, dtype=torch.float32, device=self.device)]
        flat = torch.cat([piece.flatten() for piece in pieces])
        with _together():
            dist.all_reduce(flat)
        totals = torch.split(flat, [piece.numel() for piece in pieces])
        reached = [value > 0 for value in totals[-1].tolist()]
        for parameter, total, known in zip(learned, totals, reached, strict=False):
            parameter.grad = total.view_as(parameter) if known else None
        found = zip(losses, totals[len(learned) :], strict=False)
        return {name: total[0] for name, total in found}, reached[len(learned) :]

    def tell(self, value: Any = None) -> Any:
        """What the first process says, a JSON value; the others wait for it and give nothing.

        Raises:
            WorkersError: another process is gone.
        """
        return value if self.size == 1 else json.loads(self._send(json.dumps(value).encode()))

    def same(self, tensors: Iterable[Tensor]) -> None:
        """Give every process the first one's values, in place.

        Raises:
            WorkersError: another process is gone.
        """
        if self.size > 1:
            import torch.distributed as dist

            with _together():
                for tensor in tensors:
                    on_device = tensor.detach().to(self.device).contiguous()
                    dist.broadcast(on_device, 0)
                    tensor.detach().copy_(on_device)

    def checkpoint(
        self, found: tuple[dict[str, Tensor], dict[str, Any]] | None
    ) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The first process's checkpoint, or None where it has none.

        Raises:
            WorkersError: another process is gone.
        """
        if self.size == 1 or not self.tell(found is not None):
            return found
        from safetensors.torch import load, save

        content = b""
        if found is not None:
            facts = torch.frombuffer(bytearray(json.dumps(found[1]).encode()), dtype=torch.uint8)
            content = save({**{name: value.contiguous() for name, value in found[0].items()}, FACTS: facts})
        tensors = load(self._send(content))
        return tensors, json.loads(bytes(tensors.pop(FACTS).tolist()))

    def _send(self, content: bytes) -> bytes:
        """The first process's bytes, everywhere."""
        import torch.distributed as dist

        with _together():
            length = torch.tensor([len(content)], device=self.device)
            dist.broadcast(length, 0)
            buffer = torch.empty(int(length), dtype=torch.uint8)
            if self.leads:
                buffer = torch.frombuffer(bytearray(content), dtype=torch.uint8)
            buffer = buffer.to(self.device)
            dist.broadcast(buffer, 0)
        return buffer.cpu().numpy().tobytes()


def alone(device: str) -> Workers:
    """The group of one process that computes on `device`, `cpu` or `cuda`.

    Raises:
        ConfigError: there is no GPU.
    """
    return Workers(device=_device(device, 0, 1))


@contextlib.contextmanager
def joined(device: str) -> Iterator[Workers]:
    """The group that torchrun's environment describes, left again at the end of the block.

    Raises:
        ConfigError: there are fewer GPUs than processes.
        WorkersError: the others did not come.
    """
    import torch.distributed as dist
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    # Each asks for the GPUs of all: so all refuse, and nobody waits for one that has.
    place = _device(device, int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"]))
    backend = "nccl" if place.type == "cuda" else "gloo"
    with _together():
        store, _, _ = next(rendezvous("env://", timeout=PATIENCE))
        # torchrun keeps its store when it starts all again: without a name of their own, those that come first would
        # read the addresses of processes that are gone, and wait for them.
        tries = PrefixStore(f"restart-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
        dist.init_process_group(backend, store=tries, timeout=PATIENCE, rank=rank, world_size=size)
    try:
        yield Workers(rank=rank, size=size, device=place)
    finally:
        dist.destroy_process_group()


def _device(kind: str, number: int, processes: int) -> torch.device:
    if kind == "cpu":
        return torch.device("cpu")
    found = torch.cuda.device_count()
    if found < processes:
        raise ConfigError(
            f"training.device is {kind!r}, and this machine has {found} GPUs for {processes} processes; "
            "run it where there are more, or --set training.device=cpu"
        )
    torch.cuda.set_device(number)
    return torch.device(kind, number)


@contextlib.contextmanager
def _together() -> Iterator[None]:
    """An exchange that fails says that another process has ended: that one knows why."""
    try:
        yield
    except RuntimeError as error:
        line = " ".join(str(error).split())[:200]
        raise WorkersError(f"another process of the training is gone ({line}); run again to go on") from error
