"""Loads a frozen causal LLM of the Hugging Face kind and splits its chat prompt around the end of the user's turn."""

import contextlib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import cached_file

from llamdex_fl.base_llm.names import PACKAGED_MODEL
from llamdex_fl.base_llm.packaged import packaged_llm
from llamdex_fl.base_llm.quiet import quiet_loading
from llamdex_fl.errors import ArtefactError

__all__ = ["BaseLLM", "Prompt", "base_llm_digest", "load_base_llm"]

# Private-use characters: no template and no person writes them.
_CUT = "\ue0f0\ue0f1"
_PIECE = 1 << 22


@dataclass(frozen=True, slots=True)
class Prompt:
    """A chat prompt, cut at the end of the user's words, where injected tokens go.

    ``before_T`` ends with the question, ``after_T`` closes the user's turn and opens the assistant's.
    """

    before_T: Tensor
    after_T: Tensor


class BaseLLM:
    """A frozen LLM, its tokenizer, and a digest that names its weights."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, name: str, digest: str) -> None:
        """Freeze the model."""
        self.model = model.eval().requires_grad_(requires_grad=False)
        self.tokenizer = tokenizer
        self.name = name
        self.digest = digest

    @property
    def width(self) -> int:
        """Width of the LLM's input embeddings."""
        return int(self.model.get_input_embeddings().embedding_dim)

    @property
    def context(self) -> int | None:
        """The most tokens that the LLM was made for; None if its configuration does not say."""
        most = getattr(self.model.config, "max_position_embeddings", None)
        return int(most) if most is not None else None

    def prompt_ids(self, question: str) -> Tensor:
        """The whole chat prompt (1, T), as the base LLM gets it when nothing is injected."""
        text = self._template(question)
        ids: Tensor = self.tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
        return ids.to(self.model.device)

    def prompt(self, question: str) -> Prompt:
        """The chat prompt in two halves around the end of the user's words."""
        # The last cut is ours, whatever the question holds.
        before, _, after = self._template(question + _CUT).rpartition(_CUT)
        device = self.model.device
        before_T, after_T = (
            self.tokenizer(half, return_tensors="pt", add_special_tokens=False)["input_ids"][0].to(device)
            for half in (before, after)
        )
        return Prompt(before_T, after_T)

    def answer_ids(self, text: str) -> list[int]:
        """The token ids of an answer at the start of the assistant's turn."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def word_embedding(self, text: str) -> Tensor:
        """Mean input embedding (D,) of a text's tokens."""
        ids = torch.tensor(self.answer_ids(text), device=self.model.device)
        embedded: Tensor = self.model.get_input_embeddings()(ids)
        return embedded.mean(0)

    def _template(self, question: str) -> str:
        messages = [{"role": "user", "content": question}]
        text: str = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return text


def load_base_llm(source: str = PACKAGED_MODEL, *, dtype: torch.dtype = torch.float32) -> BaseLLM:
    """Load a frozen LLM. No hub is asked: an id is looked up among what is on this machine already.

    Args:
        source: the packaged model's name, a local directory, or the id of a model in the local Hugging Face cache.
        dtype: type of the weights in memory.

    Raises:
        ArtefactError: there is no such model here, or it has no chat template.
    """
    path = _folder(source)
    try:
        with quiet_loading():
            model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError, SafetensorError) as error:
        raise _not_loaded(source, error) from error
    if tokenizer.chat_template is None:
        raise ArtefactError(
            f"The base LLM {source!r} has no chat template.",
            expected="an instruction-tuned model",
            got="a tokenizer without chat_template",
            next_step="name the model's instruct variant",
        )
    return BaseLLM(model, tokenizer, name=source, digest=_digest(path))


def base_llm_digest(source: str = PACKAGED_MODEL) -> str:
    """The digest that ``load_base_llm(source).digest`` will have, without loading the LLM.

    Raises:
        ArtefactError: there is no such model here.
    """
    return _digest(_folder(source))


def _folder(source: str) -> Path:
    """Where on this machine a model's files are."""
    if source == PACKAGED_MODEL:
        return packaged_llm()
    try:
        config = cached_file(source, "config.json", local_files_only=True)
        if config is None:
            raise FileNotFoundError(source)
    except (OSError, ValueError) as error:
        raise _not_loaded(source, error) from error
    return Path(config).parent


def _not_loaded(source: str, error: Exception) -> ArtefactError:
    return ArtefactError(
        f"The base LLM {source!r} could not be loaded.",
        expected=f"{PACKAGED_MODEL}, a directory that transformers loads, or an id in the local cache",
        got=type(error).__name__,
        next_step="download the model to a directory first and name that directory",
    )


def _digest(folder: Path) -> str:
    """SHA-256 over the names and contents of the weight files; kept beside them, keyed by size and time."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ArtefactError(
            f"{folder} holds no weights.", expected="*.safetensors", got="none", next_step="name a model's directory"
        )
    state = [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    note = folder / "llamdex-digest.json"
    try:
        kept = json.loads(note.read_text(encoding="utf-8"))
        if kept["state"] == state:
            return str(kept["digest"])
    except (OSError, ValueError, KeyError):
        pass  # no note yet, or a stale one: hash again
    digest = hashlib.sha256()
    for file in files:
        digest.update(len(file.name).to_bytes(4, "big") + file.name.encode())
        with file.open("rb") as stream:
            while piece := stream.read(_PIECE):
                digest.update(piece)
    with contextlib.suppress(OSError):  # a read-only model directory costs a second more each time
        note.write_text(json.dumps({"state": state, "digest": digest.hexdigest()}), encoding="utf-8")
    return digest.hexdigest()
