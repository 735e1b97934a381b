"""The colours of classes that come without."""

from __future__ import annotations

from lwseg_ros.classes import generated_colors


def test_generated_colors_are_those_of_pascal_voc() -> None:
    """Aeroplane, bicycle, bird, boat, and class 20, the television."""
    colors = generated_colors(20)
    assert colors[:4] == [(128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128)]
    assert colors[19] == (0, 64, 128)
    assert generated_colors(1, first=0) == [(0, 0, 0)]
    assert len(set(generated_colors(255))) == 255
