"""Export: a network of a run as a folder of files that run, each checked before it is kept."""

from nas.export.formats import FORMATS as FORMATS
from nas.export.shipping import ExportReport as ExportReport
from nas.export.shipping import export as export
