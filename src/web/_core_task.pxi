# The pipeline of a request as a coroutine, for apps with async handlers or hooks: before hooks, handler, coercion,
# after hooks, in the order and by the rules of Dispatcher. Plain callables are called as they are; a blocking handler
# is awaited in the pool.
#
# It runs inside a Task: asyncio.timeout() and TaskGroup need one. It raises nothing: what it has to say goes to
# Pending.finish, as its last act. CancelledError of a request whose client went away ends it without an answer, and
# after hooks that ask for it are told (tell_left); any other is the application's failure, and a 500.

cdef object _CancelledError = None      # asyncio is imported when a loop is to run Tasks, not before
cdef object _running_loop = None
cdef object _sleep = None


cdef int load_asyncio() except -1:
    global _CancelledError, _running_loop, _sleep
    if _running_loop is None:
        from asyncio import CancelledError, get_running_loop, sleep
        _CancelledError = CancelledError
        _running_loop = get_running_loop
        _sleep = sleep
    return 1


@cython.final
cdef class Stepper:
    """``Stepper(event_loop)(coroutine)``: a Task that has taken its first step, as Python 3.12's eager_start makes it.

    A new Task hands its first step to ``call_soon`` of its loop; here it is taken at once. It must not be called within
    another Task; the loop's turn, where it is, is none.
    """
    cdef object event_loop, call_soon, Task, taking, step

    def __init__(self, event_loop):
        from asyncio import Task
        self.event_loop = event_loop
        self.call_soon = event_loop.call_soon
        self.Task = Task
        self.taking = self.take

    def take(self, callback, *arguments, context=None):
        """What the loop's call_soon is while a Task is made."""
        if self.step is None and isinstance(getattr(callback, "__self__", None), self.Task):
            self.step = callback
            return None
        return self.call_soon(callback, *arguments, context=context)    # of a finalizer that runs meanwhile

    def __call__(self, coroutine):
        context = PyContext_CopyCurrent()
        self.event_loop.call_soon = self.taking
        try:
            task = self.Task(coroutine, loop=self.event_loop, context=context)
        finally:
            del self.event_loop.call_soon
        step, self.step = self.step, None
        if step is not None:
            PyContext_Enter(context)
            try:
                step()
            finally:
                PyContext_Exit(context)
        return task


async def run_task(Dispatcher dispatcher not None, Pending pending not None):
    """Answers one request; see _core_task.pxi."""
    cdef Request request = pending.request
    cdef Endpoint endpoint = pending.endpoint
    cdef Response response
    cdef Producer producer
    cdef Hook hook
    cdef object outcome
    cdef object result
    request.dispatcher = dispatcher
    try:
        if dispatcher.dumps is not None:
            _json_dumps.set(dispatcher.dumps)       # the Task's context is its own
        try:
            if pending.refused:
                outcome = _make_fault(pending.refused, pending.fault, _NO_LINES)
            elif endpoint is not None and endpoint is dispatcher.misdirected:
                pending.finish(dispatcher._misdirect(request), None)
                return
            else:
                outcome = await _ask(dispatcher, dispatcher.before, request) if dispatcher.before is not None else None
                if outcome is None and endpoint is not None:
                    dispatcher._enter(request, endpoint)
                    if endpoint.chain is not None:
                        outcome = await _ask(dispatcher, endpoint.chain.before, request)
                if outcome is None:
                    if endpoint is None or endpoint.is_scope:
                        outcome = dispatcher._unrouted(request, endpoint)
                    else:
                        if endpoint.is_async:
                            result = endpoint.call(request)
                            if not isinstance(result, _AsyncIterator):  # an async generator is an answer already
                                result = await result
                        elif dispatcher.is_pooled(endpoint):
                            result = await pending.loop.pool.call(endpoint, request)
                        else:
                            result = endpoint.call(request)
                        outcome = dispatcher._coerce(result, "handler", endpoint.label, endpoint)
            if type(outcome) is Response and (<Response>outcome)._producer is not None:
                await _begin_response(<Response>outcome)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:
            error = _current_exception()
            if _is_left(pending, error):
                raise
            outcome = dispatcher._failure(request, error, "handling")
        response = outcome if type(outcome) is Response else await _form(dispatcher, pending, outcome)
        producer = response._producer
        for hook in _after_hooks(dispatcher, request, endpoint):
            try:
                if hook.call is answer_conditions:
                    if request.parsed.seen & HTTP1_SAID_CONDITION:
                        response = await _conditions(dispatcher, pending, response)
                    continue
                result = hook.call(request, request.get_params(), response)
                if hook.is_async:
                    result = await result
                response = dispatcher._passed(hook, result)
                if response._producer is not None:
                    producer = response._producer
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException:
                error = _current_exception()
                if _is_left(pending, error):
                    raise
                outcome = dispatcher._failure(request, error, f"after hook {hook.label}, handling")
                response = outcome if type(outcome) is Response else await _form(dispatcher, pending, outcome)
        if request.parsed.seen & HTTP1_SAID_CONDITION:
            response = await _conditions(dispatcher, pending, response)
        if response._producer is None:
            pending.finish(response, None)
            if producer is not None:    # a hook, or a condition, put another answer into its place
                await _close_async(producer)
        else:
            await _stream_in_task(dispatcher, pending, response)
    except (KeyboardInterrupt, SystemExit):
        pending.finish(None, _current_exception())
    except BaseException:
        if not _is_left(pending, _current_exception()):
            raise
        tell_left(dispatcher, pending)
        pending.finish(None, None)


async def _ask(Dispatcher dispatcher not None, tuple hooks not None, Request request not None):
    """What the first of these before hooks answers; None: all let the request pass."""
    cdef Hook hook
    for hook in hooks:
        result = hook.call(request, request.get_params()) if hook.arity == 2 else hook.call(request)
        if hook.is_async:
            result = await result
        if result is not None:
            return dispatcher._coerce(result, "before hook", hook.label, None)
    return None


async def _form(Dispatcher dispatcher not None, Pending pending not None, Fault fault not None):
    """Dispatcher._settle for a Fault, with a function that may be async."""
    cdef Hook errors = dispatcher._errors_for(pending.endpoint, fault)
    if errors is None or not errors.is_async:
        return dispatcher._settle(pending.request, pending.endpoint, fault)
    try:
        result = await errors.call(pending.request, fault.status, _reason_of(fault))
        return dispatcher._formed(errors, fault, result)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:
        error = _current_exception()
        if _is_left(pending, error):
            raise
        return dispatcher._unformed(pending.request, errors, fault, error)


async def _conditions(Dispatcher dispatcher not None, Pending pending not None, Response response not None):
    """``conditional``, with a function of errors() that may be async."""
    outcome = judged(pending.request, response)
    return outcome if type(outcome) is Response else refusal(await _form(dispatcher, pending, outcome), response)


cdef bint _is_left(Pending pending, object error) noexcept:
    """Predicate: the Task ends because the client of its request went away."""
    return pending.state == PENDING_ABANDONED and isinstance(error, _CancelledError)


cdef void tell_left(Dispatcher dispatcher, Pending pending) noexcept:
    """Tells after hooks that this request is not answered: its client went away. None of them stops another."""
    cdef Hook hook
    pending.request.dispatcher = dispatcher     # nobody may have begun with it: it tells whose request this was
    try:
        for hook in _after_hooks(dispatcher, pending.request, pending.endpoint):
            if hook.left is not None:
                try:
                    hook.left(pending.request)
                except BaseException:
                    tell_unraisable(_current_exception())
    except BaseException:               # no memory
        tell_unraisable(_current_exception())


cdef tuple _after_hooks(Dispatcher dispatcher, Request request, Endpoint endpoint):
    """From inside out."""
    cdef tuple own = dispatcher.after if dispatcher.after is not None else ()
    if endpoint is None or endpoint.chain is None:
        return own
    if request.endpoint is None:        # a before hook of the App answered, or the request was refused
        dispatcher._enter(request, endpoint)
    return endpoint.chain.after + own


async def _begin_response(Response response not None):
    """Takes the first item of a streamed answer: what fails until then is answered as a failure of the handler."""
    cdef Producer producer = response._producer
    if not producer.is_async:
        response_begin(response)
        return
    producer.step(PRODUCER_BEGUN)
    try:
        item = await producer.iterator.__anext__()
    except StopAsyncIteration:
        producer.iterator = None
        item = b""
    response_begun(response, item)


async def _stream_in_task(Dispatcher dispatcher not None, Pending pending not None, Response response not None):
    """Sends a streamed answer, as its last act."""
    cdef Producer producer = response._producer
    try:
        if producer.begins():             # an after hook put it there
            try:
                await _begin_response(response)
            except Exception:
                outcome = dispatcher._failure(pending.request, _current_exception(), "handling")
                if type(outcome) is not Response:
                    outcome = await _form(dispatcher, pending, outcome)
                pending.finish(outcome, None)
                return
        if pending.state == PENDING_STARTED:
            await _sleep(0)             # the turn that began this has to end: then there is a connection to write to
        producer.step(PRODUCER_TAKEN)
        pending.items = _deque()
        pending.finish(response, None)
        if pending.state < PENDING_OVER:
            await _stream_items(pending, producer)
        pending.end(None)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:
        error = _current_exception()
        if _is_left(pending, error):
            pending.finish(None, None)
        else:
            pending.end(error)
    finally:
        await _close_async(producer)


async def _stream_items(Pending pending not None, Producer producer not None):
    cdef Py_ssize_t moved = 0           # since other Tasks had their turn
    cdef bytes item
    while pending.state < PENDING_ABANDONED or not pending.cancels():
        item = producer.next_item() if producer.first is not None or not producer.is_async else b""
        if item is None:
            return
        if not item and producer.iterator is None:
            item = producer.last_item()
            if item is None:
                return
        elif not item:
            try:
                item = item_bytes(await producer.iterator.__anext__())
            except StopAsyncIteration:
                producer.iterator = None
                continue
            if not item:
                continue
            item = producer.outgoing(item)
        room = pending.push(item)
        moved += len(item)
        if room is not None:
            await room
        elif moved >= STREAM_MARK:
            await _sleep(0)
            moved = 0


async def _close_async(Producer producer not None):
    """Ends what produces it, whether it came to its end or not. It fails only for itself."""
    iterator = producer.iterator
    try:
        producer.close()
        if producer.is_async and hasattr(iterator, "aclose"):
            await iterator.aclose()
    except Exception:
        tell_unraisable(_current_exception())
