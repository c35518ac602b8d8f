"""Where the pixels lie: on the device, in host memory, or in the shards."""

import logging
import os
from pathlib import Path
from typing import Literal

import torch
from lightning_fabric import Fabric

from stages.common.errors import FacetError

log = logging.getLogger(__name__)

Memory = Literal["device", "host", "stream"]

#: Files that hold a container's limit, of control groups 2 and 1.
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def choose_memory(
    wanted: Literal["auto", "device", "host", "stream"],
    n_bytes: int,
    device: torch.device,
    n_local: int = 1,
) -> Memory:
    """Where `n_bytes` of pixels go, of which each of `n_local` processes holds a copy.

    auto: on a GPU if they fill at most half of its free memory, else in host memory if they fill
    at most half of it, else streamed. Of host memory it counts what the machine has, not what is
    free just then, because the order of a streamed epoch is another one. On a CPU device and host
    are the same.

    Raises:
        FacetError: device or host was asked for, and does not hold them.
    """
    device_bytes = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
    host_bytes = total_memory() // n_local
    fits_device, fits_host = n_bytes <= device_bytes // 2, n_bytes <= host_bytes // 2
    if wanted == "stream":
        return "stream"
    if device.type == "cuda" and (wanted == "device" or (wanted == "auto" and fits_device)):
        if n_bytes > device_bytes:
            raise FacetError(
                f"train.memory: expected auto, host or stream, as {n_bytes / 1e9:.1f} GB of pixels "
                f"do not fit into {device_bytes / 1e9:.1f} GB of free GPU memory; got device"
            )
        return "device"
    if wanted != "auto":
        if n_bytes > host_bytes:
            raise FacetError(
                f"train.memory: expected auto or stream, as {n_bytes / 1e9:.1f} GB of pixels do "
                f"not fit into {host_bytes / 1e9:.1f} GB of memory; got {wanted}"
            )
        return "host"
    if fits_host:
        return "host"
    log.info(
        "train: %.1f GB of pixels are more than half of %.1f GB of memory: streaming them",
        n_bytes / 1e9,
        host_bytes / 1e9,
    )
    return "stream"


def agree_memory(chosen: Memory, fabric: Fabric) -> Memory:
    """The most sparing choice of all processes: all must show images in the same order."""
    order: list[Memory] = ["device", "host", "stream"]
    places = fabric.all_gather(torch.tensor(order.index(chosen), device=fabric.device))
    assert isinstance(places, torch.Tensor)
    return order[int(places.max())]


def total_memory() -> int:
    """Bytes of memory that this process may use at most: the machine's, or its container's."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in LIMITS:
        try:
            text = Path(name).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            total = min(total, int(text))
    return total
