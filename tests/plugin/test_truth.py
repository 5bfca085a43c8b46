"""Live numbers against a ground truth: every frame at first, then what changes."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import OBJECT, make_rough_masks, make_truth

from napari_appearrefine.evaluation.measures import frame_measures
from napari_appearrefine.plugin.truth_controller import TruthController


@pytest.fixture
def truth_layer(model_viewer):
    return model_viewer.add_labels(make_truth(), name="truth", visible=False)


@pytest.fixture
def truth(review, small_jobs):
    return TruthController(review, small_jobs.start)


def curves(review):
    return {curve.title: curve.values for curve in review.rows()[0].measures}


def test_measures_of_every_frame_are_on_the_timeline(review, truth, truth_layer, small_jobs):
    means = []
    truth.measured.connect(lambda region, contour: means.append((region, contour)))
    truth.choose(truth_layer)
    small_jobs.run()
    pairs = zip(make_truth(), make_rough_masks(), strict=True)
    measures = [frame_measures(true, [OBJECT], rough, [OBJECT]) for true, rough in pairs]
    region, contour = np.reshape(measures, (-1, 2)).T
    np.testing.assert_allclose(curves(review)["J"], region)
    np.testing.assert_allclose(curves(review)["F"], contour)
    np.testing.assert_allclose(means[-1], (np.mean(region), np.mean(contour)))


def test_stroke_changes_the_number_of_its_frame_alone(model_viewer, review, truth, truth_layer, small_jobs):
    truth.choose(truth_layer)
    small_jobs.run()
    before = curves(review)["J"]
    layer = model_viewer.layers["rough"]
    layer.data_setitem(tuple(np.mgrid[2:3, 8:24, 12:28].reshape(3, -1)), OBJECT)
    (job,) = small_jobs.waiting
    small_jobs.run()
    assert job.closed
    after = curves(review)["J"]
    assert (before[2], after[2]) == (0, 1)
    np.testing.assert_array_equal(np.delete(after, 2), np.delete(before, 2))


def test_ids_need_not_be_those_of_the_truth(model_viewer, review, truth, small_jobs):
    other_ids = np.where(make_truth() == OBJECT, 9, 0).astype(np.uint8)
    other_ids[:, -4:] = OBJECT
    truth.choose(model_viewer.add_labels(other_ids, name="truth"))
    small_jobs.run()
    assert truth.partners == {OBJECT: 9}
    assert curves(review)["J"][0] == 1


def test_what_overlaps_nothing_true_counts_as_wrong(model_viewer, review, truth, small_jobs):
    means = []
    truth.measured.connect(lambda region, contour: means.append((region, contour)))
    truth.choose(model_viewer.add_labels(np.zeros_like(make_truth()), name="truth"))
    small_jobs.run()
    assert truth.partners == {}
    present = make_rough_masks().any((1, 2))
    np.testing.assert_array_equal(curves(review)["J"], np.where(present, 0, 1))
    assert means[-1][0] == np.mean(~present)


def test_no_truth_or_one_of_another_size_shows_no_numbers(model_viewer, review, truth, truth_layer, small_jobs):
    truth.choose(truth_layer)
    small_jobs.run()
    truth.choose(None)
    assert curves(review) == {}
    truth.choose(model_viewer.add_labels(make_truth()[:4], name="short"))
    assert not small_jobs.waiting
    assert curves(review) == {}
