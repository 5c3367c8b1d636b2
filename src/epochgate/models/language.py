"""`transformers:FOLDER?output=logits&positions=16&width=64`: a causal language model of Hugging
Face, from a local folder.

A challenge is one row of token ids; the answer is a bounded slice of what the model makes of it, as
float32: of its last `positions` positions the first `width` logits, or elements of the last hidden
state.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import parse_qsl

import msgspec
import numpy as np
from numpy.typing import NDArray

from epochgate.models.model_error import ModelError, describe

if TYPE_CHECKING:
    import torch

EXAMPLE = "transformers:FOLDER?output=logits&positions=16&width=64"
Count = Annotated[int, msgspec.Meta(ge=1)]


class Slice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What of the model's output is served, and how the model runs.

    `dtype` and `device` are torch's names. Hosters that differ in them differ in their answers, and
    the policy's tolerance has to bear it.
    """

    output: Literal["logits", "hidden"] = "logits"
    positions: Count = 16
    width: Count = 64
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: str = "cpu"


def parse_slice(query: str) -> Slice:
    """Reads `output=logits&positions=16&width=64`; what is not said has its default. Raises
    ModelError.
    """
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
        served = msgspec.convert(dict(pairs), Slice, strict=False)
    except ValueError as error:  # msgspec's is one, too
        known = ", ".join(Slice.__struct_fields__)
        raise ModelError(
            f"{query!r} cannot be read ({error}): write {EXAMPLE}; known are {known}"
        ) from None
    if len(dict(pairs)) < len(pairs):
        raise ModelError(f"{query!r} says something twice: write {EXAMPLE}")
    return served


def load_language_model(name: str) -> LanguageModel:
    """The model in a folder, and the slice named behind the question mark. Raises ModelError.

    Only files of the folder are read, weights only from safetensors, and no code that comes with
    them is run.
    """
    folder, _, query = name.rpartition("?") if "?" in name else (name, "", "")
    served = parse_slice(query)
    path = Path(folder)
    if not (path / "config.json").is_file():
        raise ModelError(
            f"transformers:{folder}: there is no config.json: name the folder that save_pretrained"
            " wrote"
        )
    if not any(path.glob("*.safetensors")):
        raise ModelError(
            f"transformers:{folder}: there are no safetensors, and other weights are never read:"
            " save it anew"
        )
    try:
        import torch  # noqa: PLC0415 - heavy, and not part of a light installation
        from transformers import AutoModelForCausalLM  # noqa: PLC0415 - likewise
        from transformers.utils.logging import disable_progress_bar  # noqa: PLC0415 - likewise
    except ImportError as error:
        raise ModelError(
            f"a language model needs transformers: pip install 'epochgate[transformers]' ({error})"
        ) from error
    disable_progress_bar()
    try:
        module = AutoModelForCausalLM.from_pretrained(
            path,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=getattr(torch, served.dtype),
        )
        return LanguageModel(module.to(served.device).eval(), served)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"transformers:{folder} cannot be loaded: {describe(error)}") from error


class LanguageModel:
    """The Model port over a causal language model: token ids (1, sequence) in, float32 (positions,
    width) out.
    """

    def __init__(self, module: Any, served: Slice) -> None:
        """Raises ModelError for a width that the model has not."""
        config = module.config
        self.module = module
        self._served = served
        self._vocabulary: int = config.vocab_size
        self._longest: int | None = getattr(config, "max_position_embeddings", None)
        self._device = served.device
        self._answer = _make_answer(module, served)
        most = config.vocab_size if served.output == "logits" else config.hidden_size
        if served.width > most:
            raise ModelError(
                f"width is {served.width}, and the model has {most} {served.output} a position:"
                " name fewer"
            )

    def infer(self, challenge: NDArray[Any]) -> NDArray[np.float32]:
        """Raises ModelError for a challenge that is no row of token ids that this model knows."""
        import torch  # noqa: PLC0415 - heavy, and not part of a light installation

        self._check(challenge)
        ids = torch.from_numpy(challenge.astype(np.int64)).to(self._device)
        with torch.inference_mode():
            output = self._answer(ids)[0, -self._served.positions :, : self._served.width]
        answer: NDArray[np.float32] = output.float().cpu().numpy()
        return np.ascontiguousarray(answer)

    def _check(self, challenge: NDArray[Any]) -> None:
        positions = self._served.positions
        if challenge.dtype.kind not in "iu" or challenge.ndim != 2 or challenge.shape[0] != 1:
            saw = f"{challenge.dtype.name} {challenge.shape}"
            raise ModelError(
                f"a language model takes integers of shape (1, sequence), the challenge is {saw}:"
                f" {_ADVICE}"
            )
        if challenge.shape[1] < positions or challenge.shape[1] > (
            self._longest or challenge.shape[1]
        ):
            bounds = f"{positions} to {self._longest or 'any number of'}"
            raise ModelError(
                f"the model answers {bounds} tokens, the challenge has {challenge.shape[1]}:"
                f" {_ADVICE}"
            )
        if challenge.min() < 0 or challenge.max() >= self._vocabulary:
            raise ModelError(
                f"the model knows tokens 0 to {self._vocabulary - 1}, the challenge has"
                f" {challenge.min()} to {challenge.max()}: {_ADVICE}"
            )


_ADVICE = 'the policy should say TensorSpec("int64", (1, sequence), high=vocabulary)'


def _make_answer(module: Any, served: Slice) -> Callable[[torch.Tensor], torch.Tensor]:
    if served.output == "hidden":
        return lambda ids: module.base_model(input_ids=ids, use_cache=False).last_hidden_state
    options: Mapping[str, Any] = {"use_cache": False}
    if "logits_to_keep" in inspect.signature(module.forward).parameters:
        options = {
            **options,
            "logits_to_keep": served.positions,
        }  # all positions times all words would be large
    forward = functools.partial(module, **options)
    return lambda ids: forward(input_ids=ids).logits
