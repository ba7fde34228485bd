"""What to train and how: presets, and the recipe that a run folder records."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any

from latentwire.train.dense import network as dense
from latentwire.train.dense.objective_settings import ObjectiveSettings, settings_class
from latentwire.train.dense.settings import DenseSettings, LoopSettings, PresetName
from latentwire.train.errors import SettingsError
from latentwire.train.settings import change, from_json, require_same, to_json


@dataclass(frozen=True)
class Recipe:
    """Every decision of a training run but the data.

    Attributes:
        family: which kind of network, and so which kind of item.
        preset: the preset it started from; what was changed since is in the other fields.
        network: the network's shape.
        objective: what it minimises, with its settings.
        loop: how it is trained.
    """

    family: str
    preset: PresetName
    network: DenseSettings
    objective: ObjectiveSettings
    loop: LoopSettings

    def to_json(self) -> dict[str, Any]:
        """The recipe as part of run.json."""
        return {
            "family": self.family,
            "preset": self.preset,
            "network": to_json(self.network),
            "objective": {"name": self.objective.name, **to_json(self.objective)},
            "loop": to_json(self.loop),
        }

    def require_same(self, asked: Mapping[str, Any]) -> None:
        """Raises SettingsError where a setting that was asked for, {name: value}, is not the recipe's own."""
        own: dict[str, Any] = {"preset": self.preset, "objective": self.objective.name}
        for part in (self.network, self.objective, self.loop):
            own |= {field.name: getattr(part, field.name) for field in fields(part)}
        require_same(own, asked)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Recipe":
        """The recipe in run.json; raises SettingsError for anything but what `to_json` writes."""
        if document.get("family") != "dense":
            raise SettingsError(f"run.json: family must be dense, found {document.get('family')!r}")
        missing = {"family", "preset", "network", "objective", "loop"} - document.keys()
        if missing:
            raise SettingsError(f"run.json must have the keys of a recipe; missing: {', '.join(sorted(missing))}")
        if document["preset"] not in PRESETS:
            raise SettingsError(f"run.json: preset must be one of {', '.join(PRESETS)}; found {document['preset']!r}")
        objective = dict(document["objective"])
        kind = settings_class(objective.pop("name", ""))
        return cls(
            document["family"],
            document["preset"],
            from_json(DenseSettings, document["network"], "run.json: network"),
            from_json(kind, objective, "run.json: objective"),
            from_json(LoopSettings, document["loop"], "run.json: loop"),
        )


@dataclass(frozen=True)
class Preset:
    """Defaults that belong together; the network may depend on the shape of an item."""

    network: Callable[[tuple[int, ...]], DenseSettings]
    loop: LoopSettings
    objective: str


# The two seed programs, with their own settings, and the codec that is to beat them. What the seeds' presets hand on is
# the moving average of the weights over their programs' own course: the programs' last weights jitter by the last
# batches.
PRESETS: Mapping[PresetName, Preset] = MappingProxyType(
    {
        "keras": Preset(
            lambda _: dense.KERAS, LoopSettings(epochs=10, batch=256, adam_epsilon=1e-7, average=0.99), "mse"
        ),
        "torch": Preset(lambda _: dense.TORCH, LoopSettings(epochs=10, batch=128, average=0.995), "mse"),
        "codec": Preset(
            dense.codec_network,
            LoopSettings(
                epochs=40,
                batch=128,
                learning_rate=2e-3,
                schedule="cosine",
                warmup=200,
                basis_rate=0.1,
                clip=50.0,
                average=0.999,
            ),
            "rate",
        ),
    }
)


def dense_recipe(
    preset: PresetName | None = None,
    objective: str | None = None,
    *,
    item_shape: tuple[int, ...],
    network: Mapping[str, Any] | None = None,
    objective_settings: Mapping[str, Any] | None = None,
    loop: Mapping[str, Any] | None = None,
) -> Recipe:
    """A recipe for items of a shape (that of one item, before it became a vector): a preset, with settings changed.

    Without a preset it is `codec` for the objective `rate`, which is the default, and `torch` for the others.
    `variational` and `adversarial` match the code to N(0, I), so they make a preset's rectified code linear unless
    `network` says otherwise. Raises SettingsError for unknown names and for values out of range.
    """
    name = preset or ("codec" if objective in (None, "rate") else "torch")
    if name not in PRESETS:
        raise SettingsError(f"preset must be one of {', '.join(PRESETS)}, found {name!r}")
    base = PRESETS[name]
    kind = settings_class(objective or base.objective)
    shape = base.network(item_shape)
    if kind.prior is not None:
        shape = replace(shape, code_activation="linear")
    return Recipe(
        "dense",
        name,
        change(shape, network or {}),
        change(kind(), objective_settings or {}),
        change(base.loop, loop or {}),
    )
