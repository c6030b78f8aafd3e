"""timm's networks, its own code: as few layers as its converter leaves, and no less exact.

Runs where timm is installed (`pip install --no-deps timm pillow`); torchvision is not needed.
`networks/timm_survey.py` does the same for the smallest network of every family.
"""

from __future__ import annotations

import pytest

from zoo.timm_networks import import_timm

try:
    import_timm()
except ImportError as error:
    pytest.skip(f"timm cannot be imported: {error}", allow_module_level=True)

from zoo.timm_survey import survey

# A run's rounding is an accident of its numbers: of two equally exact networks, either may win.
_AS_EXACT = 1.3

CONVERTED = ("repvgg_a0", "repvgg_b1g4", "mobileone_s0", "mobileone_s1", "repvit_m0_9",
             "fastvit_t8", "repghostnet_050")  # fmt: skip
OTHERS = ("resnet18", "densenet121", "mobilenetv3_small_050", "regnety_002", "csatv2", "davit_tiny",
          "lcnet_035")  # fmt: skip


@pytest.mark.parametrize("name", CONVERTED)
def test_a_network_that_timm_converts_is_fused_as_far_and_as_exactly(name: str) -> None:
    found = survey(name)
    assert found["float64"] < 1e-12
    assert found["convolutions"][1] <= found["timm"]["convolutions"]
    assert found["batchnorms"][1] <= found["timm"]["batchnorms"]
    assert found["float32_fused"] <= _AS_EXACT * found["timm"]["float32"]


@pytest.mark.parametrize("name", OTHERS)
def test_a_network_that_timm_does_not_convert_stays_itself(name: str) -> None:
    found = survey(name)
    assert found["float64"] < 1e-12
    assert found["convolutions"][1] <= found["convolutions"][0]
    assert found["float32_fused"] <= 2 * found["float32_unfused"]
