"""One job as a stream of responses, for `run`, `write` and `sweep`: progress, cancel, the watchdog
and the certain end of what Ray Data does for it."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow.compute as pc

from labkit.api.watchdog import Watch
from labkit.engines import dispatch, warm_engine
from labkit.errors import Cancelled, JobFailed, LabError, Stalled
from labkit.hardware.classroom_seat import lent, seated
from labkit.metrics import CUT, EngineUse
from labkit.progress import Progress
from labkit.ray_session import diagnosis, internals
from labkit.rows.requests import Batches
from labkit.rows.user_data import first, is_dataset
from labkit.settings.seat_spec import SeatSpec
from labkit.tasks import Row

if TYPE_CHECKING:
    import pyarrow as pa
    import ray.data

    from labkit.settings.setting import JobSpec

T = TypeVar("T")
#: Ray waits for every task of an execution that it shuts down; a job waits so long for Ray.
END_S = 30.0
#: How often cancel and the clock are looked at.
LOOK_S = 0.1


def stream(
    asked: Batches | ray.data.Dataset,
    spec: JobSpec,
    shown: Progress,
    cancel: threading.Event | None,
    stall_s: float,
    idle: Callable[[], None] | None = None,
    use: EngineUse | None = None,
) -> Iterator[pa.Table]:
    """Requests → responses, counted, as they come. idle: called while none comes. use: is told at
    the end what a warm engine and this program did.

    Raises what ended the job: Cancelled, Stalled after `stall_s` seconds without a row (the
    engine's start included), JobFailed with the engine's own reason.
    """
    if isinstance(asked, Batches) and asked.first() is None:
        return  # no row can be asked: no engine is needed
    if isinstance(spec, SeatSpec):  # the class's engine: no Ray is needed here
        with Watch(shown, cancel, stall_s) as watch:
            output = dispatch.answer(asked, spec, say=shown.say, cancel=watch, use=use)
            yield from _counted(supervised(output, [], watch, idle), shown)
        return
    import ray.data
    from ray.exceptions import RayError

    contexts = [ray.data.DataContext.get_current()]
    contexts += [asked.context] if isinstance(asked, ray.data.Dataset) else []
    try:
        with Watch(shown, cancel, stall_s) as watch, warm_engine.aborting(None):
            output = dispatch.answer(
                asked, spec, say=shown.say, cancel=watch, stall_s=stall_s, use=use
            )
            yield from _counted(supervised(output, contexts, watch, idle), shown)
    except Stalled:
        warm_engine.stop()  # it may be the one that stands still
        raise
    except RayError as error:
        raise JobFailed(diagnosis.diagnose(error)) from error


def _counted(tables: Iterator[pa.Table], shown: Progress) -> Iterator[pa.Table]:
    for table in tables:
        tokens = pc.sum(table["num_generated_tokens"]).as_py() or 0
        cut = pc.sum(pc.equal(table["finish_reason"], CUT)).as_py() or 0
        shown.advance(table.num_rows, tokens, cut)
        yield table


@contextlib.contextmanager
def ray_data_settings(verbose: bool, data: Any = None) -> Iterator[None]:
    """Ray Data's settings for a job, restored afterwards.

    A Dataset that the caller made runs with the settings of its own making, not the current ones.
    """
    given = is_dataset(data)
    if (seated() or lent()) and not given:  # no Ray is needed here
        yield
        return
    import ray.data

    context = data.context if given else ray.data.DataContext.get_current()
    detectors, options = context.issue_detectors_config, context.execution_options
    before = (context.enable_progress_bars, detectors.detectors, options.preserve_order)
    objects = context.enable_fallback_to_arrow_object_ext_type
    context.enable_progress_bars = False
    # What Arrow can't hold travels between stages as an object (`sampling_values.Opaque`).
    context.enable_fallback_to_arrow_object_ext_type = True
    options.preserve_order = given or options.preserve_order
    if not verbose:
        detectors.detectors = []
    try:
        yield
    finally:
        context.enable_progress_bars, detectors.detectors, options.preserve_order = before
        context.enable_fallback_to_arrow_object_ext_type = objects


def supervised(
    output: Iterator[T | None],
    contexts: list[Any],
    watch: Watch,
    idle: Callable[[], None] | None = None,
) -> Iterator[T]:
    """What `output` gives, which Ray Data makes with one of `contexts` (None stands for nothing
    new, and is not given on); raises as soon as `watch` is set. idle: called ten times a second
    while nothing comes.

    `output` is taken in a thread of its own and every wait here is short: Ctrl-C, cancel and the
    clock are heard whatever Ray waits for. However this is left, the execution is shut down, its
    actors with it.
    """

    def check() -> None:
        if watch.ended:
            raise Cancelled("The job was ended before Ray had started it.")

    watch.ended = False  # by what it watched before
    execution = internals.Execution(check)
    feed = _Feed(output, lambda: watch.ended)
    with execution.watched(contexts):
        try:
            feed.start()
            while True:
                watch.check(execution.waiting_for)
                try:
                    table, problem = feed.tables.get(timeout=LOOK_S)
                except queue.Empty:
                    if idle is not None:
                        idle()
                    continue
                if problem is not None:
                    if isinstance(problem, Cancelled):  # by the watch, which its thread saw first
                        watch.check(execution.waiting_for)
                    raise problem
                if table is _END:
                    return
                if table is None:  # nothing came, but `output` may be ended here
                    continue
                yield table
                watch.touch()
        finally:
            watch.ended = True
            _end(execution)
            feed.join(END_S)


def in_ray(output: Iterator[Any], watch: Watch, *contexts: Any) -> Iterator[Any]:
    """As `supervised`, in the current context of Ray Data, too; what a task raised for a user is
    raised as it is, and else why Ray says that it failed."""
    import ray.data
    from ray.exceptions import RayError

    try:
        current = ray.data.DataContext.get_current()
        yield from supervised(output, [current, *contexts], watch)
    except RayError as error:
        if isinstance(cause := getattr(error, "cause", None), LabError):
            raise cause from None
        raise JobFailed(diagnosis.diagnose(error)) from error


def later(make: Callable[[], T]) -> Iterator[T]:
    """What `make` makes, when it is asked for."""
    yield make()


def first_rows(
    dataset: ray.data.Dataset, cancel: threading.Event | None, stall_s: float
) -> list[Row]:
    """The first rows of a Dataset (`user_data.first`), cancelled and watched as a job is."""
    words = "looking at the first rows"
    with (
        Progress(None, startup=words, show=False) as shown,
        Watch(shown, cancel, stall_s) as watch,
    ):
        rows: list[Row]
        (rows,) = in_ray(later(lambda: first(dataset)), watch, dataset.context)
        return rows


#: What a feed hands on when it has nothing more.
_END: Any = object()


class _Feed(threading.Thread):
    """Takes tables in a thread of its own and hands them on."""

    def __init__(self, output: Iterator[Any], ended: Callable[[], bool]) -> None:
        super().__init__(daemon=True)
        self.output, self.ended = output, ended
        self.tables: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(maxsize=2)

    def run(self) -> None:
        try:
            for table in self.output:
                if not self._put(table, None):
                    return
            self._put(_END, None)
        except BaseException as problem:  # raised again where the tables are taken
            self._put(None, problem)

    def _put(self, table: Any, problem: BaseException | None) -> bool:
        while not self.ended():
            with contextlib.suppress(queue.Full):
                self.tables.put((table, problem), timeout=LOOK_S)
                return True
        return False


def _end(execution: internals.Execution) -> None:
    """Shut an execution down: at once, not when the garbage collector finds it."""
    if execution.executor is None:
        return
    import ray
    from ray.exceptions import RayError

    actors = execution.actors()
    with internals.killing(actors):
        try:
            ender = threading.Thread(target=execution.shut_down, daemon=True)
            ender.start()
            ender.join(END_S)
        finally:  # the thread of the feed may have been first: then Ray only lets go of them
            for actor in actors:
                with contextlib.suppress(RayError):  # Ray itself is gone
                    ray.kill(actor)
