"""Where a model has its encoder and its decoder: by the names that people give them."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from latentwire.export.errors import HalvesNotFoundError

NAMES = (
    ("encode", "decode"),
    ("encode_first_stage", "decode_first_stage"),
    ("g_a", "g_s"),
    ("analysis", "synthesis"),
    ("analysis_transform", "synthesis_transform"),
    ("encoder", "decoder"),
    ("forward_encoder", "forward_decoder"),
    ("enc", "dec"),
    ("encoder_net", "decoder_net"),
    ("encoder_model", "decoder_model"),
    ("encoder_layers", "decoder_layers"),
    ("_encoder", "_decoder"),
    ("_encode", "_decode"),
)
"""Names of both halves, preferred first: methods often do more than the module that they call."""
DEEPEST = 2


@dataclass(frozen=True)
class Part:
    """One half as it was found.

    Args:
        owner: what has it as an attribute, or None where it was given itself.
        name: of the attribute.
        value: the half.
        label: how a report calls it.
    """

    owner: Any
    name: str
    value: Any
    label: str


def find_parts(model: Any) -> tuple[Part, Part, tuple[str, ...]]:
    """(Encoder, decoder, notes) of one model or a pair.

    Raises:
        HalvesNotFoundError: no pair is found, or several are; names what is there.
    """
    pair = _as_pair(model)
    if pair is not None:
        encoder, decoder = (Part(None, "", value, _label(value)) for value in pair)
        return encoder, decoder, ()
    if isinstance(model, type):
        raise HalvesNotFoundError(
            "model", f"expected a model, found the class {model.__name__}; give an instance of it"
        )
    found = list(_search(model, "", 0))
    if len(found) > 1:
        paths = ", ".join(path for path, _, _ in found)
        raise HalvesNotFoundError("model", f"{_kind(model)} has several autoencoders: {paths}; give one of them")
    if not found:
        raise HalvesNotFoundError("model", _nothing(model))
    _, (encoder, decoder), notes = found[0]
    return encoder, decoder, notes


def _as_pair(model: Any) -> tuple[Any, Any] | None:
    if isinstance(model, Mapping) or _kind(model) == "ModuleDict":
        return next(((model[a], model[b]) for a, b in NAMES if a in model and b in model), None)
    if isinstance(model, tuple | list) or _kind(model) == "ModuleList":
        if len(model) != 2:
            raise HalvesNotFoundError("model", f"expected a pair (encoder, decoder), found {len(model)} of them")
        return model[0], model[1]
    return None


def _label(value: Any) -> str:
    owner = getattr(value, "__self__", None)
    if owner is not None:
        return f"{_kind(owner)}.{value.__name__}"
    if isinstance(value, str | os.PathLike):
        return os.path.basename(os.fspath(value))  # reports name no folders
    return str(getattr(value, "__name__", None) or _kind(value))


def _search(model: Any, path: str, depth: int) -> Iterator[tuple[str, tuple[Part, Part], tuple[str, ...]]]:
    """Every pair in a model or its children; nothing below one that was found."""
    pair, notes = _pair_of(model, path)
    if pair is not None:
        yield path or _kind(model), pair, notes
    elif depth < DEEPEST:
        for name, child in _children(model):
            yield from _search(child, f"{path}.{name}" if path else name, depth + 1)


def _pair_of(model: Any, path: str) -> tuple[tuple[Part, Part] | None, tuple[str, ...]]:
    passed: list[str] = []
    usable: list[list[str]] = [[], []]
    for names in NAMES:
        good = []
        for side, name in enumerate(names):
            value = _attribute(model, name)
            reason = "" if value is not None and callable(value) else None
            if reason is not None and (needs := needed(value)):
                passed.append(f"its .{name} also needs {', '.join(needs)}, which a packet does not carry")
                reason = None
            if reason is not None:
                usable[side].append(name)
                good.append(name)
        if len(good) == 2:
            return (_part(model, good[0], path), _part(model, good[1], path)), tuple(passed)
    if usable[0] and usable[1]:
        return (_part(model, usable[0][0], path), _part(model, usable[1][0], path)), tuple(passed)
    return None, tuple(passed)


def _part(model: Any, name: str, path: str) -> Part:
    return Part(model, name, getattr(model, name), f"the model's .{f'{path}.' if path else ''}{name}")


def _attribute(model: Any, name: str) -> Any:
    try:
        return getattr(model, name, None)
    except Exception:  # a property may do anything; it is not what is looked for then
        return None


def needed(function: Any) -> list[str]:
    """Names of the arguments, beside the first one, that a callable cannot do without."""
    target = function.forward if hasattr(function, "forward") else function
    try:
        parameters = list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError):
        return []
    required = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    positional = [p for p in required if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [p.name for p in required if p not in positional[:1]]


def _children(model: Any) -> list[tuple[str, Any]]:
    if hasattr(model, "named_children"):
        return list(model.named_children())
    own = getattr(model, "__dict__", {})
    return [(name, value) for name, value in own.items() if hasattr(value, "named_children")]


def _nothing(model: Any) -> str:
    """What to say of a model without any known name."""
    kind = _kind(model)
    if isinstance(model, str) or hasattr(model, "__fspath__"):
        return f"expected a model or a pair, found the path {str(model)!r}; give (encoder, decoder), two ONNX files"
    if kind == "ModelProto":
        return "expected an encoder and a decoder, found one ONNX model; give the pair (encoder, decoder)"
    if hasattr(model, "inverse_transform"):
        return (
            f"{kind} is of scikit-learn; convert both directions to ONNX (skl2onnx, or a module with its matrices) and "
            "give the pair (encoder, decoder)"
        )
    children = _children(model)
    if kind == "Sequential":
        cut = max(1, len(children) // 2)
        return f"a Sequential does not say where its latents are; give the pair, such as (model[:{cut}], model[{cut}:])"
    names = ", ".join(f"{name} ({_kind(child)})" for name, child in children) or "none"
    refused = _pair_of(model, "")[1]
    also = f" ({'; '.join(refused)})" if refused else ""
    return (
        f"found no encoder and decoder in {kind}{also}; its modules: {names}; expected methods or modules such as "
        ".encode and .decode, .encoder and .decoder, .g_a and .g_s: give the pair (encoder, decoder), each a module, "
        "method or function"
    )


def _kind(model: Any) -> str:
    return type(model).__name__
