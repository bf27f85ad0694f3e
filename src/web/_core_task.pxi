# The pipeline of a request as a coroutine, for apps with async handlers or hooks: before hooks, handler, coercion,
# after hooks, in the order and by the rules of Dispatcher. Plain callables are called as they are; a blocking handler
# is awaited in the pool.
#
# It runs inside a Task: asyncio.timeout() and TaskGroup need one. It raises nothing: what it has to say goes to
# Pending.finish, as its last act. CancelledError of a request whose client went away ends it without an answer; any
# other is the application's failure, and a 500.

cdef object _CancelledError = None      # asyncio is imported when a loop is to run Tasks, not before
cdef object _running_loop = None


cdef int load_asyncio() except -1:
    global _CancelledError, _running_loop
    if _running_loop is None:
        from asyncio import CancelledError, get_running_loop
        _CancelledError = CancelledError
        _running_loop = get_running_loop
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
                        result = await endpoint.call(request)
                    elif dispatcher.is_pooled(endpoint):
                        result = await pending.loop.pool.call(endpoint, request)
                    else:
                        result = endpoint.call(request)
                    response = dispatcher._coerce(result, "handler", endpoint.label, endpoint)
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
        pending.finish(response, None)
    except (KeyboardInterrupt, SystemExit):
        pending.finish(None, _current_exception())
