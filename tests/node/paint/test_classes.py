"""What is read of label_info_json."""

from __future__ import annotations

import pytest

from lwseg_ros.errors import ImageError
from lwseg_ros.node.paint.classes import LabelClasses


def test_colours_and_no_class() -> None:
    classes = LabelClasses.parse('{"classes": [{"id": 3, "color_rgb": [1, 2, 255]}], "ignore_id": null, "level": 0.1}')
    assert classes.rgb[3] == 0x0102FF
    assert classes.rgb.sum() == 0x0102FF
    assert (classes.no_class, classes.has_accepted) == (255, True)
    assert LabelClasses.parse('{"classes": [], "ignore_id": 0}').no_class == 0
    assert not LabelClasses.parse('{"classes": [], "ignore_id": 0}').has_accepted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"classes": [1], "ignore_id": 0}',
        '{"classes": [{"id": 256, "color_rgb": [1, 2, 3]}], "ignore_id": 0}',
        '{"classes": [{"id": -1, "color_rgb": [1, 2, 3]}], "ignore_id": 0}',
        '{"classes": [{"id": 0, "color_rgb": [1, 2]}], "ignore_id": 0}',
        '{"classes": [{"id": 0, "color_rgb": [1, 2, 256]}], "ignore_id": 0}',
        '{"classes": [{"id": 0, "color_rgb": [1, -2, 3]}], "ignore_id": 0}',
        '{"classes": [], "ignore_id": -1}',
        '{"classes": [], "ignore_id": 256}',
        '{"classes": [], "ignore_id": 1e999}',
        "[" * 100_000,
    ],
)
def test_what_it_is_not_is_said(text: str) -> None:
    with pytest.raises(ImageError, match="label_info_json is not what the node segment publishes"):
        LabelClasses.parse(text)
