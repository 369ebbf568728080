"""The shipped MLLM read in this process, by torch alone: for measuring a trained model where no deployment is up.

Each image goes through the vision tower once; every attribute is then asked about by the same prompt as through vLLM.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from gem_ray.scoring.asking.prompts import DIGITS, nano_prompt
from gem_ray.scoring.nano_model import load_nano, token_id

BATCH = 128


class NanoReader:
    """Digit distributions of the nano MLLM's answers about images."""

    def __init__(self) -> None:
        self._model, self._processor = load_nano()
        self._digits = [token_id(self._processor.tokenizer, digit) for digit in DIGITS]

    @torch.no_grad()
    def read(self, images: NDArray[np.uint8], attributes: Sequence[str]) -> NDArray[np.float64]:
        """Probabilities [N, n, 6] of the digits, renormalised to 1, for images uint8 [N, H, W, 3].

        Images of another size than the model's are resized by its own processor.
        """
        parts = [self._read_batch(images[at : at + BATCH], attributes) for at in range(0, len(images), BATCH)]
        return np.concatenate(parts)

    def _read_batch(self, images: NDArray[np.uint8], attributes: Sequence[str]) -> NDArray[np.float64]:
        inner = self._model.model
        pictures = [Image.fromarray(image) for image in images]
        pixels = self._processor.image_processor(images=pictures, return_tensors="pt")["pixel_values"]
        patches = inner.vision_tower(pixels, output_hidden_states=True).hidden_states[-1][:, 1:]
        features = inner.multi_modal_projector(patches)
        answers = [self._answer(features, pictures[0], attribute) for attribute in attributes]
        return torch.stack(answers, dim=1).double().numpy()

    def _answer(self, features: Tensor, picture: Image.Image, attribute: str) -> Tensor:
        """Digit probabilities [B, 6] about one attribute, from the projected patches [B, P, D] of each image."""
        # The prompt of one image serves all: the processor puts as many image tokens into it as there are patches.
        tokens = self._processor(images=picture, text=nano_prompt(attribute), return_tensors="pt")["input_ids"]
        tokens = tokens.expand(len(features), -1)
        embedded = self._model.model.get_input_embeddings()(tokens)
        is_image = (tokens == self._model.config.image_token_id).unsqueeze(-1)
        embedded = embedded.masked_scatter(is_image, features.to(embedded.dtype))
        hidden = self._model.model.language_model(inputs_embeds=embedded, use_cache=False).last_hidden_state[:, -1]
        logits = self._model.lm_head(hidden).float()[:, self._digits]
        return logits.softmax(dim=1)
