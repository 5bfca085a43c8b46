"""What objects of synthetic scenes throw on the ground: shadows, and reflections in water."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

_OVERCAST = 0.35
_REFLECTING = 0.15
_VISIBLE = 0.12


@dataclass(frozen=True)
class Light:
    """How the objects of one scene show on the ground on which they stand.

    Parameters
    ----------
    lean : float
        How far the top falls to the right, in heights of the object.
    fall : float
        How far it falls towards the viewer, in heights; -1 to 1.
    strength : float
        Opacity, 0 to 1.
    softness : float
        Blur as a share of the object's height.
    contact : float
        Opacity of the dark under the object itself, 0 to 1.
    reflects : bool
        Whether the ground is water, which shows the object upside down.
    """

    lean: float
    fall: float
    strength: float
    softness: float
    contact: float
    reflects: bool

    def cast(
        self,
        image: np.ndarray,
        layer: np.ndarray,
        alpha: np.ndarray,
        ripple: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> np.ndarray:
        """Draw what an object throws on the ground, before the object itself.

        Parameters
        ----------
        image : ndarray
            (Y, X, 3) float32, changed in place.
        layer : ndarray
            (Y, X, 3) float32 picture of the object.
        alpha : ndarray
            (Y, X) float32 opacity of the object, 0 to 1.
        ripple : tuple of ndarray, optional
            By how many pixels waves shift a reflection to the right and down, two (Y, X) float32.

        Returns
        -------
        ndarray
            (Y, X) bool, where it shows.
        """
        rows = np.flatnonzero((alpha > 0.5).any(axis=1))
        nothing = np.zeros(alpha.shape, bool)
        # An object that leaves the picture below stands on ground that is not seen.
        if len(rows) < 4 or rows[-1] >= len(alpha) - 2:
            return nothing
        foot, height = float(rows[-1]), float(rows[-1] - rows[0])
        thrown = np.array([[1, -self.lean, self.lean * foot], [0, -self.fall, (1 + self.fall) * foot]], np.float32)
        where = alpha.shape[::-1]
        shade = cv2.warpAffine(alpha, thrown, where, flags=cv2.INTER_LINEAR)
        shade = self.strength * cv2.GaussianBlur(shade, (0, 0), max(self.softness * height, 0.6))
        if self.reflects:
            seen = cv2.warpAffine(layer, thrown, where, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            if ripple is not None:
                shade, seen = _rippled(shade, ripple), _rippled(seen, ripple)
            image += (seen - image) * shade[..., None]
        else:
            shade = np.maximum(shade, self.contact * _contact(alpha, foot, height))
            image *= 1 - shade[..., None]
        return np.asarray(shade > _VISIBLE)


def draw_light(rng: np.random.Generator, water: bool = False) -> Light | None:
    """Draw the light of a scene, or none, as under an overcast sky or in the air; on water, one that reflects."""
    kind = 0.0 if water else rng.random()
    lean, fall = float(rng.normal(0, 0.7)), float(rng.uniform(0.06, 0.45)) * (1 if rng.random() < 0.6 else -1)
    strength, contact = rng.uniform(0.2, 0.75, 2)
    softness = float(rng.uniform(0.0, 0.06))
    if kind < _REFLECTING:
        return Light(float(rng.normal(0, 0.03)), float(rng.uniform(0.6, 1.0)), float(strength), softness, 0.0, True)
    if kind < 1 - _OVERCAST:
        return Light(lean, fall, float(strength), softness, float(contact), False)
    return None


def _rippled(picture: np.ndarray, ripple: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    rows, columns = np.indices(picture.shape[:2], np.float32)
    return cv2.remap(picture, columns + ripple[0], rows + ripple[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _contact(alpha: np.ndarray, foot: float, height: float) -> np.ndarray:
    """Return the dark under an object: its lowest part, made flat and blurred; (Y, X) float32."""
    low = alpha.copy()
    low[: int(foot - 0.25 * height)] = 0
    flat = np.array([[1, 0, 0], [0, 0.3, 0.7 * foot + 0.02 * height]], np.float32)
    spread = cv2.warpAffine(low, flat, alpha.shape[::-1], flags=cv2.INTER_LINEAR)
    return np.asarray(cv2.GaussianBlur(spread, (0, 0), max(0.04 * height, 0.8)))
