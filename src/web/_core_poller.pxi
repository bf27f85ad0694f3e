# The operating system as the core sees it: the declarations of conn_helpers.h, poller.h, file_helpers.h and a little of
# libc.

cdef extern from "conn_helpers.h" nogil:
    enum:
        WEB_END
        WEB_WANT_READ
        WEB_WANT_WRITE
        WEB_FAILED
        WEB_UNIX

    ctypedef struct web_address:
        uint8_t* ip
        uint16_t port
        uint8_t family

    int web_detach_fd(int* slot)
    void web_close_fd(int* slot)
    void web_trim_memory()
    int64_t web_monotonic_ns()
    int64_t web_coarse_ns()
    int64_t web_unix_seconds()
    int web_prepare_fd(int fd)
    void web_reset_on_close(int fd)
    int web_open_unlinked(const char* folder)
    void web_no_delay(int fd, const web_address* peer)
    int web_accept(int listener, web_address* peer)
    int web_socket_address(int fd, int peer, web_address* out)
    Py_ssize_t web_recv(int fd, void* to, size_t count)
    Py_ssize_t web_peek(int fd, void* to, size_t count)
    Py_ssize_t web_send(int fd, const void* data, size_t count, int more)
    Py_ssize_t web_send_file(int fd, int file, int64_t* offset, size_t count)
    Py_ssize_t web_read_file(int file, void* to, size_t count, int64_t offset)
    const char* web_address_text(const web_address* address, char* out)
    void web_set_address(web_address* to, int family, const uint8_t* ip, uint16_t port)
    int web_inet_pton(int family, const char* text, uint8_t* ip)
    int64_t web_unacknowledged(int fd)
    uint64_t web_source_key(const web_address* address)

cdef extern from "poller.h" nogil:
    enum:
        WEB_READ
        WEB_WRITE
        WEB_HANGUP
        WEB_ENDED

    ctypedef struct web_event:
        void* data
        unsigned what

    ctypedef struct web_poller:
        int fd
        int timer_fd
        int wake_fd
        int timer_due
        int woken

    int web_poller_open(web_poller* p)
    void web_poller_close(web_poller* p)
    int web_poller_add(web_poller* p, int fd, void* data, unsigned want)
    int web_poller_change(web_poller* p, int fd, void* data, unsigned had, unsigned want)
    int web_poller_remove(web_poller* p, int fd, unsigned had)
    int web_poller_set_timer(web_poller* p, int64_t at_ns)
    int web_poller_wake(web_poller* p)
    int web_poller_wait(web_poller* p, web_event* out, int timeout_ms)

cdef extern from "sys/socket.h" nogil:
    enum:
        SHUT_WR
    int c_shutdown "shutdown" (int fd, int how)

cdef extern from "netinet/in.h" nogil:
    enum:
        INET6_ADDRSTRLEN

cdef enum:
    WEB_EVENTS = 64         # as many as one web_poller_wait gives

cdef extern from "file_helpers.h" nogil:
    enum:
        WEB_IS_FILE
        WEB_IS_FOLDER

    ctypedef struct web_file_mark:
        int64_t size
        int64_t modified_ns
        int64_t changed_ns

    int web_mark_path(const char* path, web_file_mark* mark)
    int web_mark_target(const char* path, web_file_mark* mark)
    int web_mark_fd(int fd, web_file_mark* mark)
    bint web_same_mark(const web_file_mark* a, const web_file_mark* b)
    int64_t web_mark_age_ns(const web_file_mark* mark)
