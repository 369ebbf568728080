"""A process group of one, so that collectives run for real without Ray."""

import pytest
import torch.distributed as dist


@pytest.fixture
def process_group_of_one(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    yield
    dist.destroy_process_group()
