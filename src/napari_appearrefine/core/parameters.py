"""Every setting of a run, with its limits and a sentence of help: one place for forms, flags and reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from numbers import Integral
from pathlib import Path
from typing import Any

from .errors import UserError

MODELS = ("builtin", "published")
FLOW_MODELS = ("builtin", "oclr")
FLOWS = ("dis", "raft")
CORRECTORS = ("network", "propagate")
EDGES = ("own", "sam")
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")


def _setting(default: Any, help: str, **limits: Any) -> Any:
    return field(default=default, metadata={"help": help, **limits})


def _check(parameters: Any) -> None:
    """Refuse what is outside its limits, and make paths of text."""
    for setting in fields(parameters):
        value, limits = getattr(parameters, setting.name), setting.metadata
        flag = "--" + setting.name.replace("_", "-")
        if value and "Path" in str(setting.type):
            object.__setattr__(parameters, setting.name, Path(value))
        if "choices" in limits and value not in limits["choices"]:
            raise UserError(f"{flag} is {value!r}; choose one of {', '.join(limits['choices'])}.")
        low, high = limits.get("minimum"), limits.get("maximum")
        if value is not None and low is not None and not (isinstance(value, Integral) and low <= value <= high):
            raise UserError(f"{flag} is {value!r}; choose a whole number from {low} to {high}.")


@dataclass(frozen=True)
class RefineParameters:
    """Settings of a refinement: which model, on what, with how many exemplars; paths may be given as text.

    Raises
    ------
    UserError
        If a value is outside its limits.
    """

    model: str = _setting("builtin", "The networks that judge and repair the masks.", choices=MODELS)
    corrector: str = _setting(
        "network",
        "What repairs the masks: the model's network, or labels carried along from frame to frame by likeness.",
        choices=CORRECTORS,
    )
    exemplars: int = _setting(
        10, "How many well-segmented frames serve as examples for the others.", minimum=1, maximum=50
    )
    rounds: int = _setting(
        3, "How often to correct what was corrected, at most; ends by itself when little changes.", minimum=1, maximum=5
    )
    device: str = _setting("auto", "Where to compute: auto takes a GPU if there is one.", choices=DEVICES)
    selector_checkpoint: Path | None = _setting(
        None, "The published selector's checkpoint; the stored one if not given.", only_for="published"
    )
    corrector_checkpoint: Path | None = _setting(
        None, "The published corrector's checkpoint; the stored one if not given.", only_for="published"
    )
    dino8: Path | None = _setting(None, "Weights of DINO ViT-S/8; the stored ones if not given.", only_for="published")
    dino16: Path | None = _setting(
        None, "Weights of DINO ViT-S/16; the stored ones if not given.", only_for="published"
    )
    edges: str = _setting(
        "own", "Who draws the outlines in the end: the corrector, or SAM where the two agree.", choices=EDGES
    )
    sam_checkpoint: Path | None = _setting(
        None, "A checkpoint of SAM (ViT-B, ViT-L or ViT-H).", only_for="sam", of="edges"
    )
    precision: str = _setting(
        "auto",
        "How the published networks compute: auto takes half precision on a GPU, float32 on a CPU.",
        choices=PRECISIONS,
        in_form=False,
    )
    memory_limit: int | None = _setting(
        None,
        "How many MiB features may take in memory; 16 if neither this nor NAPARI_APPEARREFINE_MEMORY_LIMIT is set, "
        "512 where none are kept on disk.",
        minimum=16,
        maximum=1 << 20,
        in_form=False,
    )
    cache: bool = _setting(
        True, "Keep features and results on disk, so that the next run on the same video is quicker.", in_form=False
    )
    cache_dir: Path | None = _setting(
        None,
        "Folder for what is kept, instead of NAPARI_APPEARREFINE_CACHE or the system's folder for caches.",
        folder=True,
        in_form=False,
    )

    def __post_init__(self) -> None:
        _check(self)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON-ready values; paths as text."""
        values = {setting.name: getattr(self, setting.name) for setting in fields(self)}
        return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> RefineParameters:
        """Return the settings that :meth:`to_json` stored; what is missing has its default.

        Raises
        ------
        UserError
            If a value is outside its limits.
        """
        return cls(**{setting.name: stored[setting.name] for setting in fields(cls) if setting.name in stored})


@dataclass(frozen=True)
class FlowMaskParameters:
    """Settings of masks from motion; paths may be given as text.

    Raises
    ------
    UserError
        If a value is outside its limits.
    """

    model: str = _setting("builtin", "The network that turns motion into masks.", choices=FLOW_MODELS)
    objects: int | None = _setting(
        None,
        "At most this many objects, the most prominent first; found by itself when not given.",
        minimum=1,
        maximum=255,
    )
    device: str = _setting("auto", "Where to compute: auto takes a GPU if there is one.", choices=DEVICES)
    checkpoint: Path | None = _setting(None, "OCLR's checkpoint; the stored one if not given.", only_for="oclr")
    amodal: bool = _setting(
        False, "Also give the whole shape of each object, parts hidden behind others included, and their order."
    )
    flow: str = _setting(
        "dis", "How flow is measured: dis comes with this program, raft needs torchvision.", choices=FLOWS
    )
    flow_root: Path | None = _setting(
        None,
        "Folder with Flows_gap1/<clip>/00000.flo and Flows_gap-1/<clip>/00000.flo, instead of computing flow.",
        folder=True,
    )

    def __post_init__(self) -> None:
        _check(self)
