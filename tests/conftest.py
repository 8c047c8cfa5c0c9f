"""Tiny models with random weights, made on the spot, and a toy domain: real code paths, no download."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from llamdex_fl.connectors.questions import Wording, load_wording
from llamdex_fl.schema import Schema, load_schema

if TYPE_CHECKING:
    from torch import Tensor

    from llamdex_fl.assembly import Seat
    from llamdex_fl.base_llm.base import BaseLLM
    from llamdex_fl.connectors.injector import Injector

_FIXTURES = Path(__file__).parent / "fixtures"
_CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="session")
def toy_schema() -> Schema:
    """Fruit: a colour and a weight; ripe or unripe."""
    return load_schema(_FIXTURES / "fruit.json")


@pytest.fixture(scope="session")
def toy_wording(toy_schema: Schema) -> Wording:
    return load_wording(toy_schema, _FIXTURES / "fruit.toml")


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a BERT of 2 layers and a WordPiece vocabulary of letters and a few words."""
    import torch  # noqa: PLC0415 - most tests need no torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors  # noqa: PLC0415
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast  # noqa: PLC0415

    torch.set_num_threads(1)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    signs = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    words = "red green grams weighs fruit ripe apple pear man woman pain chest".split()  # noqa: SIM905 - readable
    pieces = [*special, *signs, *(f"##{sign}" for sign in signs), *words]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))  # noqa: S106 - no password
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    )
    folder = tmp_path_factory.mktemp("encoder")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",  # noqa: S106
        unk_token="[UNK]",  # noqa: S106
        cls_token="[CLS]",  # noqa: S106
        sep_token="[SEP]",  # noqa: S106
        mask_token="[MASK]",  # noqa: S106
    ).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=512,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make_tiny_llm(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes the directory of a causal LLM of 2 layers, with a ChatML template.

    Of the families "llama", "qwen2", "gpt_neox", "mistral" and "phi".
    """
    made: dict[str, Path] = {}

    def make(family: str) -> Path:
        if family not in made:
            made[family] = _save_tiny_llm(family, tmp_path_factory.mktemp(family))
        return made[family]

    return make


def _save_tiny_llm(family: str, folder: Path) -> Path:
    import torch  # noqa: PLC0415 - most tests need no torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: PLC0415
    from transformers import (  # noqa: PLC0415
        AutoModelForCausalLM,
        GPTNeoXConfig,
        LlamaConfig,
        MistralConfig,
        PhiConfig,
        PreTrainedTokenizerFast,
        Qwen2Config,
    )

    torch.set_num_threads(1)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    corpus = [
        "Ripe. It can be eaten.",
        "Unripe. It needs time.",
        "user assistant",
        "A red fruit of 51 grams",
    ]
    tokenizer.train_from_iterator(
        corpus * 3,
        trainers.BpeTrainer(
            vocab_size=340,
            special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",  # noqa: S106 - no password
        pad_token="<|endoftext|>",  # noqa: S106
        chat_template=_CHATML,
    )
    wrapped.save_pretrained(folder)
    common = {
        "vocab_size": len(wrapped),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 1024,
        "initializer_range": 0.2,
        "eos_token_id": wrapped.eos_token_id,
        "pad_token_id": wrapped.pad_token_id,
        "bos_token_id": None,
    }
    config = {
        "llama": lambda: LlamaConfig(**common, num_key_value_heads=2),
        "qwen2": lambda: Qwen2Config(**common, num_key_value_heads=2, tie_word_embeddings=True),
        "gpt_neox": lambda: GPTNeoXConfig(**common),
        "mistral": lambda: MistralConfig(**common, num_key_value_heads=2),
        "phi": lambda: PhiConfig(**common),
    }[family]()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make_seat() -> Callable[..., "Seat"]:
    """Makes an expert with random weights, from a seed."""
    import numpy as np  # noqa: PLC0415 - most tests need no torch, which the assembly imports

    from llamdex_fl.assembly import Seat  # noqa: PLC0415
    from llamdex_fl.experts import THERMOMETER_LINEAR, Expert, tensor_shapes  # noqa: PLC0415
    from llamdex_fl.privacy import Guarantee, LaplaceCounts, SampledGaussian  # noqa: PLC0415

    def make(schema: Schema, silo: str, seed: int = 0) -> "Seat":
        random = np.random.default_rng(seed)
        tensors = {
            name: random.normal(size=shape).astype(np.float32)
            for name, shape in tensor_shapes(THERMOMETER_LINEAR, schema).items()
        }
        tensors["class_counts"] = random.uniform(20, 200, tensors["class_counts"].shape).astype(np.float32)
        steps = SampledGaussian(sampling_rate=0.5, noise_multiplier=14.0, steps=60, max_grad_norm=1.0)
        guarantee = Guarantee(
            epsilon=1.0,
            delta=1e-4,
            mechanisms=(LaplaceCounts(epsilon=0.2), steps),
            accountant="pld",
            accountant_version="test",
        )
        return Seat(silo, Expert.from_tensors(schema, tensors), guarantee)

    return make


@pytest.fixture(scope="session")
def whole_run() -> Callable[..., "Tensor"]:
    """Runs a prompt of the assembly from its first token on, without cache, padding or mask."""
    import torch  # noqa: PLC0415 - most tests need no torch

    def run(  # noqa: PLR0913, PLR0917 - what a prompt is made of
        base: "BaseLLM",
        injector: "Injector",
        question: str,
        sentences: Sequence[str],
        first: Sequence[int],
        chance_K: "Tensor",
        said: Sequence[int] = (),
    ) -> "Tensor":
        """Logits (1 + S, V) from the answer's first place on.

        ``sentences`` are those of all outcomes; ``first`` are the first tokens of the marked ones alone.
        """
        embed = base.model.get_input_embeddings()
        frame = base.prompt("")
        # In pieces, as tokens were kept: a tokenizer might join what ends one piece and begins the next.
        lines = [piece for sentence in sentences for piece in (sentence, "\n")]
        pieces = ["Answer with one of these sentences, word for word:\n", *lines, "\n", f"{question.strip()}\n"]
        ids = [*frame.before_T.tolist(), *(token for piece in pieces for token in base.answer_ids(piece))]
        after_T = torch.cat([frame.after_T, torch.tensor(list(said), dtype=torch.long)])
        tokens_KD = injector(chance_K, embed(torch.tensor(list(first))))
        inputs_LD = torch.cat([embed(torch.tensor(ids)), tokens_KD, embed(after_T)])
        logits_LV: Tensor = base.model(inputs_embeds=inputs_LD[None], use_cache=False).logits[0]
        return logits_LV[len(inputs_LD) - len(said) - 1 :]

    return run
