"""``python -m jobs.check_mllm``: can the MLLM tell the attributes at all? (the paper's figure 8)"""

from __future__ import annotations

from gem_ray.config import GemConfig
from jobs.compose import run_job


def main(config: GemConfig) -> None:
    """Check, print the table, write figures and plot; an unfit model is an error."""
    from rich.console import Console

    from gem_ray.errors import ScorerError
    from gem_ray.evaluation.mllm_figures import check_figure, check_tables
    from gem_ray.scoring.checking.check import check_mllm
    from gem_ray.scoring.checking.checks import write_check
    from gem_ray.storage import Storage

    check = check_mllm(config)
    folder = Storage(config.check.output, config.storage)
    name = write_check(folder, check)
    folder.write_bytes(name.replace(".json", ".png"), check_figure(check))
    Console().print(*check_tables(check))
    print(f"{folder.uri}/{name} and the plot beside it")
    if check.at_chance:
        raise ScorerError(
            f"{check.model} is unfit for relations on {check.source}: it tells {', '.join(check.at_chance)} no better "
            "than by chance; use a more capable scoring.model=, or leave the attributes out of model.attributes"
        )
    print(f"{check.model} tells every attribute of {check.source} better than by chance")


if __name__ == "__main__":
    run_job("jobs.check_mllm", "Ask the MLLM about images with known attributes, and reckon how well it does.", main)
