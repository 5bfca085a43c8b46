"""Checkpoints that users bring: read without running any code in them, and checked against the five known networks."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..core.errors import UserError
from .networks.corrector import Corrector
from .networks.oclr import Oclr
from .networks.selector import Selector
from .networks.vit import DinoViT

Module = TypeVar("Module", bound=nn.Module)

DINO_PAGE = "github.com/facebookresearch/dino"
PROJECT_PAGE = "the project page of the paper (www.robots.ox.ac.uk/~vgg/research/appear-refine)"
_WRAPPERS = ("model_state_dict", "state_dict", "model", "teacher", "student")
_PREFIXES = ("module.", "backbone.")
_START = 512


@dataclass(frozen=True)
class KnownNetwork(Generic[Module]):
    """A network whose checkpoints users bring.

    Parameters
    ----------
    title : str
        What to call it in messages.
    flag : str
        The command line's option for its checkpoint.
    source : str
        Where the checkpoint is to be had.
    build : callable
        Makes the module.
    head : str
        What the names of parameters start with that may be in a file but are not used; none if empty.
    """

    title: str
    flag: str
    source: str
    build: Callable[[], Module]
    head: str = ""


SELECTOR = KnownNetwork("the published selector", "--selector-checkpoint", PROJECT_PAGE, Selector)
CORRECTOR = KnownNetwork("the published corrector", "--corrector-checkpoint", PROJECT_PAGE, Corrector)
DINO8 = KnownNetwork("DINO ViT-S/8", "--dino8", DINO_PAGE, lambda: DinoViT(8), head="head.")
DINO16 = KnownNetwork("DINO ViT-S/16", "--dino16", DINO_PAGE, lambda: DinoViT(16), head="head.")
OCLR = KnownNetwork("OCLR", "--checkpoint", "the project page of OCLR (arXiv 2207.02206)", Oclr)
NETWORKS: tuple[KnownNetwork[Any], ...] = (SELECTOR, CORRECTOR, DINO8, DINO16, OCLR)


class _Ignored:
    """Stands for whatever a checkpoint keeps beside its weights: settings, a best loss."""

    def __init__(self, *arguments: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


# Common beside weights and not needed. None of them is built: each becomes an empty _Ignored.
_READ_AS_NOTHING = (
    "argparse.Namespace",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
    "numpy.dtypes.Float64DType",
    "numpy.dtypes.Float32DType",
    "numpy.dtypes.Int64DType",
)


def load_network(network: KnownNetwork[Module], path: Path, device: torch.device) -> Module:
    """Load a network from a released checkpoint, every parameter by its own name.

    Parameters
    ----------
    network : KnownNetwork
        What the file must hold.
    path : Path
        A ``torch.save`` file, with the parameters on top or under ``model_state_dict``, or .safetensors.
    device : torch.device
        Where the network shall compute.

    Returns
    -------
    nn.Module
        In float32, for inference only.

    Raises
    ------
    UserError
        If the file is missing, damaged, holds code, or is not a checkpoint of this network.
    """
    parameters = used_parameters(read_parameters(path, network, network.flag), network)
    problem = what_differs(parameters, network)
    if problem:
        raise UserError(
            f"{path} is not a checkpoint of {network.title}: {problem}; "
            f"give the one from {network.source} with {network.flag}."
        )
    # Modules made on the meta device take no time for random weights that are thrown away.
    with torch.device("meta"):
        module = network.build()
    module.load_state_dict(parameters, strict=True, assign=True)
    return module.to(device=device, dtype=torch.float32).eval().requires_grad_(False)


def read_parameters(path: Path, network: KnownNetwork[Any], flag: str = "") -> dict[str, Tensor]:
    """Read the named tensors of a checkpoint file of any network; ``network`` and ``flag`` say who asks, for messages.

    Raises
    ------
    UserError
        If the file is missing, damaged, or holds anything but weights.
    """
    named = read_weights(path, network.title, network.source, flag)
    return {_without_prefixes(name): tensor for name, tensor in named.items() if tensor.is_floating_point()}


def read_weights(path: Path, title: str, source: str, flag: str = "") -> dict[str, Tensor]:
    """Read the named tensors of a checkpoint file, under the names that they have there.

    Parameters
    ----------
    path : Path
        A ``torch.save`` file, plain or wrapped as checkpoints usually are, or .safetensors.
    title, source, flag : str
        Whose weights they should be, where to get them and how to give them, for messages.

    Raises
    ------
    UserError
        If the file is missing, damaged, or holds anything but weights.
    """
    way = f" with {flag}" if flag else ""
    if not path.is_file():
        raise UserError(f"{path} is not a file; download the checkpoint of {title} from {source} and give it{way}.")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise _damaged(path) from error
    contents = _read_torch_file(path)
    for wrapper in _WRAPPERS:
        if isinstance(contents, Mapping) and isinstance(contents.get(wrapper), Mapping):
            contents = contents[wrapper]
    if not isinstance(contents, Mapping):
        raise UserError(f"{path} holds no named weights; give the checkpoint of {title}{way}.")
    return {name: tensor for name, tensor in contents.items() if isinstance(name, str) and isinstance(tensor, Tensor)}


def parameter_shapes(network: KnownNetwork[Any]) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every parameter of a network, without computing or storing any."""
    return dict(_shapes(network))


@cache
def _shapes(network: KnownNetwork[Any]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    with torch.device("meta"):
        state = network.build().state_dict()
    return tuple((name, tuple(tensor.shape)) for name, tensor in state.items())


def _read_torch_file(path: Path) -> Any:
    ignored = [(_Ignored, name) for name in _READ_AS_NOTHING]
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(ignored):  # type: ignore[arg-type]
            # What torch warns of, a pickle of another protocol, is said below in one sentence if it cannot be read.
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # Torch's reader refuses by one error class whatever is wrong; only its words tell code from noise.
        if "global" in str(error).lower() or "unrecognized function" in str(error):
            raise UserError(
                f"{path} holds more than weights and could run code when opened, so it was not opened; "
                "give a checkpoint of plain weights or a .safetensors file."
            ) from error
        raise _damaged(path) from error
    except Exception as error:  # a damaged file can fail in any way: zip, pickle, text decoding, key lookup
        if "TorchScript" in str(error):
            raise UserError(
                f"{path} is a TorchScript program, which is not opened; give a checkpoint of plain weights instead."
            ) from error
        raise _damaged(path) from error


def _damaged(path: Path) -> UserError:
    with path.open("rb") as file:
        start = file.read(_START).lstrip().lower()
    if not start:
        return UserError(f"{path} is empty; download it again.")
    if start.startswith((b"<!doctype html", b"<html")):
        return UserError(f"{path} is a web page, not a checkpoint; download the file itself, with a browser.")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            inside = [name for name in archive.namelist() if not name.endswith("/")]
        if inside and not any(name.endswith("data.pkl") for name in inside):
            return UserError(f"{path} is an archive that holds {inside[0]}; unpack it, and give the checkpoint in it.")
    return UserError(f"{path} cannot be read as a checkpoint, it is damaged or of another kind; download it again.")


def _without_prefixes(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def used_parameters(parameters: Mapping[str, Tensor], network: KnownNetwork[Any]) -> dict[str, Tensor]:
    """Leave out what a file may hold but the network does not use."""
    return {name: tensor for name, tensor in parameters.items() if not (network.head and name.startswith(network.head))}


def identify(parameters: Mapping[str, Tensor]) -> KnownNetwork[Any] | None:
    """Return the known network all of whose parameters are there, in their shapes, or None."""
    given = {name: tuple(tensor.shape) for name, tensor in parameters.items()}
    for network in NETWORKS:
        if all(given.get(name) == shape for name, shape in parameter_shapes(network).items()):
            return network
    return None


def what_differs(parameters: Mapping[str, Tensor], network: KnownNetwork[Any]) -> str:
    """Say how parameters differ from those of a network; nothing if they do not."""
    given = {name: tuple(tensor.shape) for name, tensor in parameters.items()}
    wanted = parameter_shapes(network)
    if given == wanted:
        return ""
    other = identify(parameters)
    if other is not None and other is not network:
        return f"it holds {other.title} (for {other.flag})"
    missing = [name for name in wanted if name not in given]
    if len(missing) == len(wanted):
        return f"it holds other weights, such as {next(iter(given))}" if given else "it holds no weights"
    if missing:
        return f"it lacks {len(missing)} of its {len(wanted)} parameters, such as {missing[0]}"
    extra = [name for name in given if name not in wanted]
    if extra:
        return f"it holds {len(extra)} parameters that do not belong there, such as {extra[0]}"
    name = next(name for name in wanted if given[name] != wanted[name])
    return f"{name} has the shape {given[name]} instead of {wanted[name]}"
