"""The napari side: the only code that knows napari and Qt."""
