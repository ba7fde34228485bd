"""Which of a half's tensors are the latents, and which the items: the one that is meant, or an error that lists them.

Of the encoder, in this order: what ``latent=`` says; the only tensor with one row an item; the centre of a posterior,
by its name or since it is a distribution; a tensor with a name of latents; the first of two of one shape, as (mean,
log-variance) is written everywhere; the only one that the decoder takes. What is drawn at random is none of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from latentwire.export.adopt.half import Choice, Half
from latentwire.export.adopt.outputs import (
    Leaf,
    describe,
    dtype_name,
    follow,
    is_float,
    is_tensor,
    leaves,
    parse,
    posterior_word,
)
from latentwire.export.errors import HalfError, OutputChoiceError, SamplingError
from latentwire.runtime.contract import Array

MEANS = (
    *("mu", "mean", "loc", "z_mu", "mu_z", "z_mean", "mean_z", "latent_mean", "posterior_mean", "q_mean", "q_mu"),
    *("qz_mean", "qz_mu", "mus", "means", "mode"),
)
LATENTS = (
    *("latents", "latent", "z", "code", "codes", "embedding", "embeddings", "encoded", "encoding", "bottleneck", "y"),
    *("z_e", "latent_representation", "hidden", "h", "features", "last_hidden_state"),
)
ITEMS = (
    *("sample", "reconstruction", "reconstructions", "reconstructed", "recon", "recons", "recon_x", "x_recon"),
    *("x_hat", "xhat", "x_rec", "rec", "x_reconst", "decoded", "output", "outputs", "out", "pred", "prediction"),
    *("images", "pixel_values", "x", *MEANS),
)

Latent = int | str | Callable[[Any], Any]
Trial = Callable[[Array], bool]
DRAWS = 32
PASSES = (1, 2)
"""Seeds of two passes: where they differ, something is drawn."""


def choose_latents(half: Half, example: Array, latent: Latent | None, trial: Trial) -> Choice:
    """The latents of an encoder.

    Args:
        half: the encoder.
        example: its input, float32 [n >= 2, ...].
        latent: what the user says: index, name or function of the output.
        trial: whether the decoder makes items of these latents.

    Raises:
        HalfError: what it returns cannot be latents, or nothing says which of several is meant; lists what is there.
        SamplingError: the latents are drawn at random.
    """
    outputs = [half.outputs(example, seed) for seed in PASSES]
    if latent is not None:
        return _told(half, outputs, latent)
    everything = leaves(outputs[0])
    if not everything:
        raise HalfError("encoder", f"expected the encoder to return a tensor, found {describe(outputs[0])}")
    rows = [leaf for leaf in everything if is_row(leaf, len(example))]
    if not rows:
        raise HalfError("encoder", _no_rows(everything, len(example)))
    steady = [leaf for leaf in rows if same(leaf.value, follow(outputs[1], leaf.path))]
    if not steady:
        raise SamplingError("encoder", _sampled(rows))
    steady = _distinct(steady)
    if len(steady) == 1:
        return _only(steady[0], rows, everything)
    if len(steady) < len(rows) and (centre := _centre(half, example, rows, steady)) is not None:
        return centre
    return _of_several(steady, trial)


def _told(half: Half, outputs: Sequence[Any], latent: Latent) -> Choice:
    """What the user said."""
    listed = "; ".join(leaf.describe() for leaf in leaves(outputs[0]))
    choose = latent if callable(latent) else None
    try:
        path = () if callable(latent) else (latent,) if isinstance(latent, int) else parse(latent, outputs[0])
        ends = [follow(choose(output) if choose else output, path) for output in outputs]
    except Exception as error:  # a user's function may raise whatever it likes
        name = getattr(latent, "__name__", repr(latent))
        raise OutputChoiceError(
            "encoder", f"latent={name} leads nowhere ({type(error).__name__}: {error}); the encoder returns {listed}"
        ) from error
    if (word := posterior_word(ends[0])) is not None:
        path = (*path, word)
    else:
        below = leaves(ends[0])
        if len(below) != 1:
            raise OutputChoiceError(
                "encoder", f"latent={latent!r} is {describe(ends[0])}; the encoder returns {listed}: name one tensor"
            )
        path = (*path, *below[0].path)
    first, second = (follow(choose(output) if choose else output, path) for output in outputs)
    if not same(first, second):
        raise SamplingError("encoder", f"latent={latent!r} is drawn at random; the encoder returns {listed}")
    name = getattr(latent, "__name__", "a function") if callable(latent) else repr(latent)
    return Choice(path, choose, why=f"latents: as told, {name}")


def _only(leaf: Leaf, rows: Sequence[Leaf], everything: Sequence[Leaf]) -> Choice:
    """The one that is left, with the reason why others are not meant."""
    if leaf.of_posterior or leaf.word in MEANS:
        return Choice(leaf.path, why=f"latents: mean of the posterior ({leaf.name})")
    if len(rows) > 1:
        return Choice(leaf.path, why=f"latents: output {leaf.name}, the only one that is not drawn at random")
    if len(everything) > 1:
        others = "; ".join(other.describe() for other in everything if other is not leaf)
        return Choice(leaf.path, why=f"latents: output {leaf.name}, the only one with a row an item (others: {others})")
    return Choice(leaf.path, why=f"latents: output {leaf.name}" if leaf.path else "")


def _centre(half: Half, example: Array, rows: Sequence[Leaf], steady: Sequence[Leaf]) -> Choice | None:
    """Where one tensor is drawn at random: the steady one that its draws lie around."""
    drawn = [leaf for leaf in rows if all(leaf.path != other.path for other in steady)]
    around = [leaf for leaf in steady if leaf.shape == drawn[0].shape]
    named = [leaf for leaf in around if leaf.word in MEANS]
    if len(named) == 1:
        return Choice(named[0].path, why=f"latents: mean of the posterior ({named[0].name})")
    if not around:
        return None
    draws = [array(follow(half.outputs(example, seed), drawn[0].path)) for seed in range(3, 3 + DRAWS)]
    mean = np.mean(draws, axis=0)
    nearest = min(around, key=lambda leaf: float(np.abs(array(leaf.value) - mean).mean()))
    return Choice(
        nearest.path,
        why=f"latents: mean of the posterior (output {nearest.name}, around which {drawn[0].name} is drawn)",
    )


def _of_several(steady: Sequence[Leaf], trial: Trial) -> Choice:
    """One of several tensors that could be latents."""
    posteriors = [leaf for leaf in steady if leaf.of_posterior]
    if len(posteriors) == 1:
        return Choice(posteriors[0].path, why=f"latents: mean of the posterior ({posteriors[0].name})")
    for names, what in ((MEANS, "mean of the posterior"), (LATENTS, "output")):
        for name in names:
            named = [leaf for leaf in steady if leaf.word == name]
            if len(named) == 1:
                text = f"{what} ({named[0].name})" if names is MEANS else f"{what} {named[0].name}"
                return Choice(named[0].path, why=f"latents: {text}")
    if len(steady) == 2 and steady[0].shape == steady[1].shape and not steady[0].word:
        return Choice(
            steady[0].path,
            why=f"latents: mean of the posterior (output {steady[0].name} of two alike, by custom (mean, "
            "log-variance))",
        )
    taken = [leaf for leaf in steady if trial(array(leaf.value))]
    if len(taken) == 1:
        return Choice(
            taken[0].path, why=f"latents: output {taken[0].name}, the only one of which the decoder makes items"
        )
    raise OutputChoiceError(
        "encoder",
        f"the encoder returns {len(steady)} tensors that could be the latents: "
        f"{'; '.join(leaf.describe() for leaf in steady)}; say which with latent=, an index, a name or a function",
    )


def choose_items(half: Half, latents: Array, shape: tuple[int, ...]) -> Choice:
    """The items among what a decoder returns.

    Args:
        half: the decoder.
        latents: its input.
        shape: of the items, [n, ...].

    Raises:
        HalfError: nothing of it can be the items; says what is there.
        OutputChoiceError: several could be.
    """
    output = half.outputs(latents)
    everything = leaves(output)
    if not everything:
        raise HalfError("decoder", f"expected the decoder to return a tensor, found {describe(output)}")
    floats = [leaf for leaf in everything if is_float(leaf.value)]
    exact = [leaf for leaf in floats if leaf.shape == shape]
    alike = exact or [leaf for leaf in floats if only_flattened(leaf.shape, shape)]
    if not alike:
        raise HalfError("decoder", _no_items(everything, shape))
    leaf = _named(alike)
    if leaf is None:
        raise OutputChoiceError(
            "decoder",
            f"the decoder returns {len(alike)} tensors of the items' shape: "
            f"{'; '.join(leaf.describe() for leaf in alike)}; give a decoder that returns one",
        )
    why = f"items: output {leaf.name} of the decoder" if leaf.path else ""
    if not exact:
        why = f"items: what the decoder returns, {list(leaf.shape)}, as {list(shape)}"
    return Choice(leaf.path, shape=None if exact else shape[1:], why=why)


def _named(alike: Sequence[Leaf]) -> Leaf | None:
    if len(alike) == 1:
        return alike[0]
    posteriors = [leaf for leaf in alike if leaf.of_posterior]
    if len(posteriors) == 1:
        return posteriors[0]
    for name in ITEMS:
        named = [leaf for leaf in alike if leaf.word == name]
        if len(named) == 1:
            return named[0]
    # A decoder of a normal distribution writes (mean, log-variance), as its encoder does.
    return alike[0] if len(alike) == 2 and not alike[0].word else None


def only_flattened(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether two shapes differ in nothing but axes of length 1, or since one of them is flattened to vectors."""
    if found[:1] != wanted[:1] or math.prod(found) != math.prod(wanted):
        return False
    inner, outer = ([length for length in shape[1:] if length != 1] for shape in (found, wanted))
    return inner == outer or 1 in (len(found[1:]), len(wanted[1:]))


def is_row(leaf: Leaf, count: int) -> bool:
    """Whether it can be latents: floats, something for each item."""
    return is_float(leaf.value) and len(leaf.shape) > 1 and leaf.shape[0] == count and math.prod(leaf.shape) > 0


def same(first: Any, second: Any) -> bool:
    """Whether two passes agree, but for rounding."""
    if not is_tensor(second) or tuple(first.shape) != tuple(second.shape):
        return False
    return bool(np.allclose(array(first), array(second), rtol=1e-3, atol=1e-5, equal_nan=True))


def array(value: Any) -> Array:
    """A tensor as a NumPy array."""
    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)


def _distinct(found: Sequence[Leaf]) -> list[Leaf]:
    """Without those that repeat an earlier one, as z does mu in eval mode; one with a name of means is kept then."""
    kept: list[Leaf] = []
    for leaf in sorted(found, key=lambda leaf: leaf.word not in MEANS):
        if not any(leaf.shape == other.shape and same(leaf.value, other.value) for other in kept):
            kept.append(leaf)
    return sorted(kept, key=found.index)


def _no_rows(everything: Sequence[Leaf], count: int) -> str:
    found = "; ".join(leaf.describe() for leaf in everything)
    whole = [leaf for leaf in everything if not is_float(leaf.value)]
    if len(whole) == len(everything):
        return (
            f"expected the encoder to return float latents, found {found}: integers are indices or symbols already; "
            'give the part of the network before them, or latents="indices" where they are a codebook\'s'
        )
    moved = next((leaf for leaf in everything if count in leaf.shape[1:2]), None)
    if moved is not None:
        return (
            f"expected the encoder to return latents [N, ...] with the items along the first axis, found {found} for "
            f"{count} items: return them with that axis first, such as h[-1] or h.transpose(0, 1)"
        )
    return f"expected the encoder to return latents [N, ...], one row for each of {count} items, found {found}"


def _sampled(rows: Sequence[Leaf]) -> str:
    found = "; ".join(leaf.describe() for leaf in rows)
    return (
        f"the encoder samples: two passes over the same items differ, in eval mode too ({found}); give an encoder that "
        'returns the mean of the posterior, or one that returns it beside the sample, and say latent="mu"'
    )


def _no_items(everything: Sequence[Leaf], shape: tuple[int, ...]) -> str:
    found = "; ".join(leaf.describe() for leaf in everything)
    whole = ", ".join(sorted({dtype_name(leaf.value) for leaf in everything if not is_float(leaf.value)}))
    if whole and len({leaf.shape for leaf in everything if leaf.shape == shape}) == 1:
        return f"expected the decoder to return floats in the scale of its training, found {found}"
    return f"expected the decoder to return items of the encoder's shape {list(shape)}, found {found}"
