"""More data for has8-zoo: Caltech and ImageNet by name, sets of the Hub, parquet and WebDataset."""
