"""How a start begins: workers are ready before an MLLM is loaded, and a short run would end without relations."""

from __future__ import annotations

import time

import torch
import torch.distributed as dist

from gem_ray.config import GemConfig
from gem_ray.structured_log import say
from gem_ray.train.relation_feed import RelationPoller

LOOK_EVERY_S = 0.25
SAY_AFTER_S = 1.0  # the poller has not looked at once; workers that are started anew have nothing to say


def wait_for_mllm(config: GemConfig, poller: RelationPoller | None, device: torch.device) -> float:
    """Hold a first step until the MLLM answers, ``scoring.wait_s`` at most; a collective of all ranks.

    Workers that Ray Train starts anew find the rescorer there, whatever has become of the MLLM, and wait for nothing;
    only where the model has not been loaded yet do they wait once more.

    Args:
        poller: rank 0's, None on the others
        device: of the process group's tensors

    Returns:
        seconds waited
    """
    began = time.monotonic()
    if config.scoring.scorer != "vllm":
        return 0.0
    said = False
    while True:
        waited_s = time.monotonic() - began
        if poller and not said and waited_s >= SAY_AFTER_S:
            said = True
            say(f"the workers are ready and wait for the MLLM, scoring.wait_s={config.scoring.wait_s:g} s at most")
        late = waited_s >= config.scoring.wait_s
        begins = poller is not None and (late or poller.rescorer is not None)
        begin = torch.tensor([begins], dtype=torch.uint8, device=device)
        dist.broadcast(begin, 0)  # one by one: a single long wait would end by the time-out of collectives
        if begin:
            break
        time.sleep(LOOK_EVERY_S)
    if poller and not poller.rescorer:
        say(f"training begins without the MLLM, which does not answer after {waited_s:.0f} s")
    return waited_s
