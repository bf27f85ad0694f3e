/* What a connection needs from the operating system and Cython cannot say, or says differently on each platform.
 *
 * Compiles without Python's headers. Nothing here keeps state and nothing here owns anything for longer than a call:
 * a function that makes an fd gives it to its caller, and web_detach_fd is the one place where an fd changes its owner.
 *
 * One contract for operations on non-blocking fds (struct-free, so that a result fits a register):
 *     n > 0            n bytes done (or, for steps without bytes: done)
 *     WEB_END     0    end of stream; never success, never permission
 *     WEB_WANT_READ, WEB_WANT_WRITE   nothing done, ask again when the fd is readable / writable
 *     WEB_FAILED       errno says why
 */
#ifndef WEB_CONN_HELPERS_H
#define WEB_CONN_HELPERS_H

#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1
#endif

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#if defined(__linux__)
#include <linux/sockios.h>
#include <sys/sendfile.h>
#endif
#if defined(__GLIBC__)
#include <malloc.h>
#endif

enum { WEB_UNIX = 1 }; /* the family of Unix sockets in a web_address */
enum { WEB_END = 0, WEB_WANT_READ = -1, WEB_WANT_WRITE = -2, WEB_FAILED = -3 };

#if defined(MSG_NOSIGNAL)
#define WEB_SEND_FLAGS MSG_NOSIGNAL
#else
#define WEB_SEND_FLAGS 0 /* SO_NOSIGPIPE is set on the socket instead */
#endif
#if defined(MSG_MORE)
#define WEB_SEND_MORE MSG_MORE
#else
#define WEB_SEND_MORE 0
#endif

/* Who is at the other end. 20 bytes instead of a sockaddr_storage of 128. */
typedef struct web_address {
    uint8_t ip[16];  /* network order; IPv4 takes the first four */
    uint16_t port;   /* host order */
    uint8_t family;  /* 4, 6, WEB_UNIX, or 0: not known (who resets before he is asked has no address any more) */
} web_address;

/* Moves an fd out of the slot that owned it. The slot is left empty, so no error path can close it a second time.
 * Returns the fd, or -1 where the slot was empty already. */
static inline int web_detach_fd(int *slot) {
    int fd = *slot;
    *slot = -1;
    return fd;
}

/* Closes the fd that a slot owns. EINTR is not tried again: the fd is gone on Linux, and may be another's by then. */
static inline void web_close_fd(int *slot) {
    int fd = web_detach_fd(slot);
    if (fd >= 0) {
        int kept = errno;
        (void)close(fd);
        errno = kept;
    }
}

/* Gives free memory back to the system: glibc keeps what lies between blocks that are still in use. Takes about a
 * millisecond for each 10 MiB. */
static inline void web_trim_memory(void) {
#if defined(__GLIBC__)
    (void)malloc_trim(0);
#endif
}

static inline int64_t web_monotonic_ns(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* The coarse clocks of Linux move with the timer interrupt, by 1 to 10 ms, and cost a tenth of the others. */
#if defined(CLOCK_MONOTONIC_COARSE) && defined(CLOCK_REALTIME_COARSE)
#define WEB_COARSE_MONOTONIC CLOCK_MONOTONIC_COARSE
#define WEB_COARSE_REALTIME CLOCK_REALTIME_COARSE
#else
#define WEB_COARSE_MONOTONIC CLOCK_MONOTONIC
#define WEB_COARSE_REALTIME CLOCK_REALTIME
#endif

static inline int64_t web_coarse_ns(void) {
    struct timespec now;
    (void)clock_gettime(WEB_COARSE_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline int64_t web_unix_seconds(void) {
    struct timespec now;
    (void)clock_gettime(WEB_COARSE_REALTIME, &now);
    return (int64_t)now.tv_sec;
}

/* Non-blocking, close-on-exec, and no SIGPIPE where that is a property of the socket. 1 or -1 (errno). */
static inline int web_prepare_fd(int fd) {
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) return -1;
#if defined(SO_NOSIGPIPE)
    int one = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &one, sizeof one) < 0 && errno != EINVAL) return -1;
#endif
    return 1;
}

/* family: 4 or 6; ip: 4 or 16 bytes. An IPv4 address within IPv6 becomes the IPv4 address that it is. */
static inline void web_set_address(web_address *to, int family, const uint8_t *ip, uint16_t port) {
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    memset(to, 0, sizeof *to);
    to->port = port;
    if (family == 6 && memcmp(ip, mapped, sizeof mapped) == 0) {
        ip += sizeof mapped;
        family = 4;
    }
    memcpy(to->ip, ip, family == 4 ? 4 : 16);
    to->family = (uint8_t)family;
}

static inline void web_read_address(const struct sockaddr_storage *from, web_address *to) {
    memset(to, 0, sizeof *to);
    if (from->ss_family == AF_INET) {
        const struct sockaddr_in *in4 = (const struct sockaddr_in *)from;
        web_set_address(to, 4, (const uint8_t *)&in4->sin_addr, ntohs(in4->sin_port));
    } else if (from->ss_family == AF_INET6) { /* from a dual-stack listener it may be IPv4 */
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)from;
        web_set_address(to, 6, (const uint8_t *)&in6->sin6_addr, ntohs(in6->sin6_port));
    } else if (from->ss_family == AF_UNIX) {
        to->family = WEB_UNIX;
    }
}

/* The bytes of an address that is written out: 1 where it is one. family: 4 or 6. */
static inline int web_inet_pton(int family, const char *text, uint8_t *ip) {
    return inet_pton(family == 4 ? AF_INET : AF_INET6, text, ip);
}

/* Answers are written whole: waiting for more to send only delays them. */
/* A file without a name in a folder, readable and writable for this process only. -1: errno says why. */
static inline int web_open_unlinked(const char *folder) {
    char name[PATH_MAX];
    int fd;
#if defined(O_TMPFILE)
    fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)) return fd; /* the file system can */
#endif
    if (snprintf(name, sizeof name, "%s/weblatch-XXXXXX", folder) >= (int)sizeof name) {
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = mkostemp(name, O_CLOEXEC);
    if (fd >= 0) (void)unlink(name);
    return fd;
}

/* The end of this connection, by web_close_fd, is a reset: nobody takes it for an orderly one. */
static inline void web_reset_on_close(int fd) {
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

static inline void web_no_delay(int fd, const web_address *peer) {
    int one = 1;
    if (peer->family >= 4) (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

/* Takes one waiting connection. The new fd is non-blocking and close-on-exec. -1: errno says why. */
static inline int web_accept(int listener, web_address *peer) {
    struct sockaddr_storage from;
    socklen_t size = sizeof from;
    from.ss_family = AF_UNSPEC;
#if defined(__linux__) || defined(__FreeBSD__) || defined(__NetBSD__) || defined(__OpenBSD__)
    int fd = accept4(listener, (struct sockaddr *)&from, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
#else
    int fd = accept(listener, (struct sockaddr *)&from, &size);
    if (fd >= 0 && web_prepare_fd(fd) < 0) web_close_fd(&fd);
#endif
    if (fd < 0) return -1;
    web_read_address(&from, peer);
    return fd;
}

/* The address of one end of a socket. 1, or -1 (errno). */
static inline int web_socket_address(int fd, int peer, web_address *out) {
    struct sockaddr_storage at;
    socklen_t size = sizeof at;
    at.ss_family = AF_UNSPEC;
    memset(out, 0, sizeof *out);
    if ((peer ? getpeername : getsockname)(fd, (struct sockaddr *)&at, &size) < 0) return -1;
    web_read_address(&at, out);
    return 1;
}

static inline ssize_t web_io_result(ssize_t n, ssize_t blocked) {
    if (n >= 0) return n;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return blocked;
    return WEB_FAILED;
}

static inline ssize_t web_recv(int fd, void *to, size_t count) {
    ssize_t n;
    do n = recv(fd, to, count, 0);
    while (n < 0 && errno == EINTR);
    return web_io_result(n, WEB_WANT_READ);
}

/* Looks at the first bytes without taking them. */
static inline ssize_t web_peek(int fd, void *to, size_t count) {
    ssize_t n;
    do n = recv(fd, to, count, MSG_PEEK);
    while (n < 0 && errno == EINTR);
    return web_io_result(n, WEB_WANT_READ);
}

/* count > 0. more: further bytes follow at once, so a short segment may wait for them. */
static inline ssize_t web_send(int fd, const void *from, size_t count, int more) {
    ssize_t n;
    do n = send(fd, from, count, WEB_SEND_FLAGS | (more ? WEB_SEND_MORE : 0));
    while (n < 0 && errno == EINTR);
    return web_io_result(n, WEB_WANT_WRITE);
}

/* Sends from a file without copying; moves *offset by what was sent. WEB_END: the file ends before offset + count. */
static inline ssize_t web_send_file(int fd, int file, int64_t *offset, size_t count) {
#if defined(__linux__)
    off_t at = (off_t)*offset;
    ssize_t n;
    do n = sendfile(fd, file, &at, count);
    while (n < 0 && errno == EINTR);
    n = web_io_result(n, WEB_WANT_WRITE);
    if (n > 0) *offset += n;
    return n;
#else /* the BSDs report what was sent beside EAGAIN and EINTR */
    off_t sent = 0;
    int rc;
#if defined(__APPLE__)
    sent = (off_t)count;
    rc = sendfile(file, fd, (off_t)*offset, &sent, NULL, 0);
#else
    rc = sendfile(file, fd, (off_t)*offset, count, NULL, &sent, 0);
#endif
    if (sent > 0) {
        *offset += sent;
        return (ssize_t)sent;
    }
    if (rc == 0) return WEB_END;
    return errno == EINTR ? WEB_WANT_WRITE : web_io_result(-1, WEB_WANT_WRITE);
#endif
}

/* Reads at an offset without moving the file's position. WEB_END: the file ends there. */
static inline ssize_t web_read_file(int file, void *to, size_t count, int64_t offset) {
    ssize_t n;
    do n = pread(file, to, count, (off_t)offset);
    while (n < 0 && errno == EINTR);
    return n < 0 ? WEB_FAILED : n;
}

/* Bytes that were handed to the socket and that the peer has not acknowledged; 0 where the system does not tell. */
static inline int64_t web_unacknowledged(int fd) {
    int count = 0;
#if defined(SIOCOUTQ)
    if (ioctl(fd, SIOCOUTQ, &count) < 0) count = 0;
#elif defined(SO_NWRITE)
    socklen_t size = sizeof count;
    if (getsockopt(fd, SOL_SOCKET, SO_NWRITE, &count, &size) < 0) count = 0;
#elif defined(FIONWRITE)
    if (ioctl(fd, FIONWRITE, &count) < 0) count = 0;
#else
    (void)fd;
#endif
    return count;
}

/* The address as text ("192.0.2.1", "2001:db8::1"); out holds at least INET6_ADDRSTRLEN bytes. */
static inline const char *web_address_text(const web_address *a, char *out) {
    if (a->family < 4) return NULL;
    return inet_ntop(a->family == 4 ? AF_INET : AF_INET6, a->ip, out, INET6_ADDRSTRLEN);
}

/* Connections are counted by source: an IPv4 address, or the /64 of an IPv6 address (one host has a whole /64).
 * All Unix sockets are one source. */
static inline uint64_t web_source_key(const web_address *a) {
    uint64_t key = 0;
    if (a->family == 4) {
        memcpy(&key, a->ip, 4);
        return key | (UINT64_C(1) << 63) | (UINT64_C(1) << 40); /* no /64 in use today looks like this */
    }
    if (a->family == 6) memcpy(&key, a->ip, 8);
    return key;
}

#endif
