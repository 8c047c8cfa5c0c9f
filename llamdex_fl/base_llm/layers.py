"""The decoder layers of a base LLM, found without knowing its architecture, and what goes into one of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, get_ident
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from llamdex_fl.errors import InputError

__all__ = ["beginning_at", "changed_before", "decoder_layer", "middle_layer", "state_size"]


# One at a time: what a pass leaves out must not be left in another's place.
_leaving_out = Lock()


def decoder_layer(model: PreTrainedModel, layer: int) -> nn.Module:
    """The decoder layer of this number, the first one being 0.

    Raises:
        InputError: the model's layers cannot be told, or it has fewer.
    """
    layers = _decoder_layers(model)
    if not 0 <= layer < len(layers):
        raise InputError(
            "The base LLM has no such layer.",
            expected=f"0 to {len(layers) - 1}",
            got=str(layer),
            next_step="name another layer",
        )
    return layers[layer]


def _decoder_layers(model: PreTrainedModel) -> nn.ModuleList:
    count = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    lists = [own for own in model.modules() if isinstance(own, nn.ModuleList) and len(own) == count]
    if len(lists) != 1:
        raise InputError(
            "The decoder layers of this base LLM cannot be found.",
            expected=f"one list of modules as long as its number of layers, {count}",
            got=f"{len(lists)} of them",
            next_step="inject at layer 0, which every LLM takes",
        )
    return lists[0]


def middle_layer(model: PreTrainedModel) -> int:
    """The layer before which half of the decoder layers lie, rounded down; 0 where the layers cannot be told."""
    middle = int(getattr(model.config.get_text_config(), "num_hidden_layers", 0)) // 2
    try:
        decoder_layer(model, middle)
    except InputError:
        return 0
    return middle


@contextmanager
def changed_before(model: PreTrainedModel, layer: int, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within the context, what goes into a decoder layer, (B, T, D), is what ``change`` makes of it.

    It holds for the passes of this thread; others may use the model meanwhile.

    Raises:
        InputError: see ``decoder_layer``.
    """
    own_thread = get_ident()

    def hook(
        _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if get_ident() != own_thread:
            return args, kwargs
        if args:
            return (change(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": change(kwargs["hidden_states"])}

    handle = decoder_layer(model, layer).register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def beginning_at(
    model: PreTrainedModel, layer: int, states_BTD: Tensor, cache: DynamicCache, again: int
) -> Iterator[None]:
    """Within the context, a pass of this thread over the last tokens of a cache begins at a decoder layer.

    The layers before it are left out: what would go into this one is given, and what the cache has of them stays.

    Args:
        model: the LLM.
        layer: where to begin.
        states_BTD: what goes into it.
        cache: of a pass through all layers; within the context it is without the last tokens.
        again: how many tokens are run again.

    Raises:
        InputError: see ``decoder_layer``.
    """
    left_out, own_thread = list(_decoder_layers(model)[:layer]), get_ident()
    kept = [(own.keys, own.values) for own in cache.layers[:layer]]

    def passing(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def pass_on(hidden_BTD: Tensor, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401 - as the layer takes them
            return hidden_BTD if get_ident() == own_thread else forward(hidden_BTD, *args, **kwargs)

        return pass_on

    cache.crop(-again)
    with _leaving_out, changed_before(model, layer, lambda _: states_BTD):
        usual = [vars(own).get("forward") for own in left_out]
        try:
            for own in left_out:
                own.forward = passing(own.forward)
            yield
        finally:
            for own, forward in zip(left_out, usual, strict=True):
                del own.forward
                if forward is not None:
                    own.forward = forward
            for layer_cache, (keys, values) in zip(cache.layers, kept, strict=False):
                layer_cache.keys, layer_cache.values = keys, values


@torch.no_grad()
def state_size(model: PreTrainedModel, layer: int, ids_T: Tensor) -> float:
    """The usual size (root mean square) of what goes into a decoder layer, on some tokens.

    Raises:
        InputError: see ``decoder_layer``.
    """
    sizes: list[Tensor] = []

    def look(hidden_BTD: Tensor) -> Tensor:
        sizes.append(hidden_BTD[0].float().pow(2).mean(-1).sqrt())
        return hidden_BTD

    with changed_before(model, layer, look):
        model(ids_T[None], use_cache=False, logits_to_keep=1)
    # The median over tokens: the first one of a text is often hundreds of times larger than all others.
    return float(sizes[0].median())
