"""Turn a trained re-parameterizable network into a device artefact that is proven to agree with it.

The verbs are loaded on first use, so that `import edgerep` costs nothing:

    model = edgerep.load("RepVGG-A0-train.pth")
    fused = edgerep.fuse(model)
    graph = edgerep.export_onnx(fused, "a0.onnx", precision="fp16", batch=(1, 8, 32))
    engine = edgerep.build_engine(graph, "a0.engine")
    package = edgerep.export_coreml(graph, "a0.mlpackage")
    report = edgerep.verify(model, [graph, engine, package])
    result = edgerep.run_bench([model, fused, graph], batch=[1, 8])
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgerep.bench.parity.verification import verify
    from edgerep.bench.timing.harness import run_bench
    from edgerep.checkpoints.loading import load
    from edgerep.data.samples import read_images
    from edgerep.errors import EdgerepError
    from edgerep.export.coreml.conversion import export_coreml
    from edgerep.export.engine.building import build_engine
    from edgerep.export.from_torch.onnx_export import export_onnx
    from edgerep.fusion.fused import Fused, fuse

__version__ = "0.1.0"

__all__ = [
    "EdgerepError",
    "Fused",
    "__version__",
    "build_engine",
    "export_coreml",
    "export_onnx",
    "fuse",
    "load",
    "read_images",
    "run_bench",
    "verify",
]

_HOME = {
    "EdgerepError": "edgerep.errors",
    "Fused": "edgerep.fusion.fused",
    "build_engine": "edgerep.export.engine.building",
    "export_coreml": "edgerep.export.coreml.conversion",
    "export_onnx": "edgerep.export.from_torch.onnx_export",
    "fuse": "edgerep.fusion.fused",
    "load": "edgerep.checkpoints.loading",
    "read_images": "edgerep.data.samples",
    "run_bench": "edgerep.bench.timing.harness",
    "verify": "edgerep.bench.parity.verification",
}


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'edgerep' has no attribute {name!r}")
