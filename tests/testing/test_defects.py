"""Defects planted in copies of zoo-gray: its tests on the kit fail, with a message that says what is wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.testing.defective import IMPORT, failures, plant, results, suites_of
from zoo.testing import Outcome, run_check


class Defect(NamedTuple):
    """A substitution in the source, one check that must fail, and what its message must say."""

    old: str
    new: str
    check: str
    said: str


ENCODED = "return cast(Tensor, _GrayPlanes.apply(unit_range(x), x.dtype))"
DECODED = "return gray_decode(spikes)"
BACKWARD = "return 255 * (grads[0].to(x.dtype) * slopes).sum(0) / slopes.square().sum(0), None"

DEFECTS = {
    "order": Defect(
        ENCODED,
        ENCODED.replace("x.dtype))", "x.dtype)).flip(0)"),
        "encoder planes_equal_the_reference",
        r"planes 0, .* differ from the reference, first for x = .*look at the order of the planes",
    ),
    "decoded_order": Defect(
        DECODED,
        "return gray_decode(spikes.flip(0))",
        "encoder round_trip",
        r"decoding by 'gray' after encoding loses \d+ of 256 levels .* order the planes alike\?",
    ),
    "values": Defect(
        ENCODED,
        ENCODED.replace("x.dtype))", "x.dtype)) * 2"),
        "encoder planes_hold_zeros_and_ones",
        r"gives planes with 2.0 for .*spikes are 0 or 1",
    ),
    "timesteps": Defect(
        "return TIMESTEPS\n",
        "return TIMESTEPS - 1\n",
        "encoder planes_have_the_declared_shape",
        r"`forward` gives \(8, 3, 5\) for an input of \(3, 5\), but `timesteps` says T = 7",
    ),
    "gradient_shape": Defect(
        BACKWARD,
        BACKWARD.replace("return 255", "return (255").replace(", None", ").sum(-1), None"),
        "encoder gradient",
        r"`backward` with an input of shape \(3, 5\) raises RuntimeError: .*invalid gradient",
    ),
    "gradient_nan": Defect(
        BACKWARD,
        BACKWARD.replace("slopes.square().sum(0)", "(x - x)"),
        "encoder gradient",
        r"the gradient of .* has \d+ of 15 values that are NaN or infinite; look for a division by zero",
    ),
    "gradient_zero": Defect(
        BACKWARD,
        "return torch.zeros_like(x), None",
        "encoder gradient",
        r"the gradient of .* is zero everywhere, so nothing below learns",
    ),
    "gradient_none": Defect(
        ENCODED,
        "return gray_planes(unit_range(x), x.dtype)",
        "encoder gradient",
        r"no gradient comes back .*torch.autograd.Function with a surrogate gradient",
    ),
    "gradient_scale": Defect(
        BACKWARD,
        BACKWARD.replace("255 *", "256 *"),
        "encoder gradient_equals_the_reference",
        r"not that of `reference_gradient`: .* apart",
    ),
    "batch_range": Defect(
        ENCODED,
        "x = (x - x.min()) / (x.max() - x.min() + 1e-9) if x.numel() else x\n        " + ENCODED,
        "encoder batch_mates_change_nothing",
        r"a sample's answer changes with the other samples of its batch.*x.flatten\(1\).amin\(1\)",
    ),
    "dtype": Defect(
        ENCODED,
        ENCODED.replace("x.dtype))", "torch.float32))"),
        "encoder other_number_types",
        r"`forward` gives torch.float32 for torch.float64; return the input's own type",
    ),
    "seed": Defect(
        "TIMESTEPS = 8",
        "torch.manual_seed(0)\nTIMESTEPS = 8",
        f"encoder {IMPORT}",
        r"importing gray_seed changes torch's random generator; move that into a function",
    ),
    "print": Defect(
        "TIMESTEPS = 8",
        "print('zoo-gray loaded')\ntorch.set_default_dtype(torch.float64)\nTIMESTEPS = 8",
        f"decoder {IMPORT}",
        r"importing gray_print changes torch's default dtype; it prints 'zoo-gray loaded'",
    ),
    "settings": Defect(
        "TIMESTEPS = 8",
        "import logging\nimport sys\nimport warnings\nimport numpy\n"
        "torch.backends.cudnn.deterministic = True\ntorch.backends.mkldnn.enabled = False\n"
        "numpy.seterr(all='ignore')\nlogging.disable(logging.INFO)\nwarnings.simplefilter('ignore')\n"
        "sys.excepthook = print\nTIMESTEPS = 8",
        f"encoder {IMPORT}",
        r"changes torch.backends.cudnn.deterministic; it changes torch.backends.mkldnn.enabled; it changes numpy's "
        r"handling of floating-point errors \(numpy.seterr\); it changes what is logged at all \(logging.disable\); "
        r"it changes filters of all warnings \(warnings.simplefilter\); it changes sys.excepthook; move",
    ),
    "farewell": Defect(
        "TIMESTEPS = 8",
        "import atexit\natexit.register(print, 'goodbye')\nTIMESTEPS = 8",
        f"encoder {IMPORT}",
        r"importing gray_farewell leaves something behind that prints 'goodbye' later.*\(atexit\); move that",
    ),
    "state": Defect(
        ENCODED,
        "self.last = x.detach()\n        " + ENCODED,
        "encoder a_forward_leaves_no_state",
        r"a forward leaves the tensor `last` of shape \(3, 2, 4, 4\) behind",
    ),
    "running_range": Defect(
        ENCODED,
        "self.most = max(vars(self).get('most', 1.0), x.abs().max().item())\n        x = x / self.most\n        "
        + ENCODED,
        "encoder equal_inputs_give_equal_answers",
        r"the same input gives another answer the second time",
    ),
    "shared": Defect(
        "    codes = frozenset({CODE})",
        "    weights = torch.ones(8)\n    codes = frozenset({CODE})",
        "decoder instances_share_nothing",
        r"GrayDecoder.weights is a Tensor of the class, which all instances share",
    ),
    "in_place": Defect(
        ENCODED,
        "x = x.clamp_(0, 1) if not x.requires_grad else x.clamp(0, 1)\n        " + ENCODED,
        "encoder the_input_is_left_unchanged",
        r"changes its input in place; work on a copy",
    ),
    "random": Defect(
        ENCODED,
        ENCODED.replace("unit_range(x)", "unit_range(x + torch.rand_like(x) / 255)"),
        "encoder equal_inputs_give_equal_answers",
        r"draw no random numbers in eval mode",
    ),
    "unrepeatable": Defect(
        "    repeatable = True\n",
        "    repeatable = True\n\n"
        "    def __call__(self, x):\n"
        "        return super().__call__(x + torch.rand_like(x) / 255 * self.training)\n",
        "encoder repeatable_planes_repeat_in_training_mode",
        r"`repeatable` is True, but .* give other planes the second time, in training mode",
    ),
    "lambda": Defect(
        "    @property\n    def timesteps",
        "    def __init__(self) -> None:\n        super().__init__()\n        self.scale = lambda x: x\n\n"
        "    @property\n    def timesteps",
        "encoder pickling_gives_the_same_module",
        r"pickling \(no lambdas .* raises",
    ),
    "unsaved": Defect(
        "    def forward(self, spikes: Tensor) -> Tensor:\n",
        "    def __init__(self) -> None:\n        super().__init__()\n        self.gain = float(torch.rand(()))\n\n"
        "    def forward(self, spikes: Tensor) -> Tensor:\n        spikes = spikes * self.gain\n",
        "decoder the_state_dict_holds_everything",
        r"neither a parameter nor a buffer \(register_buffer\)",
    ),
    "device": Defect(
        "dtype=planes.dtype, device=planes.device)",
        "dtype=planes.dtype, device='cpu')",
        "encoder gradient_on_the_meta_device",
        r"`backward` on the meta device .*without device=x.device.* raises",
    ),
    "value_branch": Defect(
        DECODED,
        "return gray_decode(spikes) if spikes.sum() > 0 else spikes[0] * 0",
        "decoder meta_device",
        r"does `forward` look at values",
    ),
    "code": Defect(
        "codes = frozenset({CODE})",
        "codes = frozenset({'gray-msb-first'})",
        "decoder it_reads_its_encoder",
        r"`check` of the encoder 'gray' raises CompositionError: .* reads the code gray-msb-first",
    ),
    "any_steps": Defect(
        "    codes = frozenset({CODE})\n    timesteps = TIMESTEPS",
        "    codes = frozenset({CODE})\n    timesteps = None",
        "decoder answers_have_the_shape_of_a_plane",
        r"`forward` with spikes of \(\d, 3, 5\) \(if it cannot take any T, declare `timesteps`\) raises",
    ),
    "api_version": Defect(
        "api_version = 1  # of",
        "api_version = 2  # of",
        "encoder it_loads",
        r"asks for API version 2, this zoo offers 1; set `api_version = 1` in the class",
    ),
    "no_reason": Defect(
        'reason="rounds; a digit is a gate of two binary ones"',
        'reason=""',
        "encoder declarations",
        r"lacks its `operation` or its `reason`; both are printed by `zoo profile`",
    ),
    "a_price_of_minus_one": Defect(
        "read=Work(macs=2, acs=2)",
        "read=Work(macs=2, acs=-1)",
        "decoder declarations",
        r"the price 'Gray-code decoder' has `read` Work\(macs=2, acs=-1\); make it a Work of whole numbers from 0",
    ),
    "no_tuple": Defect(
        "    prices = (\n        Price(\n",
        "    prices = 1 or (\n        Price(\n",
        "decoder declarations",
        r"`prices` is 1; declare a tuple of zoo.contracts.Price, or leave it out",
    ),
    "no_code": Defect(
        "    code = CODE\n",
        "",
        "encoder it_loads",
        r"GrayEncoder lacks the class attributes code",
    ),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.slow
def test_without_a_defect_everything_passes_and_nothing_is_skipped(folder: Path) -> None:
    found = results(plant(folder, "intact", "TIMESTEPS = 8", "TIMESTEPS = 8"), imports=True)
    assert failures(found) == {}
    assert [r for r in found if r.outcome is Outcome.SKIPPED] == []
    assert len(found) > 50


IMPORTED = {"print", "settings", "farewell"}
"""Seconds each, for a process imports them; `seed`, another one, is found in every run."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in IMPORTED else name for name in DEFECTS]
)
def test_a_defect_is_found_and_named(folder: Path, name: str) -> None:
    defect = DEFECTS[name]
    package = plant(folder, name, defect.old, defect.new)
    kind, _, check = defect.check.partition(" ")
    (suite,) = (each for each in suites_of(package) if each.kind == kind)
    result = run_check(suite, check)
    assert result.outcome is Outcome.FAILED
    assert re.search(defect.said, result.message), result.message
