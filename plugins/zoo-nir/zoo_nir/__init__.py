"""Networks of the zoo, and their spiking blocks, as NIR graphs; `zoo export --format nir` writes them."""

from zoo_nir.folder import ExportedBlock, ExportedBlocks, check_nir_target, export_nir, print_exported, read_block

__all__ = ["ExportedBlock", "ExportedBlocks", "check_nir_target", "export_nir", "print_exported", "read_block"]
