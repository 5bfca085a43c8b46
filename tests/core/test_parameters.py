"""Settings: what they take and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_appearrefine import FlowMaskParameters, RefineParameters, UserError


def test_paths_may_be_text() -> None:
    assert RefineParameters(cache_dir="kept", dino8="a.pth") == RefineParameters(
        cache_dir=Path("kept"), dino8=Path("a.pth")
    )
    assert FlowMaskParameters(flow_root="flow").flow_root == Path("flow")


@pytest.mark.parametrize("value", [0, 51, 2.5, "10"])
def test_no_whole_number_within_the_limits(value: object) -> None:
    with pytest.raises(UserError, match=f"--exemplars is {value!r}; choose a whole number from 1 to 50"):
        RefineParameters(exemplars=value)
