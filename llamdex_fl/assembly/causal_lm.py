"""An assembly as transformers knows models: ``generate``, streamers, ``pipeline``, ``AutoModelForCausalLM``.

``generate`` reads the last user's turn of each prompt. Prompts that no schema answers go to the base LLM's own
``generate``, untouched and in the caller's own batch, so that their logits are bit for bit those of the base LLM. For
the others the LLM begins its answer where the experts' outputs are injected, by the same ``generate`` with the same
sampling, streamers, processors and criteria. ``forward`` is the base LLM's.

Shape suffixes: B prompts, T tokens of a batch's longest prompt, R sequences that are returned for each prompt.
"""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    GenerationMixin,
    PretrainedConfig,
    PreTrainedModel,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.generation.streamers import BaseStreamer

from llamdex_fl.assembly.mixing import Part, together
from llamdex_fl.assembly.padding import moved_left, prompt_mask
from llamdex_fl.assembly.turns import Turns
from llamdex_fl.errors import InputError

if TYPE_CHECKING:
    from llamdex_fl.assembly.assembled import AssembledLlamdex
    from llamdex_fl.assembly.speaking import Injection

__all__ = ["LlamdexConfig", "LlamdexForCausalLM"]

#: What transformers generates where nobody says how much.
_DEFAULT_TOKENS = 20
#: Arguments that belong to the caller's own prompt.
_OF_THE_PROMPT = ("attention_mask", "position_ids", "token_type_ids")
_LIKE_THE_BASE = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings")


class LlamdexConfig(PretrainedConfig):  # type: ignore[misc]
    """What ``config.json`` of a saved assembly says; see ``docs/huggingface.md`` for its fields."""

    model_type = "llamdex"

    def __init__(self, **fields: Any) -> None:  # noqa: ANN401 - what transformers hands through
        """Take the fields of a ``config.json``."""
        super().__init__(**fields)

    @classmethod
    def of(cls, base: PreTrainedModel, **fields: Any) -> "LlamdexConfig":  # noqa: ANN401
        """A configuration with the sizes of the base LLM, where tools look for them."""
        known = {name: value for name in _LIKE_THE_BASE if (value := getattr(base.config, name, None)) is not None}
        return cls(architectures=[LlamdexForCausalLM.__name__], **known, **fields)


class LlamdexForCausalLM(PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """A causal LLM with experts behind it.

    Attributes:
        assembly: what answers; seats that join or leave it count at once.
        base: the base LLM's model.
    """

    config_class = LlamdexConfig
    base_model_prefix = "base"
    main_input_name = "input_ids"
    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = _supports_attention_backend = True

    def __init__(self, assembly: "AssembledLlamdex") -> None:
        """Wrap an assembly; ``AssembledLlamdex.causal_lm`` is one for each."""
        model = assembly.base.model
        super().__init__(LlamdexConfig.of(model))
        self.base = model
        self.injector = assembly.injector
        # Not a module of this one: it is small, and reads on the CPU wherever the LLM is.
        self.assembly = assembly
        self.generation_config = model.generation_config
        self._turns = Turns(assembly.base.tokenizer)
        self.eval()

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *_args: Any,  # noqa: ANN401 - transformers' signature
        base: Any = None,  # noqa: ANN401 - see AssembledLlamdex.from_pretrained
        dtype: torch.dtype | str | None = None,
        device_map: Any = None,  # noqa: ANN401 - what transformers takes
        **_kwargs: Any,  # noqa: ANN401 - what AutoModelForCausalLM hands through
    ) -> "LlamdexForCausalLM":
        """Load what ``save_pretrained`` wrote; no hub is asked.

        Args:
            pretrained_model_name_or_path: the folder.
            base: see ``AssembledLlamdex.from_pretrained``.
            dtype: of the base LLM; None or "auto": as it was saved.
            device_map: a device, or "auto" for the GPU if there is one. A model is never split.

        Raises:
            ArtefactError: the folder holds no assembly, or it is damaged, or of another version or base LLM.
        """
        from llamdex_fl.assembly.assembled import AssembledLlamdex  # noqa: PLC0415 - it imports this module

        if isinstance(dtype, str):
            dtype = None if dtype == "auto" else getattr(torch, dtype)
        model = AssembledLlamdex.from_pretrained(Path(pretrained_model_name_or_path), base=base, dtype=dtype).causal_lm
        if device_map is not None:
            device = device_map.get("") if isinstance(device_map, dict) else device_map
            if device == "auto":
                device = "cuda" if torch.cuda.is_available() else "cpu"
            model = model.to(device)
        return model

    def save_pretrained(
        self,
        save_directory: str | Path,
        *_args: Any,  # noqa: ANN401 - transformers' signature
        include_base: bool = False,
        **_kwargs: Any,  # noqa: ANN401 - transformers' signature
    ) -> None:
        """Write the assembly into a folder; see ``AssembledLlamdex.save_pretrained``."""
        self.assembly.save_pretrained(Path(save_directory), include_base=include_base)

    def get_input_embeddings(self) -> torch.nn.Module:
        """The base LLM's."""
        module: torch.nn.Module = self.base.get_input_embeddings()
        return module

    def get_output_embeddings(self) -> torch.nn.Module | None:
        """The base LLM's."""
        module: torch.nn.Module | None = self.base.get_output_embeddings()
        return module

    def forward(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the base LLM's own signature
        """The base LLM's own forward pass, with nothing injected: experts speak in ``generate``."""
        return self.base(*args, **kwargs)

    def _apply(self, fn: Any, recurse: bool = True) -> "LlamdexForCausalLM":  # noqa: ANN401, FBT001, FBT002 - torch's
        """Move or cast: the injector stays in float32, and what the speaker keeps on a device is made again."""
        super()._apply(fn, recurse)
        self.injector.float()
        self.assembly.renew_speaker()
        return self

    @torch.no_grad()
    def generate(
        self,
        inputs: Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        *,
        askers: Sequence[str | None] | None = None,
        **kwargs: Any,  # noqa: ANN401 - everything that transformers' generate takes
    ) -> Any:  # noqa: ANN401 - a tensor of token ids, or a ModelOutput, as in transformers
        """Generate as transformers does; prompts whose last user's turn a schema answers are answered by its experts.

        Args:
            inputs: (B, T) token ids, here or as ``input_ids``; padding may be on either side.
            generation_config: as in transformers.
            askers: the silo that asks each prompt, if it is one: its released prior is taken for the asker's own.
            kwargs: as in transformers.

        Returns:
            As in transformers: (B R, T + new) token ids, or an output with ``sequences``. Where only some prompts are
            answered by experts, logits and scores of steps that a prompt did not take are 0, and what cannot be put
            together (keys and values, attentions) is None.

        Raises:
            InputError: a prompt that a schema answers is longer than what LLM or reader take.
        """
        ids_BT = inputs if inputs is not None else kwargs.pop("input_ids", None)
        foreign = any(kwargs.get(name) is not None for name in ("inputs_embeds", "past_key_values"))
        if ids_BT is None or foreign or ids_BT.ndim != 2:  # noqa: PLR2004 - what transformers itself will judge
            return self.base.generate(ids_BT, generation_config, **kwargs)
        mask_BT = prompt_mask(self.base, ids_BT, kwargs.get("attention_mask"))
        left_BT = ids_BT
        if not bool(mask_BT[:, -1].all()):
            # A decoder goes on after the last column: with padding there it would go on after that.
            left_BT, kwargs["attention_mask"] = moved_left(ids_BT, mask_BT)
            kwargs.pop("position_ids", None)
        injections = self._injections(
            ids_BT, mask_BT, askers, self._most_new(ids_BT.shape[1], generation_config, kwargs)
        )
        routed = [row for row, own in enumerate(injections) if own is not None]
        if not routed:
            output = self.base.generate(left_BT, generation_config, **kwargs)
            return output if left_BT is ids_BT else together(ids_BT, [self._part(range(len(ids_BT)), output, ids_BT)])
        return self._mixed(ids_BT, left_BT, injections, routed, generation_config, kwargs)

    def _mixed(  # noqa: PLR0913, PLR0917 - the parts of one call
        self,
        ids_BT: Tensor,
        left_BT: Tensor,
        injections: "Sequence[Injection | None]",
        routed: Sequence[int],
        generation_config: GenerationConfig | None,
        kwargs: dict[str, Any],
    ) -> Any:  # noqa: ANN401 - see generate
        parts = []
        rows, length = ids_BT.shape
        alone = [row for row in range(rows) if row not in routed]
        if alone:
            if kwargs.get("streamer") is not None:
                raise InputError(
                    "Several prompts cannot be streamed together.",
                    expected="a batch of one prompt with a streamer",
                    got=f"{rows} prompts",
                    next_step="stream them one by one",
                )
            # In the whole batch, although some rows are not wanted: in another batch sums are rounded otherwise.
            criteria = [*(kwargs.get("stopping_criteria") or ()), _NotWanted(rows, routed)]
            own = self.base.generate(
                left_BT, generation_config, **{**kwargs, "stopping_criteria": StoppingCriteriaList(criteria)}
            )
            parts.append(self._part(alone, own, ids_BT))
        prompts = self.assembly.speaker.begin([one for one in injections if one is not None])
        config, others = self._for_routed(length, generation_config, kwargs)
        begun = prompts.beginning(left_BT[list(routed)], max(config.num_beams or 1, config.num_return_sequences or 1))
        if others.get("streamer") is not None:
            others["streamer"] = _AsAsked(others["streamer"], ids_BT)
        output = self.base.generate(**begun, generation_config=config, **others)
        before = begun["input_ids"].shape[1]
        parts.append(Part(into=routed, output=output, of=range(len(routed)), prompts=len(routed), length=before))
        return together(ids_BT, parts, self._filler(config))

    @staticmethod
    def _filler(config: GenerationConfig) -> int:
        """The token after an answer's end, as transformers pads: the end's own where an LLM has none for padding."""
        ends = config.eos_token_id
        own = config.pad_token_id if config.pad_token_id is not None else ends[0] if isinstance(ends, list) else ends
        return int(own) if own is not None else 0

    @staticmethod
    def _part(rows: Sequence[int], output: Any, ids_BT: Tensor) -> Part:  # noqa: ANN401 - see generate
        """Rows of what the base LLM gave for the whole batch."""
        return Part(into=rows, output=output, of=rows, prompts=len(ids_BT), length=ids_BT.shape[1])

    def _injections(
        self, ids_BT: Tensor, mask_BT: Tensor, askers: Sequence[str | None] | None, most_new: int
    ) -> "list[Injection | None]":
        """What to inject for each prompt; None where the base LLM answers."""
        found = [self._turns.question(row_T[own_T].tolist()) for row_T, own_T in zip(ids_BT, mask_BT, strict=True)]
        places = [row for row, question in enumerate(found) if question is not None]
        injections: list[Injection | None] = [None] * len(found)
        if places:
            asked = [str(found[row]) for row in places]
            asking = None if askers is None else [askers[row] for row in places]
            for row, own in zip(places, self.assembly.injections(asked, askers=asking), strict=True):
                if own is not None:
                    self.assembly.check(own.question, most_new)
                injections[row] = own
        return injections

    def _most_new(self, length: int, config: GenerationConfig | None, kwargs: dict[str, Any]) -> int:
        """How many tokens transformers would generate at most after prompts of this length."""
        for source in (kwargs, vars(config) if config is not None else {}, vars(self.base.generation_config)):
            if source.get("max_new_tokens") is not None:
                return int(source["max_new_tokens"])
            if source.get("max_length") is not None:
                return max(1, int(source["max_length"]) - length)
        return _DEFAULT_TOKENS

    def _for_routed(
        self, length: int, config: GenerationConfig | None, kwargs: dict[str, Any]
    ) -> tuple[GenerationConfig, dict[str, Any]]:
        """The caller's settings, for prompts of another length whose keys and values are kept; and the rest."""
        own = copy.deepcopy(config if config is not None else self.base.generation_config)
        others: dict[str, Any] = own.update(**{name: kwargs[name] for name in kwargs if name not in _OF_THE_PROMPT})
        own.max_new_tokens = self._most_new(length, config, kwargs)
        if own.min_length:
            own.min_new_tokens = max(0, own.min_length - length)
        # Other ways of computing the same, which do not go together with a cache that is begun.
        own.max_length = own.min_length = own.cache_implementation = own.prompt_lookup_num_tokens = None
        own.use_cache = True
        others.pop("assistant_model", None)
        return own, others


class _NotWanted(StoppingCriteria):  # type: ignore[misc]
    """Ends rows of a batch at once that are answered elsewhere."""

    def __init__(self, rows: int, ended: Sequence[int]) -> None:
        self._ended_B = torch.tensor([row in ended for row in range(rows)])

    def __call__(self, input_ids: Tensor, scores: Any, **_kwargs: Any) -> Tensor:  # noqa: ANN401, ARG002 - theirs
        copies = input_ids.shape[0] // len(self._ended_B)
        return self._ended_B.repeat_interleave(copies).to(input_ids.device)


class _AsAsked(BaseStreamer):  # type: ignore[misc]
    """Shows a streamer the caller's prompt, not the one that goes into the LLM."""

    def __init__(self, streamer: BaseStreamer, ids_BT: Tensor) -> None:
        self._streamer = streamer
        self._prompt: Tensor | None = ids_BT

    def put(self, value: Tensor) -> None:
        shown, self._prompt = (value if self._prompt is None else self._prompt.cpu()), None
        self._streamer.put(shown)

    def end(self) -> None:
        self._streamer.end()


AutoConfig.register(LlamdexConfig.model_type, LlamdexConfig)
AutoModelForCausalLM.register(LlamdexConfig, LlamdexForCausalLM)
