"""Run: the steps of a recipe one after the other, each kept before the next begins."""

import shutil
from dataclasses import replace
from time import perf_counter

from nas.compression.running.begin import begin_or_check, check_folder
from nas.compression.running.bench import RunBench
from nas.compression.running.compression import Compression
from nas.compression.running.folder import BEGUN, CompressionFolder
from nas.compression.running.recipe import RecipeFile, RecipeStep
from nas.compression.running.records import StepRecord, layer_changes
from nas.compression.running.rehearsal import PlannedStep, rehearse
from nas.compression.running.start import Start
from nas.compression.running.summary import write_summary
from nas.compression.running.watch import CompressionWatch, TimeLeft
from nas.compression.running.worth import standing_of, time_again
from nas.compression.steps.registry import WRITERS
from nas.compression.stop import unknown
from nas.export.formats import Measurers
from nas.models.folder import write_model
from nas.problem.formatting import percent
from nas.runs.files import remove_parts
from nas.runs.lock import lock_folder

OTHERWISE = "wait for it, stop it, or choose another folder with --to"


def compress(
    start: Start,
    file: RecipeFile,
    folder: CompressionFolder,
    *,
    resume: bool = False,
    measure: bool = True,
    watch: CompressionWatch | None = None,
) -> tuple[StepRecord, ...]:
    """Runs a recipe, or goes on with it, and returns what is known after each step.

    Resumed, it comes to the same networks as if it had never been stopped.

    Args:
        measure: Whether to time networks on the device.

    Raises:
        UserError: If a step cannot apply, the folder holds another compression, or this one and
            what was given now differ.
    """
    watch, recipe = watch or CompressionWatch(), file.recipe()
    check_folder(folder, resume)
    with lock_folder(folder.path, OTHERWISE), Measurers(recipe.latency) as measurers:
        remove_parts(folder.path)
        begin_or_check(start, file, folder)
        bench = RunBench(
            start,
            recipe,
            folder,
            watch,
            TimeLeft({}),
            measurers if measure else None,
            lambda: run.model_of(run.original),
        )
        run = Compression(start, file, folder, watch, bench, [], start.stored.model)
        take_up(run)
        done = len(run.records) - 1 if run.records else 0
        plan = rehearse(start, recipe, run.current, done)
        bench.time_left = TimeLeft({each.step.number: list(each.trainings) for each in plan})
        go_through(run, plan)
        finish(run)
    return tuple(run.records)


def take_up(run: Compression) -> None:
    """Reads what is over already; of a new compression, finds out what the network is worth."""
    record = run.folder.load_record(0, BEGUN)
    if record is None:
        summary = f"{run.start.stored.name} as given"
        standing = standing_of(run, run.start.stored.model)
        is_kept = True if run.start.is_trained else None
        record = StepRecord(0, BEGUN, {}, summary, "", standing, 0.0, is_kept)
        run.folder.save_record(record)
    run.records.append(record)
    run.watch.on_over(record)
    for step in run.bench.recipe.steps:
        found = run.folder.load_record(step.number, step.name)
        if found is None:
            break
        run.records.append(found)
        run.watch.on_over(found)
    if len(run.records) > 1:
        run.current = run.model_of(run.records[-1])


def go_through(run: Compression, plan: tuple[PlannedStep, ...]) -> None:
    for each in plan:
        step = each.step
        run.watch.on_step(step.title)
        reason = why_left_out(run, step)
        record = left_out(run, step, reason) if reason else run_step(run, step)
        run.folder.save_record(record)
        run.records.append(record)
        shutil.rmtree(run.folder.checkpoints, ignore_errors=True)
        run.watch.on_over(record)


def why_left_out(run: Compression, step: RecipeStep) -> str:
    """Returns why a step is not run; "" where it is."""
    if not run.has_original:
        return ""
    last, original, stop = run.records[-1], run.original, run.bench.recipe.stop
    if step.name in WRITERS:
        return ""
    if broken := next((record for record in run.records if record.is_kept is False), None):
        return f"accuracy had fallen too far after {broken.title}"
    if step.step.compresses and stop.is_enough(last.standing.values):
        return f"{', '.join(map(str, stop.until))} holds already"
    if step.step.compresses and (missing := unknown(stop.until, last.standing.values)):
        run.watch.say(f"{step.title}: not known whether {missing[0]} holds yet, so it goes on")
    if step.name in ("finetune", "distill") and last.skipped and last.is_kept:
        return "nothing was cut since the last training"
    assert original.is_kept
    return ""


def left_out(run: Compression, step: RecipeStep, reason: str) -> StepRecord:
    last = run.records[-1]
    return StepRecord(
        step.number,
        step.name,
        step.given,
        "left out",
        reason,
        last.standing,
        0.0,
        last.is_kept,
    )


def run_step(run: Compression, step: RecipeStep) -> StepRecord:
    """Runs a step on the network as it is, and keeps what it made."""
    begun, bench = perf_counter(), run.bench
    bench.set_to(step)
    if step.name in WRITERS:
        settle(run)
        run.current = run.model_of(run.kept)
    before = run.current
    made = step.step.run(before, bench)
    standing = standing_of(run, made.model) if made.model is not before else run.kept.standing
    if (size := made.figures.get("archive_bytes")) is not None:
        standing = replace(standing, archive_bytes=size, is_archived=True)
    if step.name not in WRITERS:
        source = {"from": "compression", "recipe": bench.recipe.name, "step": step.title}
        name = f"{run.start.stored.name} {step.title}"[:200]
        place = run.folder.model_of(step.number, step.name)
        write_model(place, run.start.stored_as(name, made.model, source))
    run.current = made.model
    record = StepRecord(
        step.number,
        step.name,
        step.given,
        made.summary,
        "",
        standing,
        perf_counter() - begun,
        None,
        layer_changes(before.graph, made.model.graph, made.layers),
        made.curves,
        made.histograms,
        made.figures,
        made.layer_curves,
    )
    if step.name in WRITERS or not run.has_original:
        return replace(record, is_kept=True)
    return replace(record, is_kept=judged(run, record) if step.step.holds_accuracy else None)


def judged(run: Compression, record: StepRecord) -> bool:
    """Whether a network has kept its accuracy; says so where it has not."""
    stop, original = run.bench.recipe.stop, run.original.standing.accuracy
    if not stop.is_broken(original, record.standing.accuracy):
        return True
    most = stop.max_accuracy_drop or 0.0
    run.watch.say(
        f"{record.title}: accuracy fell by {100 * (original - record.standing.accuracy):.2f} "
        f"points to {percent(record.standing.accuracy)}, more than {100 * most:.2f}; the result "
        f"is the network after {run.kept.title}"
    )
    return False


def settle(run: Compression) -> None:
    """Judges what nobody has looked at: a cut that no training follows."""
    last = run.records[-1]
    if last.is_kept is not None or not run.has_original:
        return
    is_kept = judged(run, last)
    for index in range(run.made(last).number, len(run.records)):
        run.records[index] = replace(run.records[index], is_kept=is_kept)
        run.folder.save_record(run.records[index])


def finish(run: Compression) -> None:
    """Writes the result, and times again what a busy machine left out."""
    settle(run)
    kept = run.kept
    source = {"from": "compression", "recipe": run.bench.recipe.name, "step": kept.title}
    name = f"{run.start.stored.name} {run.bench.recipe.name}"[:200]
    write_model(run.folder.result, run.start.stored_as(name, run.model_of(kept), source))
    time_again(run)
    write_summary(run.folder, run.start, run.records, run.original, kept)
