"""torch.hub: `torch.hub.load("OWNER/has8-zoo", "create_model", "has8_resnet_b8_m2_d4_ste_bpd.cifar10")`."""

from zoo import create_model, list_models

__all__ = ["create_model", "list_models"]

dependencies = ["torch", "torchvision", "spikingjelly", "safetensors", "huggingface_hub", "pydantic", "yaml"]
