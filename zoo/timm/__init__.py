"""The zoo's models inside timm.

    import timm
    import zoo.timm

    model = timm.create_model("has8_resnet_b8_m2_d4_ste_bpd", pretrained=True, num_classes=5, in_chans=1)

Importing this module gives timm an entry point for every name of the catalog, so that `timm.create_model`,
`timm.list_models("has8_*")`, `features_only=True`, timm's data and training tools, and `hf-hub:` and `local-dir:` work.
A name that timm has already is never replaced. Weights are read by the zoo's own loader: verified before they are
parsed, safetensors only, and bit for bit what `zoo.create_model` loads.

Any other composed name becomes timm's by `register_models`.
"""

from __future__ import annotations

from zoo.timm.models import register_catalog, register_models

__all__ = ["register_models"]

register_catalog()
