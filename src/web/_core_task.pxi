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
    cdef Response response
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
                            result = await endpoint.call(request)
                        elif dispatcher.is_pooled(endpoint):
                            result = await pending.loop.pool.call(endpoint, request)
                        else:
                            result = endpoint.call(request)
                        outcome = dispatcher._coerce(result, "handler", endpoint.label, endpoint)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:
            error = _current_exception()
            if _is_left(pending, error):
                raise
            outcome = dispatcher._failure(request, error, "handling")
        response = outcome if type(outcome) is Response else await _form(dispatcher, pending, outcome)
        for hook in _after_hooks(dispatcher, request, endpoint):
            try:
                result = hook.call(request, request.get_params(), response)
                if hook.is_async:
                    result = await result
                response = dispatcher._passed(hook, result)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException:
                error = _current_exception()
                if _is_left(pending, error):
                    raise
                outcome = dispatcher._failure(request, error, f"after hook {hook.label}, handling")
                response = outcome if type(outcome) is Response else await _form(dispatcher, pending, outcome)
        pending.finish(response, None)
    except (KeyboardInterrupt, SystemExit):
        pending.finish(None, _current_exception())
    except BaseException:
        if not _is_left(pending, _current_exception()):
            raise
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


cdef bint _is_left(Pending pending, object error) noexcept:
    """Predicate: the Task ends because the client of its request went away."""
    return pending.state == PENDING_ABANDONED and isinstance(error, _CancelledError)


cdef tuple _after_hooks(Dispatcher dispatcher, Request request, Endpoint endpoint):
    """From inside out."""
    cdef tuple own = dispatcher.after if dispatcher.after is not None else ()
    if endpoint is None or endpoint.chain is None:
        return own
    if request.endpoint is None:        # a before hook of the App answered, or the request was refused
        dispatcher._enter(request, endpoint)
    return endpoint.chain.after + own
