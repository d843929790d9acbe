"""Adding up the ranks of a ``torch.distributed`` job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist

from ..result.sums import GroupSums


def in_job() -> bool:
    """Whether this process is one of several in an initialised job."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def share_of(total: int | None) -> int | None:
    """This rank's share of a number of samples."""
    if total is None or not in_job():
        return total
    ranks = dist.get_world_size()
    return total // ranks + (dist.get_rank() < total % ranks)


def gather(item: Any, group: Any = None) -> list[Any]:
    """Every rank's item, on every rank."""
    items: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(items, item, group=group)
    return items


def rank_in(group: Any = None) -> int:
    """This process's number in the job."""
    return dist.get_rank(group)


@contextmanager
def together(group: Any = None) -> Iterator[None]:
    """Lets no rank wait for one that has failed: where one raises inside, all raise."""
    try:
        yield
    except Exception as error:
        gather(f"{type(error).__name__}: {error}", group)
        raise
    failures = [(rank, failure) for rank, failure in enumerate(gather(None, group)) if failure is not None]
    if failures:
        raise RuntimeError(f"Rank {failures[0][0]} of the job failed: {failures[0][1]}")


def add_up(sums: GroupSums, group: Any = None) -> GroupSums:
    """The sums over all ranks, which must cover the same region."""
    device = _device(group)
    groups = len(sums.counts)
    numbers = torch.cat([sums.counts, sums.dead, sums.prints, torch.tensor([sums.num_nonfinite])]).to(device)
    total, squares = sums.sums.to(device, copy=True), sums.squares.to(device, copy=True)
    for tensor in (total, numbers, squares):
        dist.all_reduce(tensor, group=group)
    counts, dead, prints, nonfinite = torch.split(numbers.cpu(), [groups, groups, groups, 1])
    return GroupSums(total.to(sums.sums.device), counts, dead, squares.cpu(), prints, sums.region, int(nonfinite))


def _device(group: Any) -> torch.device:
    nccl = "nccl" in str(dist.get_backend(group))
    return torch.device("cuda", torch.cuda.current_device()) if nccl else torch.device("cpu")
