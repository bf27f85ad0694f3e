# Calling the application for a READY request (GIL), and taking its answer: at once, or later.
#
#     inline   the whole pipeline (hooks, handler, hooks) runs here, within the turn
#     task     it runs in a Task of asyncio, on this thread; its first step is taken at once
#     pool     it runs in a thread of the pool (_core_pool)
#
# Which of them, Dispatcher.mode_of tells. Where the answer is not there when exchange_answer_one returns, the stream
# stays in HANDLER and a Pending (_core_pending) stands for it: nothing more is read from the connection, and the
# poller only tells when the peer goes away (exchange_overhear).
#
# What one request sets in contextvars no other sees. Inline calls run in a context of the loop's, which is entered once
# for those of a turn (in_context), and left as soon as one has set something: then the next gets a new one.

cdef extern from "Python.h":
    object PyContext_CopyCurrent()
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1

cdef extern from *:
    """
    /* What len(context) comes to, without the search for it. */
    static CYTHON_INLINE Py_ssize_t web_context_len(PyObject *context) {
        return Py_TYPE(context)->tp_as_mapping->mp_length(context);
    }
    """
    Py_ssize_t web_context_len(object context) except -1


cdef inline int exchange_call(Loop loop, Connection c) except -1:
    """Answers the READY request and those behind it, and counts how long they waited."""
    cdef int64_t ready_at
    cdef uint64_t before = loop.row.counts.requests
    if c.http == NULL:          # a thread had answered, and the answer was sent, before its turn to be called came
        return 1
    if c.http.socket != NULL:
        socket_call(loop, c)
        loop.now = web_monotonic_ns()
        return 1
    # Those behind it were read with it: they have waited as long. Answers leave when all of them are there.
    ready_at = c.http.ready_at if c.http.stream == STREAM_READY else loop.now
    exchange_call_all(loop, c)
    loop.now = web_monotonic_ns()       # what is set from here on does not count from before a slow handler
    histogram_add(&loop.row.counts.latency, loop.now - ready_at, loop.row.counts.requests - before)
    return 1


cdef inline int exchange_call_all(Loop loop, Connection c) except -1:
    """Answers the READY request, and those that lie whole behind it in the input: parsed here, because giving the GIL
    up and taking it again costs more than parsing. Makes the object for which a body waits."""
    cdef Http1* http = c.http
    cdef int answered = 0
    while True:
        if body_waits_for_plan(http):
            if body_plan(loop, c) < 0:
                take_out(loop, c, CLOSE_NO_MEMORY)
                return 1
            if http.stream == STREAM_BODY and exchange_parse(loop, c) == WEB_FAILED:
                return 1
        if http.stream == STREAM_HANDLER:
            if http.inflow != NULL:
                inflow_deliver(loop, c)
            if http.wants_room and http.out.first == NULL:
                stream_room(loop, c)
            return 1
        if http.stream != STREAM_READY:
            return 1
        if exchange_answer_one(loop, c) < 0:
            take_out(loop, c, CLOSE_HANDLER)
            return 1
        if c.marks & MARK_GONE:     # a streamed answer failed
            return 1
        answered += 1
        if http.stream != STREAM_HEAD or http.writing == WRITE_LAST or http.in_at == http.in_end \
                or answered == PIPELINE_BUDGET or output_held(&http.out) > loop.limits.out_buffer \
                or output_has_file(&http.out):
            return 1
        if exchange_parse(loop, c) == WEB_FAILED:
            return 1


cdef inline int exchange_answer_one(Loop loop, Connection c) except? -1:
    """Runs the application for one request and queues its answer, or leaves it to a Pending. WEB_FAILED: it cannot be
    written."""
    cdef Http1* http = c.http
    cdef Request request = loop.request
    cdef Response response
    cdef Endpoint endpoint = None
    cdef const char* head = http.head_copy
    cdef Mode mode
    cdef int result
    cdef int64_t called_at = web_coarse_ns()
    if request is None:
        request = Request.__new__(Request)
    else:
        loop.request = None
    if head == NULL:    # the whole request lies in the input
        head = http.in_data + http.in_at - http.body_len - http.head_len
    stream_step(loop, http, STREAM_HANDLER)
    deadline_clear(&loop.deadlines, &c.deadline)        # the answer is not judged by how the body came
    request.bind(c, head, &http.head, http.body, http.body_len)
    if http.body_object != NULL and not http.refused:
        request.take_body(<bytes>http.body_object)
    elif http.inflow != NULL:
        request.inflow = <Inflow>http.inflow
    try:
        if not http.refused:
            endpoint = loop.dispatcher.find(request)
            if http.spool >= 0:
                request.spool = spool_of(http)
            elif http.body_len > 0 and loop.dispatcher.plans_bodies and http.body_len > body_limit_of(loop, endpoint):
                body_refuse(http, 413, BODY_TOO_LARGE)
        if http.refused:
            count_refusal(loop.row, http.refused, http.fault)
            if http.spool_error != 0:
                tell_spool(loop, http)
            c.reason = CLOSE_BAD_REQUEST if http.refused != 408 else CLOSE_BODY_SLOW
            endpoint = loop.dispatcher.find_refused(request)
            mode = loop.dispatcher.mode_of_refused(endpoint)
        else:
            mode = MODE_INLINE if loop.dispatcher.always_inline else loop.dispatcher.mode_of(endpoint)
        if mode == MODE_INLINE:
            response = answer_inline(loop, http, request, endpoint)
        else:
            context_leave(loop)
            response = pending_begin(loop, c, request, endpoint, mode)
            if response is None:
                note_time(loop, endpoint, called_at)
                return 1
        loop.row.counts.requests += 1
        c.requests += 1
        result = answer_write(loop, c, request, response)
    except (KeyboardInterrupt, SystemExit):
        context_leave(loop)         # what it set the next request must not see
        request_part(loop, request)
        note_time(loop, endpoint, called_at)
        take_out(loop, c, CLOSE_HANDLER)
        raise
    except BaseException:           # no memory, say: nothing that can be answered, and no reason to stop serving others
        context_leave(loop)
        tell_unraisable(_current_exception())
        request_part(loop, request)
        note_time(loop, endpoint, called_at)
        return WEB_FAILED
    request_part(loop, request)
    note_time(loop, endpoint, called_at)
    if result == ANSWER_STREAMS:
        return 1
    request_free(http)
    stream_step(loop, http, STREAM_HEAD)
    return result


cdef int tell_spool(Loop loop, Http1* http) except -1:
    error, http.spool_error = http.spool_error, 0
    return log_warning("a request is refused with 503: its body cannot be written to %s",
                       f"{_fsdecode(loop.spool_folder)}: {os_strerror(error)}")


cdef inline void note_time(Loop loop, Endpoint endpoint, int64_t called_at) noexcept:
    """The application was called; did it hold the loop? The coarse clock tells well enough."""
    cdef int64_t span = web_coarse_ns() - called_at
    if loop.slow_after > 0 and span > loop.slow_after:
        tell_slow(loop, endpoint, span)


cdef void tell_slow(Loop loop, Endpoint endpoint, int64_t span) noexcept:
    """The application held the loop: counted each time, and named once for each route."""
    loop.row.counts.slow_handlers += 1
    if endpoint is None or endpoint.is_scope or endpoint.told_slow:
        return
    endpoint.told_slow = True
    try:
        _log.warning("handler %s, route %s held the event loop for %.2f s, and all other connections waited; give its "
                     "route blocking=True, or make it async and await (told once)",
                     endpoint.label, endpoint.pattern, span / 1e9)
    except BaseException:       # a log that fails does not decide whether a request is answered
        tell_unraisable(_current_exception())


cdef inline Response answer_inline(Loop loop, Http1* http, Request request, Endpoint endpoint):
    """The answer of the whole pipeline, run here in a context of the loop's."""
    cdef Response response
    if not loop.in_context:
        context_enter(loop)
    try:
        if http.refused:
            response = loop.dispatcher.error_at(request, endpoint, http.refused, http.fault.decode("ascii"))
        else:
            response = loop.dispatcher.respond_at(request, endpoint)
    except BaseException:
        if loop.forks != forks:
            end_fork(_current_exception())
        raise
    if loop.forks != forks:
        end_fork(None)
    if web_context_len(loop.context) > 0:
        context_leave(loop)
    return response


cdef int context_enter(Loop loop) except -1:
    if loop.context is None:
        loop.context = PyContext_CopyCurrent()
    PyContext_Enter(loop.context)
    loop.in_context = True
    return 1


cdef int context_leave(Loop loop) except -1:
    """Leaves it, if it was entered. What was set in it nobody sees any more."""
    if not loop.in_context:
        return 1
    loop.in_context = False
    PyContext_Exit(loop.context)
    if web_context_len(loop.context) > 0:
        loop.context = None
    return 1


cdef void request_part(Loop loop, Request request) noexcept:
    """The exchange's memory goes: the request returns to the loop, or takes copies with it where somebody kept it."""
    if Py_REFCNT(request) == 1:
        request.unbind()
        loop.request = request
        return
    try:
        request.detach()
    except MemoryError:
        request.unbind()            # better no bytes than those of a later request
