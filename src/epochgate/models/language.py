"""`transformers:FOLDER?output=logits&positions=16&width=64`: a causal language model of Hugging
Face, from a local folder.

A challenge is one row of token ids. The answer is a bounded slice of the model's output, as
float32: of its last `positions` positions the first `width` logits, or the first `width` elements
of the last hidden state.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
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
    """The part of the model's output that is served, and how the model runs.

    `dtype` and `device` are torch's names. Hosters that differ in them differ in their answers, and
    the policy's tolerance has to allow for that.
    """

    output: Literal["logits", "hidden"] = "logits"
    positions: Count = 16
    width: Count = 64
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: str = "cpu"


def parse_slice(query: str) -> Slice:
    """Read options such as `output=logits&positions=16&width=64`.

    Args:
        query: The options; those left out have their defaults.

    Returns:
        The slice.

    Raises:
        ModelError: An option is unknown, malformed, or given twice.
    """
    pairs: list[tuple[str, str]] = []
    try:
        if query:
            pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True)
        served = msgspec.convert(dict(pairs), Slice, strict=False)
    except ValueError as error:  # msgspec's is one, too
        known = ", ".join(Slice.__struct_fields__)
        raise ModelError(
            f"{query!r} cannot be read ({error})", f"write {EXAMPLE}; known are {known}"
        ) from None
    if len(dict(pairs)) < len(pairs):
        raise ModelError(f"{query!r} says something twice", f"write {EXAMPLE}")
    return served


def load_language_model(name: str) -> LanguageModel:
    """Load the model in a folder.

    Only files of the folder are read, weights only from safetensors, and no code that comes with
    them is run.

    Args:
        name: The folder, and perhaps a question mark and options, as `parse_slice` reads them.

    Returns:
        The model, in evaluation mode.

    Raises:
        ModelError: The folder or an option cannot be used, or transformers is not installed.
    """
    folder = name
    query = ""
    if "?" in name:
        folder, _, query = name.rpartition("?")
    served = parse_slice(query)
    path = Path(folder)
    if not (path / "config.json").is_file():
        raise ModelError(
            f"transformers:{folder}: there is no config.json",
            "name the folder that save_pretrained wrote",
        )
    if not any(path.glob("*.safetensors")):
        raise ModelError(
            f"transformers:{folder}: there are no safetensors, and other weights are never read",
            "save it anew",
        )
    try:
        import torch  # noqa: PLC0415 - heavy, and not part of a light installation
        from transformers import AutoModelForCausalLM  # noqa: PLC0415 - likewise
        from transformers.utils.logging import disable_progress_bar  # noqa: PLC0415 - likewise
    except ImportError as error:
        raise ModelError(
            f"a language model needs transformers ({error})",
            "pip install 'epochgate[transformers]'",
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
    """The Model port over a causal language model.

    A challenge is token ids of shape (1, sequence), an answer float32 of shape (positions, width).
    """

    def __init__(self, module: Any, served: Slice) -> None:
        """Serve a slice of a model.

        Args:
            module: A causal language model of transformers, in evaluation mode.
            served: The slice.

        Raises:
            ModelError: The slice is wider than the model's output.
        """
        config = module.config
        self.module = module
        self._served = served
        self._vocabulary: int = config.vocab_size
        self._longest: int | None = getattr(config, "max_position_embeddings", None)
        self._device = served.device
        self._answer = _make_answer(module, served)
        widths = {"logits": config.vocab_size, "hidden": config.hidden_size}
        max_width = widths[served.output]
        if served.width > max_width:
            raise ModelError(
                f"width is {served.width}, and the model has {max_width} {served.output}"
                " in a position",
                "name fewer",
            )

    def infer(self, challenge: NDArray[np.generic], /) -> NDArray[np.float32]:
        """Answer a row of token ids.

        Raise ModelError where the challenge is not such a row, or has tokens that the model lacks.
        """
        import torch  # noqa: PLC0415 - heavy, and not part of a light installation

        ids = torch.from_numpy(self._check(challenge)).to(self._device)
        with torch.inference_mode():
            output = self._answer(ids)[0, -self._served.positions :, : self._served.width]
        answer: NDArray[np.float32] = output.float().cpu().numpy()
        return np.ascontiguousarray(answer)

    def _check(self, challenge: NDArray[np.generic]) -> NDArray[np.int64]:
        """The challenge's token ids. Raise ModelError where it is not a row of them."""
        positions = self._served.positions
        if challenge.dtype.kind not in "iu" or challenge.ndim != 2 or challenge.shape[0] != 1:
            saw = f"{challenge.dtype.name} {challenge.shape}"
            raise ModelError(
                f"a language model takes integers of shape (1, sequence), the challenge is {saw}",
                _ADVICE,
            )
        length = challenge.shape[1]
        if length < positions or length > (self._longest or length):
            bounds = f"{positions} to {self._longest or 'any number of'}"
            raise ModelError(
                f"the model answers {bounds} tokens, the challenge has {length}", _ADVICE
            )
        ids = challenge.astype(np.int64)
        if ids.min() < 0 or ids.max() >= self._vocabulary:
            raise ModelError(
                f"the model knows tokens 0 to {self._vocabulary - 1}, the challenge has"
                f" {ids.min()} to {ids.max()}",
                _ADVICE,
            )
        return ids


_ADVICE = 'the policy should say TensorSpec("int64", (1, sequence), high=vocabulary)'


def _make_answer(module: Any, served: Slice) -> Callable[[torch.Tensor], torch.Tensor]:
    if served.output == "hidden":
        return lambda ids: module.base_model(input_ids=ids, use_cache=False).last_hidden_state
    options: dict[str, Any] = {"use_cache": False}
    if "logits_to_keep" in inspect.signature(module.forward).parameters:
        # the logits of all positions and all words would be large
        options["logits_to_keep"] = served.positions
    forward = functools.partial(module, **options)
    return lambda ids: forward(input_ids=ids).logits
