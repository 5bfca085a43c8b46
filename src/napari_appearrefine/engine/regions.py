"""Regions of one frame on the working grid: connected pieces, small patches of mask, distances, shared blobs."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy import ndimage

from .flow import pixel_grid

_LOW, _HIGH = 0.4, 0.6
_LEAST_PIXELS = 12
_LEAST_SHARE = 2e-4
_MOTION_WEIGHT = 0.5
_LEAST_DIVIDED = 200
_LEAST_PART = 0.15
_BIMODAL = 0.85
_COHERENT = 0.8
_EVEN, _EVEN_SHARE, _SETTLED, _MOST_BETWEEN, _FARTHEST = 0.75, 0.35, 5, 0.35, 500


@dataclass(frozen=True)
class Patch:
    """The mask of one region, cut to its bounding box.

    Parameters
    ----------
    top, left : float
        Where the box begins on the working grid; may lie outside of it after a prediction.
    mask : ndarray
        (y, x) bool.
    """

    top: float
    left: float
    mask: np.ndarray

    @property
    def area(self) -> int:
        """Pixels of the region."""
        return int(np.count_nonzero(self.mask))

    @property
    def centre(self) -> np.ndarray:
        """(x, y) mean of its pixels."""
        rows, columns = np.nonzero(self.mask)
        return np.array([self.left + columns.mean(), self.top + rows.mean()])

    def moved(self, motion: np.ndarray) -> Patch:
        """Return the patch displaced by ``motion`` = (x, y) pixels."""
        return replace(self, top=self.top + float(motion[1]), left=self.left + float(motion[0]))

    def on(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return the region as a plane (h, w) bool."""
        plane = np.zeros(shape, bool)
        self.paint(plane, True)
        return plane

    def values(self, plane: np.ndarray) -> np.ndarray:
        """Return the values of a plane (h, w) at the patch's pixels, those outside the frame left out."""
        inside, mask = self._inside(plane.shape)
        return np.asarray(plane[inside][mask])

    def paint(self, plane: np.ndarray, value: float, only_where: float | None = None) -> None:
        """Set the patch's pixels of a plane (h, w); with ``only_where``, only those which have that value."""
        inside, mask = self._inside(plane.shape)
        if only_where is not None:
            mask = mask & (plane[inside] == only_where)
        plane[inside][mask] = value

    def _inside(self, shape: tuple[int, ...]) -> tuple[tuple[slice, slice], np.ndarray]:
        top, left = round(self.top), round(self.left)
        rows = slice(max(top, 0), max(min(top + self.mask.shape[0], shape[0]), 0))
        columns = slice(max(left, 0), max(min(left + self.mask.shape[1], shape[1]), 0))
        mask = self.mask[max(rows.start - top, 0) : rows.stop - top, max(columns.start - left, 0) : columns.stop - left]
        if rows.stop <= rows.start or columns.stop <= columns.start:
            return (slice(0, 0), slice(0, 0)), np.zeros((0, 0), bool)
        return (rows, columns), mask


@dataclass(frozen=True)
class PackedPlane:
    """A plane kept small in memory until it is needed again."""

    data: bytes
    shape: tuple[int, ...]
    dtype: np.dtype

    @classmethod
    def pack(cls, plane: np.ndarray) -> PackedPlane:
        """Pack a plane of any dtype."""
        return cls(zlib.compress(np.ascontiguousarray(plane).tobytes(), 1), plane.shape, plane.dtype)

    def unpack(self) -> np.ndarray:
        """Return the plane, writable."""
        return np.frombuffer(bytearray(zlib.decompress(self.data)), self.dtype).reshape(self.shape)


def components(probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find connected pieces of foreground, with hysteresis.

    Parameters
    ----------
    probability : ndarray
        (h, w) float32.

    Returns
    -------
    pieces : ndarray
        (h, w) int32, 0 for background, then 1, 2, ...: connected regions above 0.4 that somewhere exceed
        0.6 and have at least 12 pixels and 0.02 % of the frame.
    areas : ndarray
        (P + 1,) int64 pixels of each, the background's first.
    """
    count, pieces, stats, _ = cv2.connectedComponentsWithStats((probability > _LOW).astype(np.uint8), connectivity=8)
    sure = np.bincount(pieces[probability > _HIGH], minlength=count)
    least = max(_LEAST_PIXELS, _LEAST_SHARE * probability.size)
    kept = (stats[:, cv2.CC_STAT_AREA] >= least) & (sure > 0)
    kept[0] = False
    areas = stats[kept, cv2.CC_STAT_AREA].astype(np.int64)
    renumbered = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    return renumbered[pieces], np.concatenate([[probability.size - areas.sum()], areas])


def divide_by_motion(pieces: np.ndarray, residual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Divide pieces that hold two motions, each in one place: objects that touch.

    Parameters
    ----------
    pieces : ndarray
        (h, w) int32 from :func:`components`.
    residual : ndarray
        (h, w, 2) float32, pixels a frame.

    Returns
    -------
    pieces, areas : ndarray
        As :func:`components` returns them, with further pieces added.
    """
    pieces = pieces.copy()
    count = int(pieces.max())
    for patch in patches_of(pieces).values():
        if patch.area < _LEAST_DIVIDED:
            continue
        top, left = int(patch.top), int(patch.left)
        box = (slice(top, top + patch.mask.shape[0]), slice(left, left + patch.mask.shape[1]))
        part = _second_motion(patch.mask, residual[box])
        if part is not None:
            count += 1
            pieces[box][part] = count
    return pieces, np.bincount(pieces.ravel(), minlength=count + 1)


def _second_motion(mask: np.ndarray, residual: np.ndarray) -> np.ndarray | None:
    """Return the part (y, x) bool of a mask that moves in another way than the rest, or None if it is one."""
    motions = residual[mask].astype(np.float32)
    for divide in (_even_motion, _two_motions):
        second = divide(motions)
        if second is None:
            continue
        part = np.zeros(mask.shape, np.uint8)
        part[mask] = second
        smooth = np.asarray((cv2.medianBlur(part, 5) > 0) & mask)
        least = _LEAST_PART * len(motions)
        if all(
            np.count_nonzero(side) >= least and _largest_share(side) >= _COHERENT for side in (smooth, mask & ~smooth)
        ):
            return smooth
    return None


def _two_motions(motions: np.ndarray) -> np.ndarray | None:
    """Divide motions (n, 2) that fall in two about some direction, as two rigid objects do: (n,) bool, or None."""
    centred = motions - motions.mean(axis=0)
    direction = np.linalg.eigh(centred.T @ centred)[1][:, -1]
    along = centred @ direction
    limit, separated = otsu(along)
    second = along > limit
    if separated < _BIMODAL or second.all() or not second.any():
        return None
    means = motions[~second].mean(axis=0), motions[second].mean(axis=0)
    apart = float(np.linalg.norm(means[1] - means[0]))
    faster = float(max(np.linalg.norm(mean) for mean in means))
    return np.asarray(second) if apart >= max(1.0, 0.6 * faster) else None


def _even_motion(motions: np.ndarray) -> np.ndarray | None:
    """Find many of the motions (n, 2) that are about the same and apart from all others: (n,) bool, or None.

    So with a bus behind a running dog, each part of which moves in its own way.
    """
    # Flow that was computed elsewhere may be absurd: no more cells than motions within a frame need.
    bounded = np.clip(motions, -_FARTHEST, _FARTHEST)
    corner = bounded.min(axis=0)
    columns, rows = (bounded - corner).astype(np.intp).T
    shape = int(columns.max()) + 1, int(rows.max()) + 1
    cells = np.bincount(columns * shape[1] + rows, minlength=shape[0] * shape[1])
    counts = cells.reshape(shape).astype(np.float32)
    fullest = np.argmax(cv2.GaussianBlur(counts, (3, 3), 0, borderType=cv2.BORDER_CONSTANT))
    centre = corner + np.array(np.unravel_index(fullest, shape), np.float32) + 0.5
    across, down = np.ascontiguousarray(motions.T)
    for _ in range(_SETTLED):
        reach = max(_EVEN, _EVEN_SHARE * float(np.linalg.norm(centre)))
        away = np.sqrt((across - centre[0]) ** 2 + (down - centre[1]) ** 2)
        even = away < reach
        if even.all() or not even.any():
            return None
        centre = np.array([np.median(across[even]), np.median(down[even])])
    between = np.count_nonzero(~even & (away < 2 * reach))
    fewer = min(np.count_nonzero(even), np.count_nonzero(~even))
    return even if between <= _MOST_BETWEEN * fewer and np.median(away[~even]) >= 2 * reach else None


def _largest_share(mask: np.ndarray) -> float:
    stats = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)[2]
    areas = stats[1:, cv2.CC_STAT_AREA]
    return float(areas.max() / areas.sum())


def otsu(values: np.ndarray, bins: int = 128) -> tuple[float, float]:
    """Divide values in two (Otsu, "A Threshold Selection Method from Gray-Level Histograms", 1979).

    Returns
    -------
    threshold : float
        Where to divide.
    separated : float
        Share of the variance that lies between the two classes, from 0 to 1; 0.75 for values spread evenly.
    """
    counts, edges = np.histogram(values, bins)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1].astype(np.float64)
    sums = np.cumsum(counts * centres)
    above = values.size - below
    mean_below = sums[:-1] / np.maximum(below, 1)
    mean_above = (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    between = below * above * (mean_above - mean_below) ** 2 / values.size**2
    best = int(np.argmax(between))
    variance = float(np.average((centres - sums[-1] / values.size) ** 2, weights=counts))
    return float(edges[best + 1]), float(between[best]) / max(variance, 1e-12)


def patches_of(labels: np.ndarray) -> dict[int, Patch]:
    """Cut every label of a map (h, w) out as a patch."""
    patches = {}
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None:
            patches[label] = Patch(float(box[0].start), float(box[1].start), labels[box] == label)
    return patches


def carry(labels: np.ndarray, flow_back: np.ndarray) -> np.ndarray:
    """Carry a label map (h, w) int32 of another frame to this one, along the flow from this frame to that one."""
    places = pixel_grid(*labels.shape) + flow_back
    carried = cv2.remap(labels.astype(np.float32), places, None, cv2.INTER_NEAREST)  # type: ignore[call-overload]
    return np.asarray(carried, np.int32)


def share_out(
    blob: np.ndarray, predicted: Sequence[Patch], motions: np.ndarray, flow: np.ndarray, top: int = 0, left: int = 0
) -> np.ndarray:
    """Share a blob out among the objects that were predicted to lie in it.

    A pixel goes to the object whose predicted mask is nearest in units of its size, and whose
    motion is most like the pixel's own where the objects' motions differ.

    Parameters
    ----------
    blob : ndarray
        (y, x) bool, a cut-out of the frame.
    predicted : sequence of Patch
        Predicted masks in the frame's coordinates.
    motions : ndarray
        (K, 2) float, motion of each object, pixels a frame.
    flow : ndarray
        (y, x, 2) float32, flow to the next frame of the cut-out.
    top, left : int
        Where the cut-out begins in the frame.

    Returns
    -------
    ndarray
        (y, x) uint8: 0 outside of the blob, k + 1 for object k; at most 254 objects.
    """
    spread = float(np.linalg.norm(motions[:, None] - motions[None], axis=-1).max())
    weight = _MOTION_WEIGHT * min(1.0, spread)
    cheapest = np.full(blob.shape, np.inf, np.float32)
    owner = np.zeros(blob.shape, np.uint8)
    for index, patch in enumerate(predicted):
        outside = np.ones(blob.shape, np.uint8)
        patch.moved(np.array([-left, -top])).paint(outside, 0)
        if outside.all():
            # The prediction lies outside of the blob's box: its centre still says on which side.
            x, y = patch.centre - (left, top)
            outside[int(np.clip(y, 0, blob.shape[0] - 1)), int(np.clip(x, 0, blob.shape[1] - 1))] = 0
        distance = cv2.distanceTransform(outside, cv2.DIST_L2, 3) / np.sqrt(max(patch.area, 1))
        differs = np.linalg.norm(flow - motions[index].astype(np.float32), axis=-1) / (spread + 0.5)
        cost = distance + weight * np.minimum(differs, 2)
        better = cost < cheapest
        cheapest[better] = cost[better]
        owner[better] = index + 1
    return np.where(blob, cv2.medianBlur(owner, 5), 0).astype(np.uint8)


def neighbour_distances(labels: np.ndarray, farthest: float) -> dict[tuple[int, int], float]:
    """Measure how near labels are to those next to them.

    Parameters
    ----------
    labels : ndarray
        (h, w) int32.
    farthest : float
        Pairs farther apart, in pixels, are left out.

    Returns
    -------
    dict
        (smaller label, larger label) to the gap between them in pixels, about; pairs with a third label between
        them do not appear.
    """
    if not labels.any():
        return {}
    distance, nearest = cv2.distanceTransformWithLabels(
        (labels == 0).astype(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    label_of = np.zeros(int(nearest.max()) + 1, np.int64)
    occupied = labels > 0
    label_of[nearest[occupied]] = labels[occupied]
    cells = label_of[nearest]
    gaps: dict[tuple[int, int], float] = {}
    for here, there in (
        ((slice(None), slice(None, -1)), (slice(None), slice(1, None))),
        ((slice(None, -1), slice(None)), (slice(1, None), slice(None))),
    ):
        between = (cells[here] != cells[there]) & (distance[here] + distance[there] <= farthest)
        ones, others = cells[here][between], cells[there][between]
        spans = (distance[here] + distance[there])[between]
        for one, other, span in zip(ones.tolist(), others.tolist(), spans.tolist(), strict=True):
            pair = (min(one, other), max(one, other))
            gaps[pair] = min(gaps.get(pair, np.inf), span)
    return gaps
