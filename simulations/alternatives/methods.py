"""The names that a comparison knows, each with what makes it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from llamdex_fl.assembly import AssembledLlamdex
from simulations.alternatives.dp_fedavg import dp_fedavg
from simulations.alternatives.experts import alone, assembled, pooled, pooled_dp
from simulations.alternatives.llm import LLMSettings, assembled_llm, expert_api, llm_on_synthetic, plain_llm
from simulations.alternatives.lora import LoraSettings
from simulations.alternatives.outcome import Alternative
from simulations.alternatives.synthesis import METHODS as SYNTHESES
from simulations.alternatives.synthesis import SynthesisSettings, synthesis

__all__ = ["METHODS", "TABULAR", "Settings", "alternatives"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Of the alternatives that have any.

    Attributes:
        connectors: gives a provider's assembly without experts; ``assembled_llm`` needs it.
    """

    llm: LLMSettings = field(default_factory=LLMSettings)
    lora: LoraSettings = field(default_factory=LoraSettings)
    synthesis: SynthesisSettings = field(default_factory=SynthesisSettings)
    connectors: Callable[[], AssembledLlamdex] | None = None


def _fixed(alternative: Alternative) -> Callable[[Settings], Alternative]:
    return lambda _settings: alternative


def _synthesis(method: str, *, single_owner: bool) -> Callable[[Settings], Alternative]:
    return lambda settings: synthesis(method, single_owner=single_owner, settings=settings.synthesis)


def _on_synthetic(method: str) -> Callable[[Settings], Alternative]:
    return lambda settings: llm_on_synthetic(method, settings.llm, settings.lora, settings.synthesis)


#: By name, what makes the alternative.
METHODS: Mapping[str, Callable[[Settings], Alternative]] = {
    "alone": _fixed(alone),
    "assembled": _fixed(assembled),
    "dp_fedavg": _fixed(dp_fedavg),
    "pooled_dp": _fixed(pooled_dp),
    "pooled": _fixed(pooled),
    **{f"synthesis_{method}": _synthesis(method, single_owner=False) for method in SYNTHESES},
    **{f"synthesis_{method}_single_owner": _synthesis(method, single_owner=True) for method in SYNTHESES},
    "plain_llm": lambda settings: plain_llm(settings.llm),
    "assembled_llm": lambda settings: assembled_llm(settings.llm, settings.connectors),
    "expert_api": lambda settings: expert_api(settings.llm),
    **{f"llm_on_synthetic_{method}": _on_synthetic(method) for method in SYNTHESES},
}
#: What needs neither an LLM nor another environment, and takes seconds.
TABULAR = ("alone", "assembled", "dp_fedavg", "pooled_dp", "pooled")


def alternatives(names: list[str], settings: Settings | None = None) -> dict[str, Alternative]:
    """What to run, by name.

    Args:
        names: keys of ``METHODS``.
        settings: None for the defaults.
    """
    settings = settings or Settings()
    return {name: METHODS[name](settings) for name in names}
