"""``python -m benchmarks [--only GROUP ...] [--repeats N]``: the ratios that need no GPU, with controls that must move.

Nothing heavy is imported before it is measured, so that ``--help`` answers at once.
"""

from __future__ import annotations

from benchmarks.command import Group, main_of

GROUPS = {
    "decoding": Group("benchmarks.decoding:decoding", 10, "our decoder over Pillow's way, JPEG of two sizes"),
    "reading": Group("benchmarks.reading:reading", 40, "batches from memory over decoding JPEG, and over bare numpy"),
    "streaming": Group(
        "benchmarks.streaming:streaming", 90, "streams over torch's DataLoader, S3 over files, resuming"
    ),
    "precision": Group("benchmarks.core:precision", 30, "bf16 step over fp32 step"),
    "propagation": Group("benchmarks.core:propagation", 30, "dense message passing over PyG's sparse one"),
    "compiling": Group("benchmarks.compiling:compiling", 90, "torch.compile over eager, channels-last over not"),
    "workers": Group("benchmarks.workers:workers", 60, "two DDP workers over one, a thread each"),
    "training": Group(
        "benchmarks.training:training", 240, "Ray Train: resident and streamed ingest, graph poller, checkpoints"
    ),
    "watching": Group("benchmarks.watching:watching", 60, "steps that are timed and exported over bare ones"),
    "store": Group("benchmarks.store:store", 40, "batched pushes to the graph store over single ones"),
    "calling": Group("benchmarks.calling:calling", 60, "Serve handle over HTTP, a stub in place of the MLLM"),
    "saturation": Group(
        "benchmarks.saturation:training", 150, "training steps beside a busy MLLM over beside an idle one"
    ),
    "asking": Group(
        "benchmarks.pair_prompts:pair_prompts", 10, "what a pass over all pairs costs in prompts and tokens"
    ),
}


def main() -> None:
    """Measure and print."""
    main_of("Ratios of two things timed in turn on this machine.", GROUPS)


if __name__ == "__main__":
    main()
