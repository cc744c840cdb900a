"""The encoders', neurons' and decoders' arithmetic compiled for the CPU; `serves` says when it stands in for them."""
