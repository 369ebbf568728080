"""The nano MLLM: a LLaVA of under 4 M parameters (CLIP vision tower, two-layer projector, Llama), built from nothing.

The architecture is transformers' own, so vLLM serves it like any other LLaVA; only size and tokenizer are ours. An
image is 64x64 px in 8x8 patches, hence 64 image tokens; larger ones are resized by the model's processor.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from gem_ray.scoring.asking.model_files import NANO_FOLDER
from gem_ray.scoring.asking.prompts import DIGITS, IMAGE_TOKEN, PromptStyle, nano_prompt
from gem_ray.scoring.torchvision_compat import register

register()  # before transformers, whose image processors import torchvision

from transformers import (  # noqa: E402
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.utils.logging import disable_progress_bar  # noqa: E402

disable_progress_bar()  # one bar for each small file that is read or written

if TYPE_CHECKING:
    from collections.abc import Sequence

IMAGE_SIZE = 64
PATCH_SIZE = 8
WEIGHTS_FILE = "model.safetensors"
NUM_IMAGE_TOKENS = (IMAGE_SIZE // PATCH_SIZE) ** 2
PIXEL_MEAN = 0.5
PIXEL_STD = 0.5
VOCABULARY = 512
VISION_WIDTH = 160
UNKNOWN_ANSWER = "?"
"""Answered about attributes the model was not trained on: no digit, so the scorer counts the answer as missing."""

BOS, EOS, PAD = "<s>", "</s>", "<pad>"
# transformers saves the tower without the level that CLIP checkpoints, and so vLLM, have.
VISION_PREFIX, SERVED_VISION_PREFIX = "vision_tower.", "vision_tower.vision_model."


def build_tokenizer(attributes: Sequence[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE over the prompts of the given attribute names; any text can be encoded."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, BOS, EOS, IMAGE_TOKEN],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    corpus = [nano_prompt(name) + answer for name in attributes for answer in (*DIGITS, UNKNOWN_ANSWER)]
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=PAD, padding_side="left"
    )


def token_id(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    """Number of a token that is in the vocabulary."""
    return int(tokenizer.get_vocab()[token])


def build_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    """Image processor and tokenizer together, as vLLM loads them."""
    images = CLIPImageProcessorPil(
        size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        image_mean=[PIXEL_MEAN] * 3,
        image_std=[PIXEL_STD] * 3,
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=PATCH_SIZE,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )


def build_config(tokenizer: PreTrainedTokenizerFast) -> LlavaConfig:
    """Sizes of the model: 160 wide, five vision layers, two language layers."""
    vision = CLIPVisionConfig(
        hidden_size=VISION_WIDTH,
        intermediate_size=4 * VISION_WIDTH,
        num_hidden_layers=5,
        num_attention_heads=5,
        image_size=IMAGE_SIZE,
        patch_size=PATCH_SIZE,
        projection_dim=VISION_WIDTH,
        hidden_act="gelu_pytorch_tanh",
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=160,
        intermediate_size=448,
        num_hidden_layers=2,
        num_attention_heads=5,
        num_key_value_heads=5,
        head_dim=32,
        max_position_embeddings=256,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=token_id(tokenizer, IMAGE_TOKEN),
        image_seq_length=NUM_IMAGE_TOKENS,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )
    config.update({"gem_ray_prompt": PromptStyle.NANO.value})  # for us: transformers and vLLM pass over it
    return config


def build_model(config: LlavaConfig, seed: int) -> LlavaForConditionalGeneration:
    """The model with fresh weights, a function of the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(config)
        # CLIP's 0.02 is a seventh of what a patch adds, and where things are is half of what this tower must learn.
        torch.nn.init.normal_(model.model.vision_tower.embeddings.position_embedding.weight, std=0.1)
    return model


def save_nano(model: LlavaForConditionalGeneration, processor: LlavaProcessor, folder: Path) -> None:
    """Write model, tokenizer and processor as a folder that vLLM and transformers load; weights in bf16."""
    folder.mkdir(parents=True, exist_ok=True)
    copy = LlavaForConditionalGeneration(model.config)
    copy.load_state_dict(model.state_dict())
    copy.bfloat16().save_pretrained(folder)
    processor.save_pretrained(folder)
    weights = load_file(folder / WEIGHTS_FILE)
    served = {_served_name(name): tensor for name, tensor in weights.items()}
    save_file(served, folder / WEIGHTS_FILE, {"format": "pt"})
    (folder / "generation_config.json").unlink(missing_ok=True)


def load_nano(folder: Path = NANO_FOLDER) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """Model (fp32, evaluation mode) and processor of a folder that ``save_nano`` wrote."""
    model = LlavaForConditionalGeneration.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    return model.eval(), LlavaProcessor.from_pretrained(folder, local_files_only=True)


def _served_name(name: str) -> str:
    if name.startswith(SERVED_VISION_PREFIX) or not name.startswith(VISION_PREFIX):
        return name
    return SERVED_VISION_PREFIX + name.removeprefix(VISION_PREFIX)
