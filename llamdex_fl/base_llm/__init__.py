"""The frozen base LLM: where it comes from, its digest, and its prompt in two halves.

Nothing here trains the LLM or changes a weight of it. ``base`` and ``packaged`` hold the loaders; they are imported
by name, because a configuration that only names a model must not wait for torch.
"""

from llamdex_fl.base_llm.names import PACKAGED_MODEL

__all__ = ["PACKAGED_MODEL"]
