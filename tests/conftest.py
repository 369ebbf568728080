"""One torch thread in the test process: it shares two cores with what it starts."""

import torch

torch.set_num_threads(1)
