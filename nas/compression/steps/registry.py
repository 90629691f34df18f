"""Registry of steps: a new one is one file with a frozen record, and one row here."""

from nas.compression.steps.archive import ArchiveFile
from nas.compression.steps.distill import Distill
from nas.compression.steps.export import ExportFiles
from nas.compression.steps.factorise import Factorise
from nas.compression.steps.finetune import Finetune
from nas.compression.steps.narrow import Narrow
from nas.compression.steps.prune import Prune
from nas.compression.steps.prune_weights import PruneWeights
from nas.compression.steps.quantize import Quantization
from nas.compression.steps.share import Share
from nas.compression.steps.sparse_train import SparseTrain
from nas.compression.steps.train import Train
from nas.compression.workbench import CompressionStep

STEPS: dict[str, type[CompressionStep]] = {
    row.name: row
    for row in (
        Train,
        SparseTrain,
        Prune,
        PruneWeights,
        Factorise,
        Narrow,
        Finetune,
        Distill,
        Share,
        Quantization,
        ArchiveFile,
        ExportFiles,
    )
}
# Steps that write files of the last network that kept its accuracy, and make none.
WRITERS = frozenset({ArchiveFile.name, ExportFiles.name})
