"""Records of pretrained models: their schema, the files that hold them, questions to them, their controls."""
