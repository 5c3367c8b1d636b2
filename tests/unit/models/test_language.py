"""Language models: a tiny random one, made here, is served as a slice of logits or hidden states;
all else in words.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from epochgate.core.challenge import TensorSpec, compute_challenge
from epochgate.core.types import Epoch, NetworkId
from epochgate.models import ModelError, load_model
from epochgate.models.language import Slice, parse_slice
from epochgate.schemas import Tensor

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

VOCABULARY = 97
SEQUENCE = 24
HIDDEN = 32
PROMPT = compute_challenge(
    TensorSpec("int64", (1, SEQUENCE), high=VOCABULARY), NetworkId(bytes(32)), Epoch(3), bytes(32)
)


def make_config() -> Any:
    return transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2 * SEQUENCE,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("language")
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(5)
        transformers.LlamaForCausalLM(make_config()).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def module(folder: Path) -> Any:
    """The same model, as its makers would load it."""
    return transformers.LlamaForCausalLM.from_pretrained(folder).eval()


def ask(module: Any) -> Any:
    with torch.inference_mode():
        return module(input_ids=torch.from_numpy(np.array(PROMPT)), output_hidden_states=True)


def test_the_first_logits_of_the_last_positions_are_served(folder: Path, module: Any) -> None:
    output = load_model(f"transformers:{folder}?output=logits&positions=6&width=10").infer(PROMPT)
    expected = ask(module).logits[0, -6:, :10].numpy()
    np.testing.assert_allclose(output.astype(np.float32), expected, atol=1e-5)
    schema = Tensor("float32", (6, 10))
    assert schema.decode(schema.encode(output)).shape == (6, 10)


def test_the_last_hidden_state_is_served(folder: Path, module: Any) -> None:
    output = load_model(f"transformers:{folder}?output=hidden&positions=5&width={HIDDEN}").infer(
        PROMPT
    )
    expected = ask(module).hidden_states[-1][0, -5:].numpy()
    np.testing.assert_allclose(output.astype(np.float32), expected, atol=1e-5)


def test_answers_in_a_smaller_type_are_told_in_float32(folder: Path, module: Any) -> None:
    output = load_model(f"transformers:{folder}?positions=6&width=10&dtype=bfloat16").infer(PROMPT)
    assert output.dtype == np.float32
    exact = ask(module).logits[0, -6:, :10].numpy()
    assert 0 < np.abs(output - exact).max() < 0.1


def test_a_model_that_computes_all_logits_is_served_as_well(tmp_path: Path) -> None:
    """GPT of 2018 knows no `logits_to_keep`."""
    config = transformers.OpenAIGPTConfig(
        vocab_size=VOCABULARY, n_positions=SEQUENCE, n_embd=HIDDEN, n_layer=1, n_head=2
    )
    transformers.OpenAIGPTLMHeadModel(config).save_pretrained(tmp_path)
    assert load_model(f"transformers:{tmp_path}?positions=3&width=8").infer(PROMPT).shape == (3, 8)


def test_what_is_not_said_has_a_default() -> None:
    assert parse_slice("") == Slice(
        output="logits", positions=16, width=64, dtype="float32", device="cpu"
    )
    assert parse_slice("positions=3&output=hidden") == Slice(output="hidden", positions=3)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("output=words", "Invalid enum value 'words'"),
        ("positions=0", r"`int` >= 1"),
        ("width=many", "Expected `int`"),
        ("temperature=1", "unknown field `temperature`"),
        ("output", "bad query field"),
        ("width=1&width=2", "says something twice"),
    ],
)
def test_a_slice_that_cannot_be_read_is_told_with_an_example(query: str, words: str) -> None:
    with pytest.raises(ModelError, match=f"(?s){words}.*write transformers:FOLDER"):
        load_model(f"transformers:somewhere?{query}")


def test_a_width_that_the_model_has_not_is_told(folder: Path) -> None:
    with pytest.raises(ModelError, match="width is 98, and the model has 97 logits in a position"):
        load_model(f"transformers:{folder}?width=98")
    with pytest.raises(ModelError, match="width is 33, and the model has 32 hidden in a position"):
        load_model(f"transformers:{folder}?output=hidden&width=33")


@pytest.mark.parametrize(
    ("challenge", "words"),
    [
        (
            np.zeros((1, SEQUENCE), np.float32),
            r"takes integers of shape \(1, sequence\), the challenge is float32 \(1, 24\)",
        ),
        (np.zeros((2, SEQUENCE), np.int64), r"the challenge is int64 \(2, 24\)"),
        (np.full((1, SEQUENCE), VOCABULARY), "knows tokens 0 to 96, the challenge has 97 to 97"),
        (np.full((1, SEQUENCE), -1), "knows tokens 0 to 96, the challenge has -1 to -1"),
        (np.zeros((1, 15), np.int64), "answers 16 to 48 tokens, the challenge has 15"),
        (np.zeros((1, 49), np.int64), "answers 16 to 48 tokens, the challenge has 49"),
    ],
)
def test_a_challenge_of_another_kind_is_refused_with_what_the_policy_should_say(
    folder: Path, challenge: np.ndarray[Any, Any], words: str
) -> None:
    model = load_model(f"transformers:{folder}")
    with pytest.raises(ModelError, match=rf'{words}.*TensorSpec\("int64"'):
        model.infer(challenge)


def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"there is no config\.json"):
        load_model(f"transformers:{tmp_path}")


def test_weights_that_would_be_unpickled_are_never_read(
    folder: Path, tmp_path: Path, module: Any
) -> None:
    shutil.copy(folder / "config.json", tmp_path)
    torch.save(module.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(
        ModelError, match="there are no safetensors, and other weights are never read"
    ):
        load_model(f"transformers:{tmp_path}")


def test_code_that_comes_with_a_model_is_never_run(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "model.safetensors", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "own",
        "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(f"transformers:{tmp_path}")
    assert not (tmp_path / "ran").exists()


def test_a_damaged_file_is_told(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "config.json", tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(f"transformers:{tmp_path}")
