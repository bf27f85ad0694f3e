# The pipeline of a request as a coroutine, for apps with async handlers or hooks: before hooks, handler, coercion,
# after hooks, in the order and by the rules of Dispatcher. Plain callables are called as they are; a blocking handler
# is awaited in the pool.
#
# It runs inside a Task: asyncio.timeout() and TaskGroup need one. It raises nothing: what it has to say goes to
# Pending.finish, as its last act. CancelledError of a request whose client went away ends it without an answer; any
# other is the application's failure, and a 500.

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


async def run_task(Dispatcher dispatcher not None, Pending pending not None):
    """Answers one request; see _core_task.pxi."""
    cdef Request request = pending.request
    cdef Endpoint endpoint = pending.endpoint
    cdef Response response = None
    cdef Hook hook
    cdef object result
    request.dispatcher = dispatcher
    try:
        if dispatcher.dumps is not None:
            _json_dumps.set(dispatcher.dumps)       # the Task's context is its own
        try:
            if pending.refused:
                response = dispatcher._plain(pending.refused, pending.fault)
            else:
                for hook in dispatcher.before or ():
                    result = hook.call(request, request.get_params()) if hook.arity == 2 else hook.call(request)
                    if hook.is_async:
                        result = await result
                    if result is not None:
                        response = dispatcher._coerce(result, "before hook", hook.label, None)
                        break
                if response is None and endpoint is None:
                    response = dispatcher._unrouted(request)
                elif response is None:
                    dispatcher._enter(request, endpoint)
                    if endpoint.is_async:
                        result = endpoint.call(request)
                        if not isinstance(result, _AsyncIterator):      # an async generator is an answer already
                            result = await result
                    elif dispatcher.is_pooled(endpoint):
                        result = await pending.loop.pool.call(endpoint, request)
                    else:
                        result = endpoint.call(request)
                    response = dispatcher._coerce(result, "handler", endpoint.label, endpoint)
            if response._producer is not None:
                await _begin_response(response)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:
            error = _current_exception()
            if pending.state == PENDING_ABANDONED and isinstance(error, _CancelledError):
                pending.finish(None, None)
                return
            response = dispatcher._failure(request, error, "handling")
        for hook in dispatcher.after or ():
            try:
                result = hook.call(request, request.get_params(), response)
                if hook.is_async:
                    result = await result
                response = dispatcher._passed(hook, result)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException:
                error = _current_exception()
                if pending.state == PENDING_ABANDONED and isinstance(error, _CancelledError):
                    pending.finish(None, None)
                    return
                response = dispatcher._failure(request, error, f"after hook {hook.label}, handling")
        if response._producer is None:
            pending.finish(response, None)
        else:
            await _stream_in_task(dispatcher, pending, response)
    except (KeyboardInterrupt, SystemExit):
        pending.finish(None, _current_exception())


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
                error = _current_exception()
                pending.finish(dispatcher._failure(pending.request, error, "handling"), None)
                return
        if pending.state == PENDING_STARTED:
            await _sleep(0)             # the turn that began this has to end: then there is a connection to write to
        producer.step(PRODUCER_TAKEN)
        pending.items = _deque()
        pending.finish(response, None)
        if pending.state == PENDING_STREAMING or pending.state == PENDING_WAITING:
            await _stream_items(pending, producer)
            pending.end(None)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:
        error = _current_exception()
        if pending.state == PENDING_ABANDONED and isinstance(error, _CancelledError):
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
        if not item:
            if producer.iterator is None:
                return
            try:
                item = item_bytes(await producer.iterator.__anext__())
            except StopAsyncIteration:
                producer.iterator = None
                return
            if not item:
                continue
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
