"""Which models timm's own test file is run on, and which of its tests are left out, with the reason: the one place."""

from __future__ import annotations

SMALL = (
    "has8_resnet_b8_m2_d4_ste_bpd",
    "has8_vgg_b4_m2_d4_fourier_bpd",
    "has8_resnet50_b1_m2_d4_ste_rate",
    "has8_resnetsmall_b8_m2_d4_ste_bpd",
    "has8_resnetfull_b4_m2_d4_ste_bpd",
    "has8_vgg_b1_m2_d2_sigmoid_bpd_lif",
    "has8_vgg_b1_m2_d2_tanh_rate_plif",
    "has8_vgg_b1_m2_d2_sigmoidraw_bpd",
    "has8_vgg_b1_m2_d2_tanhraw_bpd",
    "has8_vgg_b1_m2_d2_fourierraw_bpd",
    "snn_vgg_b1_m2_d2_ste_bpd",
    "ann_vgg_b1_m2_d2",
    "timm_test_resnet",
)
"""Every decoder, neuron, bit-plane encoder and backbone shape, and families with a small network.

The first has published weights."""

LARGE = (
    "has8_resnet_b32_m2_d4_fourier_bpd",
    "has8_vgg_b16_m2_d4_fourier_bpd",
    "has8_resnet50_b16_m2_d4_ste_bpd",
    "has8_resnet34_b8_m2_d4_fourier_bpd",
    "has8_resnet101_b4_m2_d4_ste_bpd",
    "has8_resnet152_b2_m2_d4_ste_bpd",
    "sew_resnet18_direct",
    "sew_resnet18_phase",
    "sew_resnet18_rate_lif",
    "sew_resnet18_ttfs_plif",
    "ann_resnet18",
)
"""The paper's sizes, the deep backbones, and the baselines with the other encoders."""

EVERY_MODEL = (
    "test_model_forward",
    "test_model_backward",
    "test_model_default_cfgs",
    "test_model_forward_features",
    "test_model_forward_intermediates_features",
    "test_model_forward_intermediates",
    "test_prune_intermediate_layers_contract",
    "test_model_forward_fx",
    "test_model_backward_fx",
)
"""Tests that must have run on every model, so that none can vanish unnoticed."""

WITH_WEIGHTS = ("test_model_load_pretrained", "test_model_features_pretrained")
"""Tests that must have run on every model with published weights."""

LEFT_OUT = {
    "test_model_forward_torchscript": "TorchScript is deprecated in torch, and the networks have no scripted form",
    "test_model_forward_fx_torchscript": "TorchScript is deprecated in torch, and the networks have no scripted form",
}
"""Tests that timm would run on our models too."""

NOT_OURS = "written for architectures of timm's own, which it names, or for a group of names that none of ours is in"
"""All others that are left out: those that would not run on a model of ours anyway."""
