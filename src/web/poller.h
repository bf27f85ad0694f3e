/* The poller: epoll on Linux, kqueue on macOS and the BSDs, the same few functions over each.
 *
 * It only wraps system calls. Who owns which fd, what is dispatched to whom and when is the loop's business (Cython).
 * Level-triggered: an outer loop may watch web_poller.fd itself (a nested edge-triggered fd that was partly read stays
 * silent for ever). It holds a timer and a wake-up, so that its fd is readable exactly when there is work to do.
 *
 * Results: 1 done, -1 failed (errno); web_poller_wait gives the number of events. Compiles without Python's headers.
 * An fd is removed before it is closed: a forked child that closes first would leave it registered with its parent.
 */
#ifndef WEB_POLLER_H
#define WEB_POLLER_H

#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1
#endif

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

/* WEB_READ      bytes came, or the end of what the peer sends
 * WEB_ENDED     that end alone; it is told with WEB_READ, too
 * WEB_HANGUP    the connection is no more; always told. Asked for alone: nothing else is */
enum { WEB_READ = 1, WEB_WRITE = 2, WEB_HANGUP = 4, WEB_ENDED = 8 };

typedef struct web_event {
    void *data;
    unsigned what; /* WEB_... */
} web_event;

typedef struct web_poller {
    int fd;
    int timer_fd;  /* epoll only */
    int wake_fd;   /* epoll only */
    int timer_due; /* set by web_poller_wait: the timer ran out */
    int woken;     /* set by web_poller_wait: web_poller_wake was called */
} web_poller;

#if defined(__linux__)

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>

static inline uint32_t web_poller_bits(unsigned want) {
    return ((want & WEB_READ) ? EPOLLIN : 0) | ((want & (WEB_READ | WEB_ENDED)) ? EPOLLRDHUP : 0) |
           ((want & WEB_WRITE) ? EPOLLOUT : 0);
}

static inline int web_poller_control(web_poller *p, int op, int fd, void *data, unsigned want) {
    struct epoll_event event;
    memset(&event, 0, sizeof event);
    event.events = web_poller_bits(want);
    event.data.ptr = data;
    return epoll_ctl(p->fd, op, fd, &event) < 0 ? -1 : 1;
}

static inline int web_poller_add(web_poller *p, int fd, void *data, unsigned want) {
    return web_poller_control(p, EPOLL_CTL_ADD, fd, data, want);
}

static inline int web_poller_change(web_poller *p, int fd, void *data, unsigned had, unsigned want) {
    (void)had;
    return web_poller_control(p, EPOLL_CTL_MOD, fd, data, want);
}

static inline int web_poller_remove(web_poller *p, int fd, unsigned had) {
    (void)had;
    return web_poller_control(p, EPOLL_CTL_DEL, fd, NULL, 0);
}

static inline void web_poller_close(web_poller *p) {
    if (p->wake_fd >= 0) (void)close(p->wake_fd);
    if (p->timer_fd >= 0) (void)close(p->timer_fd);
    if (p->fd >= 0) (void)close(p->fd);
    p->fd = p->timer_fd = p->wake_fd = -1;
}

static inline int web_poller_open(web_poller *p) {
    memset(p, 0, sizeof *p);
    p->timer_fd = p->wake_fd = -1;
    p->fd = epoll_create1(EPOLL_CLOEXEC);
    if (p->fd >= 0) p->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (p->timer_fd >= 0) p->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (p->wake_fd >= 0 && web_poller_add(p, p->timer_fd, &p->timer_fd, WEB_READ) > 0 &&
        web_poller_add(p, p->wake_fd, &p->wake_fd, WEB_READ) > 0)
        return 1;
    int why = errno;
    web_poller_close(p);
    errno = why;
    return -1;
}

/* Sets the timer to a moment of CLOCK_MONOTONIC (ns, > 0); it runs out once. */
static inline int web_poller_set_timer(web_poller *p, int64_t at_ns) {
    struct itimerspec spec;
    memset(&spec, 0, sizeof spec);
    spec.it_value.tv_sec = at_ns / 1000000000;
    spec.it_value.tv_nsec = at_ns % 1000000000;
    return timerfd_settime(p->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL) < 0 ? -1 : 1;
}

/* Makes a wait return, this one or the next. From any thread, and from a signal handler. */
static inline int web_poller_wake(web_poller *p) {
    uint64_t one = 1;
    return write(p->wake_fd, &one, sizeof one) < 0 && errno != EAGAIN ? -1 : 1;
}

/* Waits up to timeout_ms (-1: for ever). At most 64 events, 0 for none or a signal; -1: failed. */
static inline int web_poller_wait(web_poller *p, web_event *out, int timeout_ms) {
    struct epoll_event events[64];
    int found = epoll_wait(p->fd, events, 64, timeout_ms), kept = 0;
    p->timer_due = p->woken = 0;
    /* SIGCONT interrupts it, too (signal(7)): what came while the process was suspended is heard before deadlines are */
    while (found < 0 && errno == EINTR) found = epoll_wait(p->fd, events, 64, 0);
    if (found < 0) return -1;
    for (int i = 0; i < found; i++) {
        uint64_t count;
        uint32_t bits = events[i].events;
        if (events[i].data.ptr == &p->timer_fd) {
            p->timer_due = read(p->timer_fd, &count, sizeof count) > 0;
        } else if (events[i].data.ptr == &p->wake_fd) {
            p->woken = read(p->wake_fd, &count, sizeof count) > 0;
        } else {
            out[kept].data = events[i].data.ptr;
            out[kept].what = ((bits & EPOLLIN) ? WEB_READ : 0) | ((bits & EPOLLOUT) ? WEB_WRITE : 0) |
                             ((bits & EPOLLRDHUP) ? WEB_ENDED : 0) |
                             ((bits & (EPOLLHUP | EPOLLERR)) ? WEB_HANGUP : 0);
            kept++;
        }
    }
    return kept;
}

#else /* kqueue */

#include <sys/types.h>
#include <sys/event.h>
#include <sys/time.h>
#include <time.h>

enum { WEB_KQUEUE_TIMER = 1, WEB_KQUEUE_WAKE = 2 };

static inline int web_poller_change(web_poller *p, int fd, void *data, unsigned had, unsigned want) {
    struct kevent changes[2];
    int n = 0;
    unsigned reads = want & (WEB_READ | WEB_ENDED), read_before = had & (WEB_READ | WEB_ENDED);
    if (reads != read_before) {
        /* for the end alone: a low-water mark that is never reached */
        unsigned flags = reads == WEB_ENDED ? NOTE_LOWAT : 0;
        EV_SET(&changes[n++], fd, EVFILT_READ, reads ? EV_ADD : EV_DELETE, flags, reads == WEB_ENDED ? INT_MAX : 1, data);
    }
    if ((had ^ want) & WEB_WRITE)
        EV_SET(&changes[n++], fd, EVFILT_WRITE, (want & WEB_WRITE) ? EV_ADD : EV_DELETE, 0, 0, data);
    return n > 0 && kevent(p->fd, changes, n, NULL, 0, NULL) < 0 ? -1 : 1;
}

static inline int web_poller_add(web_poller *p, int fd, void *data, unsigned want) {
    return web_poller_change(p, fd, data, 0, want);
}

static inline int web_poller_remove(web_poller *p, int fd, unsigned had) {
    return web_poller_change(p, fd, NULL, had, 0);
}

static inline void web_poller_close(web_poller *p) {
    if (p->fd >= 0) (void)close(p->fd);
    p->fd = -1;
}

static inline int web_poller_open(web_poller *p) {
    struct kevent wake;
    memset(p, 0, sizeof *p);
    p->timer_fd = p->wake_fd = -1;
    p->fd = kqueue();
    if (p->fd < 0) return -1;
    EV_SET(&wake, WEB_KQUEUE_WAKE, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
    if (kevent(p->fd, &wake, 1, NULL, 0, NULL) == 0) return 1;
    int why = errno;
    web_poller_close(p);
    errno = why;
    return -1;
}

static inline int web_poller_set_timer(web_poller *p, int64_t at_ns) {
    struct kevent timer;
    struct timespec now;
    int64_t left;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    left = at_ns - ((int64_t)now.tv_sec * 1000000000 + now.tv_nsec);
    if (left < 0) left = 0;
    /* milliseconds, rounded up: the unit that every kqueue has */
    EV_SET(&timer, WEB_KQUEUE_TIMER, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, (left + 999999) / 1000000, NULL);
    return kevent(p->fd, &timer, 1, NULL, 0, NULL) < 0 ? -1 : 1;
}

static inline int web_poller_wake(web_poller *p) {
    struct kevent wake;
    EV_SET(&wake, WEB_KQUEUE_WAKE, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
    return kevent(p->fd, &wake, 1, NULL, 0, NULL) < 0 ? -1 : 1;
}

static inline int web_poller_wait(web_poller *p, web_event *out, int timeout_ms) {
    struct kevent events[64];
    struct timespec limit = {timeout_ms / 1000, (timeout_ms % 1000) * 1000000L};
    int found = kevent(p->fd, NULL, 0, events, 64, timeout_ms < 0 ? NULL : &limit), kept = 0;
    p->timer_due = p->woken = 0;
    if (found < 0) return errno == EINTR ? 0 : -1;
    for (int i = 0; i < found; i++) {
        if (events[i].filter == EVFILT_TIMER) {
            p->timer_due = 1;
        } else if (events[i].filter == EVFILT_USER) {
            p->woken = 1;
        } else {
            /* EV_EOF on the read filter is a half-close; on the write filter nobody reads any more */
            int writing = events[i].filter == EVFILT_WRITE;
            out[kept].data = (void *)events[i].udata;
            out[kept].what = writing ? WEB_WRITE : WEB_READ;
            if (!writing && (events[i].flags & EV_EOF)) out[kept].what |= WEB_ENDED;
            if ((events[i].flags & EV_ERROR) || (writing && (events[i].flags & EV_EOF))) out[kept].what |= WEB_HANGUP;
            kept++;
        }
    }
    return kept;
}

#endif
#endif
