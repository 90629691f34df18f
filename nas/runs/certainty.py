"""Certainty: how sure the accuracies of a run are, and which say nothing, by its files."""

from collections import Counter
from collections.abc import Mapping, Sequence

from nas.problem.answers import ScoreInterval, wilson
from nas.problem.formatting import percent
from nas.problem.metrics import Metric
from nas.runs.evaluation import Evaluation
from nas.runs.files import read_json
from nas.runs.folder import RunFolder


def class_names(run: RunFolder) -> tuple[str, ...]:
    """Returns the names of the run's classes; () where it recorded none.

    Raises:
        UserError: If its record of the data is damaged.
    """
    try:
        kinds = {"class_names": tuple[str, ...]}
        names: tuple[str, ...] = read_json(run.data_file, kinds=kinds).get("class_names", ())
        return names
    except FileNotFoundError:
        return ()


def num_images(run: RunFolder, split: str) -> int | None:
    """Returns how many images a split of the run has; None where it did not record that.

    Raises:
        UserError: If its record of the data is damaged.
    """
    try:
        kinds = {"sizes": Mapping[str, int]}
        return read_json(run.data_file, kinds=kinds).get("sizes", {}).get(split)
    except FileNotFoundError:
        return None


def interval_of(
    evaluation: Evaluation, metric: Metric, num_validation: int | None
) -> ScoreInterval | None:
    """Returns the interval of a score on the validation images; None where there is none.

    Args:
        num_validation: Images, for evaluations of a hwnas that kept no answers.
    """
    if not metric.is_quality or metric.name not in evaluation.values:
        return None
    if evaluation.confusion is not None:
        return evaluation.confusion.interval(metric)
    if metric.name != "accuracy" or not num_validation:
        return None
    return wilson(evaluation.values["accuracy"], num_validation)


def one_answer(evaluations: Sequence[Evaluation], names: Sequence[str]) -> str:
    """Returns a warning about networks that answer every image alike; "" where none does.

    Their accuracy is the share of that class, and tells nothing of the others.

    Args:
        evaluations: Of the networks of a front.
        names: Of the classes; numbers stand for them where they are not known.
    """
    known = [each.confusion for each in evaluations if each.confusion is not None]
    constant = [each for each in known if each.only_answer is not None]
    if not constant:
        return ""
    answers = Counter(each.only_answer for each in constant)
    shares = {each.only_answer: each.accuracy for each in constant}
    said = " and ".join(
        f"{(names[answer] if answer < len(names) else str(answer))!r} "
        f"(accuracy {percent(shares[answer])}, the share of that class)"
        for answer in answers
        if answer is not None
    )
    some = "every network" if len(constant) == len(evaluations) else f"{len(constant)} networks"
    verb = "answer" if some.endswith("networks") else "answers"
    return (
        f"{some} of the front {verb} every validation image with {said}; take balanced_accuracy "
        "as an objective and set training.class_weights to balanced"
    )
