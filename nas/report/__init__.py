"""Report: what a run found, as one self-contained page and as one picture."""

from nas.report.page import write_report as write_report
from nas.report.picture import save_front_picture as save_front_picture
