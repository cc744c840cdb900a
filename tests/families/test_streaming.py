"""Networks that are given one timestep after another: equal bit for bit to the whole sequence, and forgetful."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import zoo
from zoo.contracts.classifier import ImageClassifier
from zoo.errors import InputError
from zoo.families.over_time import NetworkOverTime

SIZE, T = 16, 5


def untrained(name: str, timesteps: int, **options: Any) -> ImageClassifier:
    encoder, neuron = {"timesteps": timesteps}, {"v_threshold": 0.25, **options}
    return zoo.create_model(name, num_classes=3, in_chans=2, encoder_options=encoder, neuron_options=neuron)


def network(name: str, timesteps: int = T, **options: Any) -> ImageClassifier:
    """A network that spikes, in eval mode: its batch norms know the statistics of such frames."""
    torch.manual_seed(2)
    model = untrained(name, timesteps, **options)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key.endswith(".scale"):
                parameter.fill_(0.5)
        for _ in range(20):
            model(torch.rand(4, *model.input_axes, SIZE, SIZE))
    return model.eval()


def prefix(model: ImageClassifier, name: str, frames: Tensor, **options: Any) -> Tensor:
    """Logits of the first frames, seen all at once by a network with so many timesteps."""
    whole = untrained(name, frames.shape[1], **options).eval()
    whole.load_state_dict(model.state_dict())
    with torch.no_grad():
        return whole(frames if len(whole.input_axes) == 2 else frames[:, 0])


SOFT = {"v_reset": None}
CASES = [
    ("sew_resnetsmall_b4_m2_d2_frames", {}),
    ("sew_resnetsmall_b4_m2_d2_frames", SOFT),
    ("sew_resnetsmall_b4_m2_d2_frames", {**SOFT, "v_init": 0.5, "gradient": "rate"}),
    ("sew_resnetsmall_b4_m2_d2_frames_lif", {"tau": 3.0}),
    ("sew_resnetsmall_b4_m2_d2_frames_lif", SOFT),
    ("sew_resnetsmall_b4_m2_d2_frames_plif", {}),
    ("sew_resnetsmall_b4_m2_d2_frames_plif", {"v_reset": -0.25}),
    ("sew_vgg_b2_m2_d2_frames", {}),
    ("snn_resnetsmall_b4_m2_d2_frames_rate", {}),
    ("snn_resnetsmall_b4_m2_d2_frames_rate_plif", SOFT),
    ("sew_resnet18_frames", {}),
    ("sew_resnet18_direct", {}),
    ("sew_resnetsmall_b4_m2_d2_direct_lif", {}),
]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_logits_so_far_are_those_of_the_whole_sequence_bit_for_bit(name: str, options: dict[str, Any]) -> None:
    model = network(name, **options)
    still = len(model.input_axes) == 1
    frames = torch.rand(3, 1, 2, SIZE, SIZE).expand(3, T, 2, SIZE, SIZE) if still else torch.rand(3, T, 2, SIZE, SIZE)
    seen = []
    with model.streaming() as stream:
        for t in range(T):
            seen.append(stream(frames[:, t]))
            assert torch.equal(seen[-1], prefix(model, name, frames[:, : t + 1], **options)), t
    assert not torch.equal(seen[0], seen[-1])
    with torch.no_grad():
        assert torch.equal(seen[-1], model(frames[:, 0] if still else frames))


@pytest.mark.parametrize(
    "name", ["sew_resnetsmall_b4_m2_d2_frames", "snn_resnetsmall_b4_m2_d2_frames_rate", "sew_resnet18_frames"]
)
def test_answers_after_each_timestep_are_those_of_the_stream(name: str) -> None:
    model = network(name)
    assert isinstance(model, NetworkOverTime)
    frames = torch.rand(3, T, 2, SIZE, SIZE)
    with torch.no_grad():
        answers = model.answers_over_time(frames)
        torch.testing.assert_close(model(frames), answers[-1])
    assert not torch.equal(answers[0], answers[-1])
    with model.streaming() as stream:
        for t in range(T):
            torch.testing.assert_close(stream(frames[:, t]), answers[t])


def test_a_long_sequence_and_a_fused_network_stream_too() -> None:
    model = network("sew_resnetsmall_b4_m2_d2_frames", 40).fuse()
    frames = torch.rand(2, 40, 2, SIZE, SIZE)
    with model.streaming() as stream:
        for frame in frames.unbind(1):
            logits = stream(frame)
    with torch.no_grad():
        assert torch.equal(logits, model(frames))


def test_leaving_forgets_and_streams_do_not_see_each_other() -> None:
    model = network("sew_resnetsmall_b4_m1_d1_frames")
    first, second = torch.rand(2, 1, 2, SIZE, SIZE)
    with model.streaming() as stream:
        alone = stream(first)
        stream(second)
    with pytest.raises(InputError):
        stream(first)
    with model.streaming() as one, model.streaming() as other:
        other(second)
        assert torch.equal(one(first), alone)


def test_streaming_shares_the_weights_and_leaves_the_network_alone() -> None:
    model = network("sew_resnetsmall_b4_m1_d1_frames")
    frames = torch.rand(1, T, 2, SIZE, SIZE)
    before, bias = model(frames), model.get_parameter("head.fc.bias")
    with model.streaming() as stream:
        first = stream(frames[:, 0])
        with torch.no_grad():
            bias.add_(1)
        assert torch.equal(model(frames), model(frames))
    with model.streaming() as stream:
        torch.testing.assert_close(stream(frames[:, 0]), first + 1)
    with torch.no_grad():
        bias.sub_(1)
    torch.testing.assert_close(model(frames), before)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sew_resnetsmall_b2_m1_d1_direct", {**SOFT, "waits": True}),
        ("sew_resnetsmall_b2_m1_d1_phase", {}),
        ("has8_resnet_b2_m1_d1_ste_bpd", {}),
        ("snn_resnet_b2_m1_d1_ste_bpd", {}),
        ("ann_resnet18", {}),
    ],
)
def test_networks_that_need_all_timesteps_say_so(name: str, options: dict[str, Any]) -> None:
    model = zoo.create_model(name, pretrained=False, neuron_options=options or None)
    with pytest.raises(InputError), model.streaming():
        pass


def test_a_frame_of_another_shape_is_refused() -> None:
    model = network("sew_resnetsmall_b4_m1_d1_frames")
    with model.streaming() as stream:
        stream(torch.rand(1, 2, SIZE, SIZE))
        for wrong in (torch.rand(2, 2, SIZE, SIZE), torch.rand(1, T, 2, SIZE, SIZE)):
            with pytest.raises(InputError):
                stream(wrong)
