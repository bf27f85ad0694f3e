# Errors that the framework answers: a Fault is one for which it is still open who makes the body.
#
# Dispatcher makes Faults and has them settled: by the function of errors() that is innermost for the request, if there
# is one, else as built in: problem+json for clients that prefer JSON (RFC 9457), a page with the traceback for browsers
# where dev is set, a line of text for all others. The fields that belong to the error itself (Allow, Retry-After, what
# HTTPError has) stay, whoever makes the body.

cimport cython

from traceback import format_exception as _format_exception

from web.errors import reason_phrase as _reason_phrase
from web.problems import hint as _hint, kind_of_body as _kind_of_body
from web.problems import problem as _problem, traceback_page as _traceback_page

cdef bytes _PROBLEM_LINE = b"Content-Type: application/problem+json\r\n"
cdef bytes _VARY_LINE = b"Vary: Accept\r\n"


@cython.final
@cython.freelist(8)
cdef class Fault:
    """An error before it is a Response."""
    cdef int status
    cdef str reason             # what was wrong, for the client; None: no more than the status says
    cdef str text               # the whole body as text
    cdef bytes lines            # fields of the error itself
    cdef object error           # what nobody expected: shown to the client where dev is set; else None


cdef Fault _make_fault(int status, str reason, bytes lines):
    cdef Fault fault = <Fault>Fault.__new__(Fault)
    fault.status = status
    fault.reason = reason
    fault.text = _reason_phrase(status) if reason is None else f"{_reason_phrase(status)}: {reason}"
    fault.lines = lines
    return fault


cdef object _http_error_outcome(object error):
    """The Fault of an HTTPError; a Response where it names a Content-Type, because then its detail is a body. Raises
    where the application has put into it what cannot be sent."""
    cdef Fault fault
    cdef bytes lines = _NO_LINES if error.headers is None else _with_lines(_NO_LINES, error.headers)
    cdef int status = error.status
    cdef str detail = <str?>error.detail
    if not 400 <= status <= 599:
        raise ValueError(f"HTTPError: status {status}: an error's status is 400 to 599")
    if "content-type" in headers_from(PyBytes_AS_STRING(lines), 0, PyBytes_GET_SIZE(lines)):
        return _make_response(detail.encode("utf-8", "replace"), lines, status, None)
    fault = _make_fault(status, None if detail == _reason_phrase(status) else detail, lines)
    fault.text = detail
    return fault


cdef Response _built_in(Request request, Fault fault, bint dev):
    """The answer where no errors() makes it. ``request`` None: nothing was parsed, and nobody said what is accepted."""
    cdef bint shown = dev and fault.error is not None
    cdef str kind = "text"
    cdef str text, reason = fault.reason
    cdef bytes lines = fault.lines
    if request is not None and request.head != NULL:
        lines = _VARY_LINE + lines
        if request.header("accept") is not None:
            kind = _kind_of_body(request.headers.get_all("accept"), html=shown)
    if kind == "html":
        text = _traceback_page(fault.error, request.method, request.raw_path)
        return _make_response(text.encode("utf-8", "backslashreplace"), _HTML_LINE + lines, fault.status, None)
    text = fault.text
    if shown:
        reason = text = "".join(_format_exception(fault.error))
    elif dev and reason is not None and text != reason:     # not an HTTPError, whose detail is the whole text
        reason += _hint(fault.status)
        text += _hint(fault.status)
    if kind == "json":
        return _make_response(_problem(fault.status, reason), _PROBLEM_LINE + lines, fault.status, None)
    return _make_response(text.encode("utf-8", "backslashreplace" if shown else "replace"), _TEXT_LINE + lines,
                          fault.status, None)


cdef Response _with_missing_lines(Response response, bytes lines):
    """A copy with those of the lines whose field it does not have."""
    cdef Response copy
    cdef bytes head = response._head
    for name, value in headers_from(PyBytes_AS_STRING(lines), 0, PyBytes_GET_SIZE(lines)).items():
        if name not in response.headers:
            head = head + _field_line(name, value)
    copy = response._copy()
    copy._head = head
    return copy
