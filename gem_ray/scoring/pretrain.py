"""Trains the nano MLLM on questions about drawn faces (``jobs.pretrain_mllm``).

One sequence an image holds the shared prefix and all its questions behind a block-diagonal mask, so that the vision
tower and the prefix are computed once an image. A linear probe reads the attributes from the tower's features too: it
gives the tower a direct gradient while the language model still learns to look, and is not part of what is saved.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from gem_ray.config import PretrainConfig
from gem_ray.data.faces import ATTRIBUTES
from gem_ray.scoring.lessons import SYNONYMS, Batch, Lessons, answer_tokens
from gem_ray.scoring.nano_model import (
    PIXEL_MEAN,
    PIXEL_STD,
    VISION_WIDTH,
    LlavaForConditionalGeneration,
    build_config,
    build_model,
    build_processor,
    build_tokenizer,
    save_nano,
)

PROBE_WEIGHT = 2.0
WARMUP_STEPS = 100
DRAWN_AHEAD = 4


class Pupil(nn.Module):
    """The nano MLLM and the probe that helps its tower; ``forward`` gives the loss of a batch."""

    def __init__(self, model: LlavaForConditionalGeneration, answers: list[int]) -> None:
        super().__init__()
        self.model = model
        self.answers = answers
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.probe = nn.Linear(VISION_WIDTH, len(ATTRIBUTES))

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Cross-entropy of the answers over the whole vocabulary, and the probe's squared error (both scalars)."""
        inner = self.model.model
        pixels = (batch.images.permute(0, 3, 1, 2).float() / 255.0 - PIXEL_MEAN) / PIXEL_STD
        patches = inner.vision_tower(pixels, output_hidden_states=True).hidden_states[-1][:, 1:]
        embedded = inner.get_input_embeddings()(batch.tokens)
        is_image = (batch.tokens == self.model.config.image_token_id).unsqueeze(-1)
        embedded = embedded.masked_scatter(is_image, inner.multi_modal_projector(patches).to(embedded.dtype))
        hidden = inner.language_model(
            inputs_embeds=embedded,
            attention_mask=block_diagonal_mask(batch.groups),
            position_ids=batch.positions,
            use_cache=False,
        ).last_hidden_state
        logits = self.model.lm_head(hidden[batch.ends[:, 0], batch.ends[:, 1]]).float()
        wanted = torch.zeros_like(logits)
        wanted[:, self.answers] = batch.answers
        guess = torch.sigmoid(self.probe(patches.float().mean(dim=1)))
        return F.cross_entropy(logits, wanted), F.mse_loss(guess, batch.attributes)


def block_diagonal_mask(groups: torch.Tensor) -> torch.Tensor:
    """Who may look at whom: float [B, 1, T, T] to add to the logits, 0 where a query sees a key.

    Args:
        groups: int [B, T]; a token sees earlier tokens of the prefix (group 0) and of its own group
    """
    query, key = groups.unsqueeze(2), groups.unsqueeze(1)
    causal = torch.ones(groups.shape[1], groups.shape[1], dtype=torch.bool).tril()
    seen = (causal & ((key == 0) | (key == query))).unsqueeze(1)
    return torch.zeros(seen.shape).masked_fill_(~seen, torch.finfo(torch.float32).min)


def learning_rate_factor(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine down to 1 % of the peak."""
    if step < WARMUP_STEPS:
        return (step + 1) / WARMUP_STEPS
    done = min(1.0, (step - WARMUP_STEPS) / max(1, steps - WARMUP_STEPS))
    return 0.01 + 0.99 * 0.5 * (1.0 + float(torch.cos(torch.tensor(done * torch.pi))))


def pretrain(config: PretrainConfig) -> Path:
    """Train the nano MLLM and write it to ``config.output``; goes on from its last checkpoint where there is one.

    Returns:
        Path: the folder with model, tokenizer and processor
    """
    torch.set_num_threads(config.num_threads)
    tokenizer = build_tokenizer([name for names in SYNONYMS.values() for name in names])
    processor = build_processor(tokenizer)
    pupil = Pupil(build_model(build_config(tokenizer), config.seed), answer_tokens(tokenizer))
    pupil.model.set_attn_implementation("eager")  # sdpa's bf16 backward is four times slower on a CPU (torch 2.13)
    optimizer = torch.optim.AdamW(
        pupil.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=0.05, fused=True
    )
    checkpoints = Path(config.checkpoints)
    start = _restore(checkpoints, pupil, optimizer)
    began, shown = time.monotonic(), time.monotonic()
    lessons = Lessons(tokenizer, config.seed, config.batch_images)
    for step, batch in enumerate(_batches(lessons, start, config.steps), start):
        loss, probe = _step(pupil, optimizer, batch, config.learning_rate * learning_rate_factor(step, config.steps))
        if time.monotonic() - shown > config.log_every_s or step + 1 == config.steps:
            shown = time.monotonic()
            rate = (step + 1 - start) / (shown - began)
            print(
                f"step {step + 1}/{config.steps}  loss {loss:.4f}  probe {probe:.4f}  "
                f"{rate * config.batch_images:.0f} images/s  {(config.steps - step - 1) / rate / 60:.1f} min left",
                flush=True,
            )
        if (step + 1) % config.checkpoint_every_steps == 0 or step + 1 == config.steps:
            _save(checkpoints, step + 1, pupil, optimizer)
            save_nano(pupil.model, processor, Path(config.output))
    return Path(config.output)


def _step(pupil: Pupil, optimizer: torch.optim.Optimizer, batch: Batch, rate: float) -> tuple[float, float]:
    for group in optimizer.param_groups:
        group["lr"] = rate
    with torch.autocast("cpu", torch.bfloat16, enabled=torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        loss, probe = pupil(batch)
    optimizer.zero_grad(set_to_none=True)
    (loss + PROBE_WEIGHT * probe).backward()
    nn.utils.clip_grad_norm_(pupil.parameters(), 1.0)
    optimizer.step()
    return loss.item(), probe.item()


def _batches(lessons: Lessons, start: int, stop: int) -> Iterator[Batch]:
    """Batches start to stop, drawn ahead in a thread: torch holds the interpreter's lock for little of a step."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        ahead = deque(pool.submit(lessons.batch, step) for step in range(start, min(stop, start + DRAWN_AHEAD)))
        for step in range(start, stop):
            if step + DRAWN_AHEAD < stop:
                ahead.append(pool.submit(lessons.batch, step + DRAWN_AHEAD))
            yield ahead.popleft().result()


def _save(folder: Path, step: int, pupil: Pupil, optimizer: torch.optim.Optimizer) -> None:
    target, temporary = folder / f"step_{step:06d}", folder / f".step_{step:06d}.{os.getpid()}"
    temporary.mkdir(parents=True)
    save_file(pupil.state_dict(), temporary / "model.safetensors")
    state = optimizer.state_dict()["state"]
    flat = {f"{index}.{name}": value for index, entry in state.items() for name, value in entry.items()}
    save_file(flat, temporary / "optimizer.safetensors")
    (temporary / "state.json").write_text(json.dumps({"step": step}))
    shutil.rmtree(target, ignore_errors=True)
    temporary.rename(target)  # complete or invisible
    for old in sorted(folder.glob("step_*"))[:-1]:
        shutil.rmtree(old)


def _restore(folder: Path, pupil: Pupil, optimizer: torch.optim.Optimizer) -> int:
    found = sorted(folder.glob("step_*"))
    if not found:
        return 0
    pupil.load_state_dict(load_file(found[-1] / "model.safetensors"))
    state = optimizer.state_dict()
    for key, value in load_file(found[-1] / "optimizer.safetensors").items():
        index, name = key.split(".", 1)
        state["state"].setdefault(int(index), {})[name] = value
    optimizer.load_state_dict(state)
    step = int(json.loads((found[-1] / "state.json").read_text())["step"])
    print(f"going on from step {step} in {found[-1]}", flush=True)
    return step
