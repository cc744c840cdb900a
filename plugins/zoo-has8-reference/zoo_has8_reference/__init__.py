"""The published HAS-8 code's arithmetic as components of has8-zoo, and a converter of its checkpoints."""
