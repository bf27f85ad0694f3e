# Answers whose body is a file: opening it, saying its validators, and the pieces of it that are sent.
#
# The file is opened when the answer is written, after all hooks: its validators are those of what is sent, because they
# come from the fd. Where the client set conditions they were judged by the path (conditional), so the file may be
# another one by now: then all of it is sent.
#
# Ownership: the fd is answer_file's until the last segment of the answer takes it over.

from libc.errno cimport EACCES, EINTR, ELOOP, EMFILE, ENAMETOOLONG, ENFILE, ENOENT, ENOTDIR, EPERM, errno


cdef int file_open(const char* path, int* fd, web_file_mark* mark) noexcept nogil:
    """Opens the file that is the body: 1, and the caller owns *fd; or -(status) and nothing is open.

    -404 no such regular file; -403 not readable for this process; -503 out of file descriptors; -500 anything else.
    O_NONBLOCK: opening a named pipe must not wait for its writer.
    """
    fd[0] = posix_open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
    while fd[0] < 0 and errno == EINTR:
        fd[0] = posix_open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
    if fd[0] < 0:
        return _open_status(errno)
    if web_mark_fd(fd[0], mark) != WEB_IS_FILE:
        web_close_fd(fd)
        return -404
    return 1


cdef int _open_status(int error) noexcept nogil:
    """errno of open() as -(status)."""
    if error == ENOENT or error == ENOTDIR or error == ELOOP or error == ENAMETOOLONG:
        return -404
    if error == EACCES or error == EPERM:
        return -403
    if error == EMFILE or error == ENFILE:
        return -503
    return -500


cdef int answer_file(Loop loop, Connection c, Request request, Response response) except? -1:
    """Queues a response whose body is a file: what answer_write gives."""
    cdef web_file_mark mark
    cdef int file[1]
    cdef int opened = file_open(response.file_name, file, &mark)
    if opened < 0:
        # a file that is missing when it is to be sent is a 404, one that cannot be read is our own fault
        response = loop.dispatcher.error(
            request, -opened, "the file is not there" if opened == -404 else "the file cannot be read")
        if response.file_name == NULL:
            return answer_write(loop, c, request, response)
        if file_open(response.file_name, file, &mark) < 0:
            return answer_without_request(loop, c.http, 500, NULL)
    try:
        if response._parts is not None:
            if web_same_mark(&mark, &response._parts.mark):
                return answer_parts(loop, c, response, file)
            response = response._parts.whole
        if response.status == 200:
            response = response.with_lines(validator_lines(response, &mark))
        if answer_head(loop, c, response, FRAME_LENGTH, mark.size) < 0:
            return WEB_FAILED
        if c.http.head.method == METHOD_HEAD or mark.size == 0:
            return 1
        return answer_piece(loop, c, file, 0, mark.size, True)
    finally:
        web_close_fd(file)


cdef int answer_parts(Loop loop, Connection c, Response response, int* file) noexcept:
    """Queues some parts of a file: 1, or WEB_FAILED without memory."""
    cdef _FileParts parts = response._parts
    cdef Py_ssize_t count = PyList_GET_SIZE(parts.offsets)
    cdef Py_ssize_t i = 0
    if answer_head(loop, c, response, FRAME_LENGTH, parts.length) < 0:
        return WEB_FAILED
    while i < count:
        if parts.heads is not None and answer_bytes(loop, c, <bytes>parts.heads[i]) < 0:
            return WEB_FAILED
        if answer_piece(loop, c, file, parts.offsets[i], parts.lengths[i], i == count - 1) < 0:
            return WEB_FAILED
        i += 1
    return 1 if parts.heads is None else answer_bytes(loop, c, parts.tail)


cdef int answer_piece(Loop loop, Connection c, int* file, int64_t offset, int64_t length, bint last) noexcept nogil:
    """Queues a piece of a file; the last one takes the fd over."""
    cdef Segment* segment = segment_take(loop, &c.http.out)
    if segment == NULL:
        return WEB_FAILED
    segment.lent = not last
    segment.file = web_detach_fd(file) if last else file[0]
    segment.offset = offset
    segment.file_left = length
    return 1


cdef int answer_bytes(Loop loop, Connection c, bytes data) noexcept:
    """Queues a copy of a few bytes, one at least."""
    cdef size_t length = PyBytes_GET_SIZE(data)
    cdef char* start = output_reserve(loop, &c.http.out, length)
    if start == NULL:
        return WEB_FAILED
    memcpy(start, PyBytes_AS_STRING(data), length)
    output_commit(loop, &c.http.out, length)
    return 1
