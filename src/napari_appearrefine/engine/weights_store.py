"""The folder of public weights: added by hand or fetched once, checked, found again without flags, offline."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pooch
import requests

from ..core.errors import UserError
from ..core.parameters import RefineParameters
from ..files.atomic import atomic_path, explained_write_errors
from ..files.report import write_json
from .checkpoints import (
    CORRECTOR,
    DINO8,
    DINO16,
    DINO_PAGE,
    OCLR,
    PROJECT_PAGE,
    SELECTOR,
    KnownNetwork,
    identify,
    read_parameters,
    used_parameters,
    what_differs,
)

FOLDER_VARIABLE = "NAPARI_APPEARREFINE_WEIGHTS"
_RECORD = "weights.json"
_DINO_ADDRESS = "https://dl.fbaipublicfiles.com/dino"
_CHUNK = 1 << 18

ShowBytes = Callable[[int, int], None]
"""Told how many bytes of how many have come; the second is 0 where the server does not say."""


@dataclass(frozen=True)
class PublicWeights:
    """Weights that the store can hold.

    Parameters
    ----------
    name : str
        What the command line calls them.
    network : KnownNetwork
        What the file must hold.
    file : str
        Name of the file in the folder; the suffix is that of the file that is added.
    address : str
        Where it can be fetched from; empty if a person must download it.
    """

    name: str
    network: KnownNetwork[Any]
    file: str
    address: str = ""

    @property
    def how_to_get(self) -> str:
        """How to get the file, as the end of a sentence."""
        if self.address:
            return f"fetch it with: napari-appearrefine weights fetch {self.name}"
        return (
            f"download it in a browser from {self.network.source} and keep it with: "
            f"napari-appearrefine weights add {self.name} FILE"
        )


def _dino(patch: int, network: KnownNetwork[Any]) -> PublicWeights:
    stem = f"dino_deitsmall{patch}_pretrain"
    return PublicWeights(f"dino{patch}", network, f"{stem}.pth", f"{_DINO_ADDRESS}/{stem}/{stem}.pth")


PUBLIC_WEIGHTS = (
    PublicWeights("selector", SELECTOR, "selector.pth"),
    PublicWeights("corrector", CORRECTOR, "corrector.pth"),
    _dino(8, DINO8),
    _dino(16, DINO16),
    PublicWeights("oclr", OCLR, "oclr.pth"),
)


def weights_named(name: str) -> PublicWeights:
    """Return the entry of a name.

    Raises
    ------
    UserError
        If there is none.
    """
    for weights in PUBLIC_WEIGHTS:
        if weights.name == name:
            return weights
    known = ", ".join(weights.name for weights in PUBLIC_WEIGHTS)
    raise UserError(f"There are no public weights called {name!r}; choose one of {known}.")


def weights_folder(chosen: Path | None = None) -> Path:
    """Return the folder chosen, that of the environment variable, or one in the user's cache."""
    if chosen is None and os.environ.get(FOLDER_VARIABLE):
        chosen = Path(os.path.expanduser(os.environ[FOLDER_VARIABLE]))
    return chosen if chosen is not None else Path(pooch.os_cache("napari-appearrefine")) / "weights"


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's contents, in hexadecimal."""
    return str(pooch.file_hash(str(path)))


def stored_weights(network: KnownNetwork[Any]) -> Path | None:
    """Return the stored file of a network, or None.

    Raises
    ------
    UserError
        If the file is no longer the one that was stored.
    """
    store = WeightsStore()
    for weights in PUBLIC_WEIGHTS:
        if weights.network is network and store.holds(weights):
            return store.verified(weights)
    return None


def checkpoint_paths(parameters: RefineParameters) -> tuple[Path, Path, Path, Path]:
    """Return the files of selector, corrector, DINO/8 and DINO/16: as given, or else as stored.

    Raises
    ------
    UserError
        If one is neither given nor stored.
    """
    given: dict[KnownNetwork[Any], Path | None] = {
        SELECTOR: parameters.selector_checkpoint,
        CORRECTOR: parameters.corrector_checkpoint,
        DINO8: parameters.dino8,
        DINO16: parameters.dino16,
    }
    found = {network: path or stored_weights(network) for network, path in given.items()}
    missing = [f"{network.title} with {network.flag}" for network, path in found.items() if path is None]
    if missing:
        raise UserError(
            f"The published model lacks checkpoints: download the authors' from {PROJECT_PAGE} and DINO's from "
            f"{DINO_PAGE}, then give {', '.join(missing)}, or keep them for good with "
            "napari-appearrefine weights add and weights fetch."
        )
    selector, corrector, dino8, dino16 = (path for path in found.values() if path is not None)
    return selector, corrector, dino8, dino16


class WeightsStore:
    """Weights in a folder, with a record of each file's SHA-256.

    Parameters
    ----------
    folder : Path, optional
        See :func:`weights_folder`.

    Raises
    ------
    UserError
        If the folder's record is damaged.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = weights_folder(folder)
        self._record_file = self.folder / _RECORD
        self._record: dict[str, dict[str, Any]] = {}
        if self._record_file.is_file():
            try:
                self._record = json.loads(self._record_file.read_text(encoding="utf-8"))
                complete = all({"file", "sha256"} <= set(entry) for entry in self._record.values())
            except (ValueError, OSError, AttributeError, TypeError):
                complete = False
            if not complete:
                raise UserError(f"{self._record_file} is damaged; remove it and add the weights again.")

    def path(self, weights: PublicWeights) -> Path:
        """Return where the file is, or would be."""
        return self.folder / str(self._record.get(weights.name, {}).get("file", weights.file))

    def sha256(self, weights: PublicWeights) -> str:
        """Return the SHA-256 that was kept, or an empty string."""
        return str(self._record.get(weights.name, {}).get("sha256", ""))

    def holds(self, weights: PublicWeights) -> bool:
        """Whether the file was stored and is still there, changed or not."""
        return weights.name in self._record and self.path(weights).is_file()

    def verified(self, weights: PublicWeights) -> Path:
        """Return the stored file if it is still the same.

        Raises
        ------
        UserError
            If it is not there or has changed.
        """
        path = self.path(weights)
        if not self.holds(weights):
            raise UserError(f"{self.folder} does not hold {weights.network.title}; {weights.how_to_get}")
        if file_sha256(path) != self.sha256(weights):
            raise UserError(f"{path} has changed since it was stored (another SHA-256); {weights.how_to_get}")
        return path

    def add(self, weights: PublicWeights, source: Path) -> Path:
        """Check a file, copy it into the folder and keep its SHA-256.

        Raises
        ------
        UserError
            If it is not what it should be, or cannot be copied.
        """
        check_contents(weights, source)
        suffix = ".safetensors" if source.suffix == ".safetensors" else ".pth"
        target = self.folder / (Path(weights.file).stem + suffix)
        self._make_folder()
        with atomic_path(target) as beside:
            shutil.copyfile(source, beside)
        self._keep(weights, target, str(source.resolve()))
        return target

    def fetch(self, weights: PublicWeights, show: ShowBytes, address: str = "") -> Path:
        """Download a file, going on where an earlier try stopped, and keep its SHA-256.

        The first time, the file is checked by its parameters' names and shapes, and its SHA-256 is
        kept; from then on a file must have that SHA-256. A file that is there already and
        unchanged is not fetched again.

        Parameters
        ----------
        weights : PublicWeights
            What to fetch.
        show : callable
            Told the progress.
        address : str
            A mirror; the public address by default.

        Raises
        ------
        UserError
            If it must be downloaded by hand, does not arrive, or is not what it should be.
        """
        address = address or weights.address
        if not address:
            raise UserError(f"{weights.network.title} cannot be fetched by itself; {weights.how_to_get}")
        known = self.sha256(weights)
        if self.holds(weights) and file_sha256(self.path(weights)) == known:
            return self.path(weights)
        self._make_folder()
        target = self.folder / weights.file
        fresh = target.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        download = _ResumedDownload(target.with_suffix(".part"), show)
        pooch.get_logger().setLevel("ERROR")
        try:
            pooch.retrieve(address, known or None, fresh.name, self.folder, downloader=download)
            check_contents(weights, fresh)
            with explained_write_errors(target):
                os.replace(fresh, target)
        except requests.RequestException as error:
            raise UserError(
                f"{address} could not be fetched ({_what_failed(error)}); what has come is kept: fetch again to go "
                f"on, or download it by other means, then: napari-appearrefine weights add {weights.name} FILE"
            ) from error
        except UserError as error:
            raise UserError(str(error).replace(str(fresh), f"The file at {address}")) from error
        except ValueError as error:  # how pooch says that the hash is another one
            raise UserError(
                f"{address} no longer gives the file that was fetched before (another SHA-256), so it was thrown away; "
                f"if that is meant, remove {weights.name} from {self._record_file} and fetch again."
            ) from error
        finally:
            fresh.unlink(missing_ok=True)
        self._keep(weights, target, address)
        return target

    def problems(self) -> Iterator[tuple[PublicWeights, str]]:
        """Check every stored file again; yield each entry with what is wrong, or an empty string."""
        for weights in PUBLIC_WEIGHTS:
            if weights.name not in self._record:
                continue
            try:
                check_contents(weights, self.verified(weights))
            except UserError as error:
                yield weights, str(error)
            else:
                yield weights, ""

    def _make_folder(self) -> None:
        with explained_write_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)

    def _keep(self, weights: PublicWeights, path: Path, origin: str) -> None:
        entry = {"file": path.name, "sha256": file_sha256(path), "from": origin}
        self._record = {**self._record, weights.name: entry}
        write_json(self._record_file, self._record)


def check_contents(weights: PublicWeights, path: Path) -> None:
    """Check that a file holds a network, parameter by parameter.

    Raises
    ------
    UserError
        If not; says what it is instead where that is known.
    """
    network = weights.network
    given = read_parameters(path, network)
    problem = what_differs(used_parameters(given, network), network)
    if not problem:
        return
    other = identify(given)
    if other is not None and other is not network:
        name = next(entry.name for entry in PUBLIC_WEIGHTS if entry.network is other)
        raise UserError(f"{path} is the checkpoint of {other.title} ({name}), not of {network.title} ({weights.name}).")
    raise UserError(f"{path} is not a checkpoint of {network.title}: {problem}.")


def _what_failed(error: requests.RequestException) -> str:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answers {error.response.status_code} {error.response.reason}".rstrip()
    if isinstance(error, ValueError):
        return "no address that begins with http:// or https://"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    return "no connection, or it broke off" if isinstance(error, requests.ConnectionError) else type(error).__name__


class _ResumedDownload:
    """A downloader for pooch that keeps what has come beside, and goes on from there."""

    def __init__(self, part: Path, show: ShowBytes) -> None:
        self._part = part
        self._show = show

    def __call__(self, url: str, output_file: str, pooch: Any, check_only: bool = False) -> None:
        there = self._part.stat().st_size if self._part.exists() else 0
        # Packed for the way, the bytes on the disk would not be those that a range counts.
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={there}-"} if there else {})}
        with requests.get(url, headers=headers, stream=True, timeout=30) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                # Whole already, or longer than the file: what is wrong then, the checks that follow find.
                os.replace(self._part, output_file)
                return
            response.raise_for_status()
            if response.status_code != requests.codes.partial_content:
                there = 0
            total = there + int(response.headers.get("Content-Length", 0))
            with open(self._part, "ab" if there else "wb") as file:
                for chunk in response.iter_content(_CHUNK):
                    file.write(chunk)
                    self._show(file.tell(), total)
        if "Content-Length" in response.headers and self._part.stat().st_size != total:
            raise requests.ConnectionError(f"{url} ended early")
        os.replace(self._part, output_file)
