"""The form that is made from a dataclass of settings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from napari_appearrefine.core.parameters import FlowMaskParameters, RefineParameters
from napari_appearrefine.plugin.widgets.parameters_form import ParametersForm


def test_form_is_made_from_the_parameters(qtbot):
    form = ParametersForm(RefineParameters())
    qtbot.addWidget(form)
    assert form.parameters() == RefineParameters()
    assert form.input("exemplars").max == 50
    assert "well-segmented frames" in form.input("exemplars").native.toolTip()
    assert not form.input("dino8").native.isVisibleTo(form)
    form.input("model").value = "published"
    assert form.input("dino8").native.isVisibleTo(form)
    form.input("dino8").value = "weights.pth"
    form.input("exemplars").value = 3
    parameters = form.parameters()
    assert (parameters.model, parameters.exemplars, parameters.dino8.name) == ("published", 3, "weights.pth")
    told = []
    form.changed.connect(lambda: told.append(form.parameters().model))
    form.input("model").value = "builtin"
    assert told == ["builtin"]
    assert form.parameters().dino8 is None


def test_other_settings_can_be_shown(qtbot):
    form = ParametersForm(RefineParameters(cache=False))
    qtbot.addWidget(form)
    wanted = RefineParameters(model="published", exemplars=3, dino8=Path("/weights.pth"), memory_limit=99)
    assert RefineParameters.from_json(json.loads(json.dumps(wanted.to_json()))) == wanted
    form.show_parameters(wanted)
    assert form.parameters() == replace(wanted, cache=False, memory_limit=None)


def test_fields_shown_elsewhere_are_given(qtbot):
    form = ParametersForm(FlowMaskParameters(), left_out=frozenset({"objects", "device"}))
    qtbot.addWidget(form)
    form.input("flow_root").value = "/flows"
    assert form.parameters(objects=2, device="cpu") == FlowMaskParameters(
        objects=2, device="cpu", flow_root=Path("/flows")
    )
