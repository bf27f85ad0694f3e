# What stands around handlers, compiled: a Hook is a callable with what is known of it; a Chain is all hooks of the
# groups that a route lies in, and of the route itself, in the order in which they run.
#
# Immutable, made when the form is: nothing is looked up or put together for a request. The App's own hooks are in no
# Chain: they run for requests without a route, too, and Dispatcher has them.

cimport cython


@cython.final
cdef class Hook:
    """A hook, compiled: the callable, how many arguments it takes, how messages name it, whether it is async. ``left``:
    of an after hook, called with the request where no answer is sent, because its client went away; or None."""
    cdef readonly object call
    cdef readonly str label
    cdef readonly bint is_async
    cdef readonly object left
    cdef int arity

    def __init__(self, call, int arity, str label not None, bint is_async=False, left=None):
        self.call = call
        self.arity = arity
        self.label = label
        self.is_async = is_async
        self.left = left


@cython.final
cdef class Chain:
    """``before``: Hooks, from the outermost group to the route. ``after``: from the route to the outermost group.
    ``errors``: the innermost Hook that makes the bodies of errors, or None: the App's."""
    cdef readonly tuple before
    cdef readonly tuple after
    cdef readonly Hook errors
    cdef readonly bint is_async         # one of them is

    def __init__(self, tuple before not None=(), tuple after not None=(), Hook errors=None):
        self.before = before
        self.after = after
        self.errors = errors
        self.is_async = any([(<Hook?>hook).is_async for hook in before + after])
        if errors is not None and errors.is_async:
            self.is_async = True
