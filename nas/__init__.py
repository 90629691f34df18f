"""Search for the best: data, training, evaluation, studies, export, report, command line."""

from typing import TYPE_CHECKING

from search_spaces.front_door import front_door

if TYPE_CHECKING:
    from nas.export.retrain import retrain as retrain
    from nas.export.write import export_network as export_network
    from nas.models.given.reading import read_model as read_model
    from nas.models.importing.flow import import_model as import_model
    from nas.models.importing.torch_module import import_torch as import_torch
    from nas.nn.interpreter import Interpreter as Interpreter
    from nas.problem.run_file import read_run_file as read_run_file
    from nas.problem.search_problem import load_setting as load_setting
    from nas.report.page import write_report as write_report
    from nas.search.run import run_search as run_search
    from nas.study.results import load_results as load_results
    from nas.training.loop import train as train

# The front door: each name, and the module that it is imported from when it is first asked for.
HOMES = {
    "Interpreter": "nas.nn.interpreter",
    "export_network": "nas.export.write",
    "import_model": "nas.models.importing.flow",
    "import_torch": "nas.models.importing.torch_module",
    "load_results": "nas.study.results",
    "load_setting": "nas.problem.search_problem",
    "read_model": "nas.models.given.reading",
    "read_run_file": "nas.problem.run_file",
    "retrain": "nas.export.retrain",
    "run_search": "nas.search.run",
    "train": "nas.training.loop",
    "write_report": "nas.report.page",
}
__all__ = list(HOMES)
__getattr__, __dir__ = front_door(__name__, HOMES)
