"""Write a tiny Llama with random weights, the same each time: `python make_tiny_model.py
FOLDER`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from language_subnet import SEQUENCE, VOCABULARY


def make_tiny_model(folder: Path) -> None:
    import torch  # noqa: PLC0415 - as transformers below: seconds, after the arguments were looked at
    from transformers import LlamaConfig, LlamaForCausalLM  # noqa: PLC0415

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=SEQUENCE,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("say where: python make_tiny_model.py FOLDER")
    make_tiny_model(Path(sys.argv[1]))
    print(f"the model is in {sys.argv[1]}")
