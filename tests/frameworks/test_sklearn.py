"""scikit-learn: a PCA behind a scaler through skl2onnx. Its way back has no converter, and is one product."""

import numpy as np
import onnx
import pytest
from frameworks.conftest import export_without_torch
from onnx import helper, numpy_helper
from skl2onnx import to_onnx
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def way_back(pipeline) -> onnx.ModelProto:
    """latents [N, C] -> items [N, D]: `inverse_transform` of a scaler and a PCA as a Gemm."""
    scaler, pca = (pipeline[name] for name in ("standardscaler", "pca"))
    weights = {"components": pca.components_ * scaler.scale_, "mean": pca.mean_ * scaler.scale_ + scaler.mean_}
    ends = [("latents", pca.n_components_), ("items", pca.n_features_in_)]
    infos = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", width]) for name, width in ends]
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["latents", "components", "mean"], ["items"])],
        "inverse_transform",
        infos[:1],
        infos[1:],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


@pytest.mark.slow
def test_a_pca_of_scikit_learn_becomes_a_codec_without_torch(digits, tmp_path):
    items = digits[:, (digits.std(0) > 0.5)].astype(np.float32)
    pipeline = make_pipeline(StandardScaler(), PCA(12)).fit(items[:-200])
    (tmp_path / "encoder.onnx").write_bytes(to_onnx(pipeline, items[:1]).SerializeToString())
    onnx.save(way_back(pipeline), tmp_path / "decoder.onnx")
    assert "Scaler" in {node.op_type for node in onnx.load(tmp_path / "encoder.onnx").graph.node}
    found = export_without_torch(tmp_path / "encoder.onnx", tmp_path / "decoder.onnx", items, tmp_path, verify=True)
    held = items[-100:]
    own = np.square(held - pipeline.inverse_transform(pipeline.transform(held))).mean()
    assert np.square(held - found.restored["fp32"]).mean() <= 1.01 * own, "scikit-learn's own way back is the measure"
    assert np.square(held - found.restored["int8"]).mean() <= 1.05 * own
    assert found.sizes["255"] < 100 * 12 * 4
