"""The data a refinement is about, in numpy alone: no torch, no napari, no Qt."""
