"""Files of strangers: read whole or refused by a sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from lwseg_training.adoption import foreign_file
from lwseg_training.adoption.foreign_file import read_foreign
from onnx import helper, numpy_helper
from support.foreign_graphs import Form, color_network

from lwseg_ros.errors import ModelFileError


def write_with_external_weights(path: Path) -> onnx.ModelProto:
    model = color_network(Form())
    options = {"location": "net.weights", "size_threshold": 0}
    onnx.save_model(model, path, save_as_external_data=True, **options)
    return color_network(Form())


def test_weights_in_a_file_beside_it_are_read(tmp_path: Path) -> None:
    expected = write_with_external_weights(tmp_path / "net.onnx")
    assert (tmp_path / "net.weights").stat().st_size > 0
    read = read_foreign(tmp_path / "net.onnx")
    assert len(read.graph.initializer) == 2
    for got, tensor in zip(read.graph.initializer, expected.graph.initializer, strict=True):
        np.testing.assert_array_equal(numpy_helper.to_array(got), numpy_helper.to_array(tensor))


@pytest.mark.parametrize("location", ["missing.weights", "../net.weights", "/etc/hostname"])
def test_weights_elsewhere_are_not(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    write_with_external_weights(folder / "net.onnx")
    (folder / "net.weights").rename(tmp_path / "net.weights")
    model = onnx.load(folder / "net.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(
        ModelFileError, match=r"its weights '(weights|bias)' cannot be read from the file that it names"
    ):
        read_foreign(folder / "net.onnx")


def test_the_size_is_bounded_with_the_weights_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_with_external_weights(tmp_path / "net.onnx")
    size = (tmp_path / "net.onnx").stat().st_size
    monkeypatch.setattr(foreign_file, "MAX_FILE_BYTES", size + 70)  # 80 bytes of weights
    with pytest.raises(ModelFileError, match=f"it has {size + 80} bytes with its weights, at most {size + 70} are"):
        read_foreign(tmp_path / "net.onnx")
    with (tmp_path / "huge.onnx").open("wb") as file:
        file.truncate(3 << 30)
    with pytest.raises(ModelFileError, match="it has 3221225472 bytes with its weights"):
        read_foreign(tmp_path / "huge.onnx")


def test_what_is_no_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    with pytest.raises(ModelFileError, match=r"net.onnx cannot be read: No such file"):
        read_foreign(path)
    path.write_bytes(b"not an ONNX file at all")
    with pytest.raises(ModelFileError, match="it is not an ONNX file"):
        read_foreign(path)
    model = color_network(Form())
    model.ir_version = onnx.IR_VERSION + 1
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match=f"IR version {onnx.IR_VERSION + 1}.*pip install --upgrade onnx"):
        read_foreign(path)
    model = color_network(Form())
    model.functions.append(helper.make_function("own", "F", ["x"], ["x"], [], [helper.make_opsetid("", 17)]))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match=r"made of functions, .* onnx.inliner.inline_local_functions"):
        read_foreign(path)
    model = color_network(Form())
    model.graph.node[1].input[0] = "nowhere"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match="its graph is not valid ONNX") as caught:
        read_foreign(path)
    assert "lwseg export" not in str(caught.value)
