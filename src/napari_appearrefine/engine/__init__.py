"""Everything that computes: flow, features, scores, exemplars, corrected masks. Knows torch, not napari or Qt."""

import os

# torch's threads otherwise spin while they wait for each other: on a computer that has anything else to
# do, the window of napari included, this made refinement up to ten times slower. Read when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
