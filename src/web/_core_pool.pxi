# The pool of threads in which handlers run that may block: a queue, and threads that take from it.
#
# A job is a Pending (the whole pipeline of a request) or a _PoolCall (one handler, awaited by a Task). The loop's
# thread puts, pool threads take, run and post the answer to the loop's mailbox, or to asyncio. Threads are started
# with the loop and end at the None that close() puts for each; they are daemons, because a handler that never returns
# must not keep the process from ending.
#
# `waiting` counts jobs that no thread has taken yet, `busy` those that run. They are changed with the GIL held and
# without Python code between reading and writing.

cdef double POOL_PATIENCE = 0.5     # seconds for threads to end when the loop is closed

from queue import SimpleQueue as _SimpleQueue
from threading import Event as _Event, Thread as _Thread


@cython.final
@cython.no_gc_clear     # its threads count into what stats holds
cdef class Pool:
    """``Pool(dispatcher, loop, threads, most)``: handlers that may block run here; ``most``: how many may wait."""
    cdef object queue
    cdef readonly list threads
    cdef readonly Py_ssize_t waiting
    cdef readonly Py_ssize_t most
    cdef readonly Py_ssize_t busy
    cdef Stats stats            # keeps the gauges alive: a thread may be left behind when its loop has gone
    cdef Gauges* gauges

    def __init__(self, Dispatcher dispatcher not None, Loop loop not None, int threads, Py_ssize_t most):
        self.queue = _SimpleQueue()
        self.stats = loop.stats
        self.gauges = &loop.row.gauges
        self.most = most
        self.threads = [_Thread(target=self._work, args=(dispatcher,), name=f"web handler {number + 1}", daemon=True)
                        for number in range(threads)]
        for thread in self.threads:
            thread.start()

    cdef bint has_room(self) except -1:
        return self.waiting < self.most + len(self.threads) - self.busy

    cdef int put(self, job) except -1:
        self.count(1, 0)
        self.queue.put(job)
        return 1

    cdef void count(self, int waiting, int busy) noexcept:
        self.waiting += waiting
        self.busy += busy
        self.gauges.threads_waiting += waiting
        self.gauges.threads_busy += busy

    cdef object call(self, Endpoint endpoint, Request request):
        """A future of asyncio for what the handler returns. HTTPError 503 without room."""
        cdef _PoolCall job = _PoolCall.__new__(_PoolCall)
        if not self.has_room():
            raise _busy_error()
        job.endpoint = endpoint
        job.request = request
        job.context = PyContext_CopyCurrent()
        job.aio = _running_loop()
        job.future = job.aio.create_future()
        job.forks = forks
        self.put(job)
        return job.future

    def _work(self, Dispatcher dispatcher not None):
        while self.queue is not None and pool_take(self, dispatcher) > 0:
            pass

    def close(self, double patience):
        """Ends the threads, and waits for them up to ``patience`` seconds in all; how many are still at work."""
        cdef int64_t until = web_monotonic_ns() + <int64_t>(patience * 1e9)
        for _ in self.threads:
            self.queue.put(None)
        for thread in self.threads:
            thread.join(max(0.0, (until - web_monotonic_ns()) / 1e9))
        return len([thread for thread in self.threads if thread.is_alive()])


cdef int pool_take(Pool pool, Dispatcher dispatcher) noexcept:
    """A pool thread waits for a job and does it: 1, or -1 when it is to end. Nothing of a job outlives this call."""
    cdef object job
    try:
        job = pool.queue.get()
        if job is None:
            return -1
        pool.count(-1, 1)
        try:
            if type(job) is Pending:
                pending_run(dispatcher, <Pending>job)
            else:
                (<_PoolCall>job).run()
        finally:
            pool.count(0, -1)
    except BaseException:               # no memory to post the answer with: the thread lives on
        tell_unraisable(_current_exception())
    return 1


@cython.final
cdef class _PoolCall:
    """One blocking handler of a request whose pipeline is a Task."""
    cdef Endpoint endpoint
    cdef Request request
    cdef object context, aio, future
    cdef unsigned int forks             # of this process, when it was put

    cdef int run(self) except -1:
        result = error = None
        PyContext_Enter(self.context)
        try:
            result = self.endpoint.call(self.request)
        except BaseException:
            error = _current_exception()
        finally:
            PyContext_Exit(self.context)
        if self.forks != forks:
            end_fork(error)
        try:
            self.aio.call_soon_threadsafe(_settle_future, self.future, result, error)
        except RuntimeError:
            pass                        # that event loop has ended, and with it whoever awaited
        return 1


def _settle_future(future, result, error):
    if future.done():                   # cancelled: the client went away
        return
    if error is None:
        future.set_result(result)
    elif isinstance(error, StopIteration):
        future.set_exception(RuntimeError(f"the handler raised {error!r}"))     # a future cannot hold it (PEP 479)
    else:
        future.set_exception(error)


cdef int pending_run(Dispatcher dispatcher, Pending pending) except -1:
    """A pool thread answers a request; one whose client went away before its turn came is dropped."""
    if pending.state == PENDING_ABANDONED and pending.cancels():
        tell_left(dispatcher, pending)
        return mail_post(pending.loop, pending)
    PyContext_Enter(pending.context)
    try:
        if pending.refused:
            pending.response = dispatcher.error_at(pending.request, pending.endpoint, pending.refused, pending.fault)
        else:
            pending.response = dispatcher.respond_at(pending.request, pending.endpoint)
        if pending.streams():
            stream_from_thread(pending)
    except BaseException:               # KeyboardInterrupt or SystemExit: the loop's thread raises it
        pending.raised = _current_exception()
    finally:
        PyContext_Exit(pending.context)
    if pending.loop.forks != forks:
        end_fork(pending.raised)
    return mail_post(pending.loop, pending)


cdef int stream_from_thread(Pending pending) except -1:
    """Posts the head of a streamed answer, and item after item, as fast as there is room for them."""
    cdef Producer producer = pending.response._producer
    cdef bytes item
    producer.step(PRODUCER_TAKEN)
    pending.items = _deque()
    pending.room = _Event()
    mail_post(pending.loop, pending)
    try:
        while True:
            item = producer.next_item()
            if item is None or not pending.push_from_thread(item):
                break
    except (KeyboardInterrupt, SystemExit):
        raise               # not ended: what was posted before must not be taken for all of it
    except BaseException:
        pending.error = _current_exception()
    finally:
        close_producer(producer)
    pending.ended = True
    return 1
