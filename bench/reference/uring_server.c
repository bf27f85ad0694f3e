/* The other limit: what one io_uring loop in C costs per request, on one thread. The counterpart of epoll_server.c without TLS.
 *
 * It answers every "...\r\n\r\n" that it receives with the same bytes and checks nothing else: no routes, no limits, no
 * deadlines. It exists to be compared with, never to be used.
 *
 * A connection is: the end-of-head characters seen so far, the bytes still owed, and which operations the kernel has under way:
 * at most one recv (or poll) and one send. It is freed when it is over and both are back. While more than a block is owed,
 * nothing more is read: a recv is not begun again, a multishot one is cancelled. All answers are equal: see epoll_server.c.
 *
 * Who owns what: a connection's descriptor (with -f a place in the ring's table, and no descriptor) is the connection's until
 * the CLOSE is submitted. The block is never changed, so sends share it. A plain recv writes into the connection's own buffer,
 * at any time until it is back; with -m the buffers are the kernel's while they lie in the buffer ring, and ours from a
 * recv's completion until give_back().
 *
 *   uring_server -p PORT [-a ANSWER_FILE] [-w | -m | -r] [-c | -d | -s CPU] [-f]     Linux 6.1, cc -O2
 *     -w: recv waits for readiness first, without a try.        -m: recv is multishot, its buffers come from a ring.
 *     -r: readiness only: multishot poll, then recv(2), send(2), as OpenSSL would need it.
 *     -c: COOP_TASKRUN.   -d: SINGLE_ISSUER, DEFER_TASKRUN.     -s: SQPOLL, the kernel's thread on that CPU.
 *     -f: direct descriptors, and the ring's own descriptor is registered.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "fixed.h"

enum { SUBMISSIONS = 1024, COMPLETIONS = 16384, BUFFERS = 256, BUFFER_BYTES = 4096, FILES = 16384 };
enum { ACCEPT, RECV, SEND, READABLE, WRITABLE, CANCEL, CLOSE, KIND = 7 }; /* low bits of user_data; the others are the Conn */

typedef struct {
    int fd;
    Asked asked;
    unsigned int receiving, sending, cancelling, over;
    size_t owed;
    char in[]; /* BUFFER_BYTES, or nothing when there is a ring of buffers */
} Conn;

static int listener, wait_first, multishot, readiness, direct, sqpoll;

static int ring;
static unsigned int enter_flags, sq_tail; /* sq_tail: ours, the kernel sees it from enter() on */
static unsigned int *sq_khead, *sq_ktail, *sq_kflags, *cq_khead, *cq_ktail;
static struct io_uring_sqe *sqes;
static struct io_uring_cqe *cqes;
static struct io_uring_buf_ring *buffer_ring;
static char (*buffers)[BUFFER_BYTES];

static void die(const char *what) {
    fprintf(stderr, "uring_server: %s: %s\n", what, errno ? strerror(errno) : "failed");
    exit(1);
}

static void enter(unsigned int wait) {
    unsigned int flags = enter_flags | (wait ? IORING_ENTER_GETEVENTS : 0);
    __atomic_store_n(sq_ktail, sq_tail, __ATOMIC_RELEASE);
    unsigned int ready = sq_tail - __atomic_load_n(sq_khead, __ATOMIC_ACQUIRE);
    if (sqpoll) { /* its thread takes what is ready, unless it sleeps */
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        if (__atomic_load_n(sq_kflags, __ATOMIC_ACQUIRE) & IORING_SQ_NEED_WAKEUP) flags |= IORING_ENTER_SQ_WAKEUP;
        else if (wait && *cq_khead != __atomic_load_n(cq_ktail, __ATOMIC_ACQUIRE)) return;
        if (!wait) flags |= IORING_ENTER_SQ_WAIT;
    }
    if (syscall(SYS_io_uring_enter, ring, ready, wait, flags, NULL, 0) < 0 && errno != EINTR) die("io_uring_enter");
}

static struct io_uring_sqe *push(unsigned int opcode, int fd, const void *owner, unsigned int kind) {
    while (sq_tail - __atomic_load_n(sq_khead, __ATOMIC_ACQUIRE) == SUBMISSIONS) enter(0);
    struct io_uring_sqe *s = &sqes[sq_tail++ % SUBMISSIONS];
    *s = (struct io_uring_sqe){.opcode = (unsigned char)opcode, .fd = fd, .user_data = (uintptr_t)owner | kind};
    if (direct && (kind == RECV || kind == SEND)) s->flags = IOSQE_FIXED_FILE;
    return s;
}

static void push_accept(void) {
    struct io_uring_sqe *s = push(IORING_OP_ACCEPT, listener, NULL, ACCEPT);
    s->ioprio = IORING_ACCEPT_MULTISHOT;
    if (direct) s->file_index = IORING_FILE_INDEX_ALLOC;
    else s->accept_flags = SOCK_CLOEXEC;
}

static void push_recv(Conn *c) {
    struct io_uring_sqe *s = push(IORING_OP_RECV, c->fd, c, RECV);
    if (wait_first) s->ioprio = IORING_RECVSEND_POLL_FIRST;
    if (multishot) s->ioprio = IORING_RECV_MULTISHOT, s->flags |= IOSQE_BUFFER_SELECT;
    else s->addr = (uintptr_t)c->in, s->len = BUFFER_BYTES;
    c->receiving = 1;
}

static void push_poll(Conn *c, unsigned int kind) {
    struct io_uring_sqe *s = push(IORING_OP_POLL_ADD, c->fd, c, kind);
    s->poll32_events = kind == READABLE ? POLLIN | POLLRDHUP : POLLOUT; /* a big-endian machine wants the halves swapped */
    s->len = kind == READABLE ? IORING_POLL_ADD_MULTI : 0;
    *(kind == READABLE ? &c->receiving : &c->sending) = 1;
}

static void push_send(Conn *c) {
    size_t len;
    struct io_uring_sqe *s = push(IORING_OP_SEND, c->fd, c, SEND);
    s->addr = (uintptr_t)next_bytes(c->owed, &len);
    s->len = (unsigned int)len;
    s->msg_flags = MSG_NOSIGNAL;
    c->sending = 1;
}

/* Its own completion tells nothing that the cancelled operation's does not. */
static void push_cancel(Conn *c, unsigned int kind) {
    push(IORING_OP_ASYNC_CANCEL, -1, NULL, CANCEL)->addr = (uintptr_t)c | kind;
    c->cancelling = 1;
}

static void drop(Conn *c) {
    struct io_uring_sqe *s = push(IORING_OP_CLOSE, direct ? 0 : c->fd, NULL, CLOSE);
    if (direct) s->file_index = (unsigned int)c->fd + 1;
    s->flags = IOSQE_CQE_SKIP_SUCCESS;
    free(c);
}

/* Begins what the connection's state asks for, or ends it. */
static void go_on(Conn *c) {
    if (c->owed && !c->sending) push_send(c);
    if (c->over) {
        if (!c->sending && !c->receiving) drop(c);
    } else if (!c->receiving && c->owed <= BLOCK_BYTES) {
        push_recv(c);
    } else if (multishot && c->owed > BLOCK_BYTES && c->receiving && !c->cancelling) {
        push_cancel(c, RECV);
    }
}

static void give_back(unsigned int number) {
    static unsigned short tail;
    struct io_uring_buf *b = &buffer_ring->bufs[tail % BUFFERS];
    b->addr = (uintptr_t)buffers[number];
    b->len = BUFFER_BYTES;
    b->bid = (unsigned short)number;
    __atomic_store_n(&buffer_ring->tail, ++tail, __ATOMIC_RELEASE);
}

static void on_recv(Conn *c, const struct io_uring_cqe *e) {
    unsigned int number = e->flags >> IORING_CQE_BUFFER_SHIFT, lent = e->flags & IORING_CQE_F_BUFFER;
    if (!(c->receiving = e->flags & IORING_CQE_F_MORE)) c->cancelling = 0;
    if (e->res > 0) c->owed += answer_len * count_requests(&c->asked, lent ? buffers[number] : c->in, (size_t)e->res);
    else if (e->res != -ENOBUFS && e->res != -ECANCELED) c->over = 1;
    if (lent) give_back(number);
    go_on(c);
}

static void on_send(Conn *c, int n) {
    c->sending = 0;
    if (n >= 0) c->owed -= (size_t)n;
    else c->over = 1, c->owed = 0; /* the connection was reset, which ends its recv too */
    go_on(c);
}

/* With -r. The poll reports changes only: a full buffer, an end in the events, or a wait in between asks for another recv. */
static void turn(Conn *c, unsigned int kind, const struct io_uring_cqe *e) {
    static char in[BUFFER_BYTES];
    int all = kind == WRITABLE || e->res & (POLLRDHUP | POLLHUP | POLLERR);
    ssize_t n, got = BUFFER_BYTES;
    if (e->res < 0 && e->res != -ECANCELED) errno = -e->res, die("poll");
    if (kind == WRITABLE) c->sending = 0;
    else c->receiving = e->flags & IORING_CQE_F_MORE;
    while (!c->over && !c->sending) {
        if (c->owed) {
            size_t len;
            const char *bytes = next_bytes(c->owed, &len);
            n = send(c->fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (n >= 0) c->owed -= (size_t)n;
            else if (errno == EAGAIN) push_poll(c, WRITABLE);
            else c->over = 1;
        } else if (got == BUFFER_BYTES || all) {
            got = recv(c->fd, in, BUFFER_BYTES, MSG_DONTWAIT);
            if (got < 0 && errno == EAGAIN) break;
            if (got > 0) c->owed = answer_len * count_requests(&c->asked, in, (size_t)got);
            else c->over = 1;
        } else {
            break;
        }
    }
    if (c->over && c->receiving && !c->cancelling) push_cancel(c, READABLE);
    if (!c->over && !c->receiving) push_poll(c, READABLE);
    else if (!c->receiving) drop(c);
}

static void on_accept(const struct io_uring_cqe *e) {
    if (!(e->flags & IORING_CQE_F_MORE)) push_accept();
    if (e->res < 0) {
        errno = -e->res;
        if (errno != ECONNABORTED) die("accept");
        return;
    }
    Conn *c = calloc(1, sizeof *c + (multishot || readiness ? 0 : BUFFER_BYTES));
    if (!c) die("calloc");
    c->fd = e->res;
    if (readiness) push_poll(c, READABLE);
    else push_recv(c);
}

static void *map(size_t bytes, int fd, off_t offset) {
    int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED | MAP_POPULATE;
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, offset);
    if (p == MAP_FAILED) die("mmap");
    return p;
}

static int ring_register(unsigned int what, void *with, unsigned int number) {
    return (int)syscall(SYS_io_uring_register, ring, what, with, number);
}

static void open_ring(unsigned int flags, unsigned int cpu) {
    struct io_uring_params p = {.flags = flags | IORING_SETUP_CQSIZE, .cq_entries = COMPLETIONS, .sq_thread_cpu = cpu};
    if ((ring = (int)syscall(SYS_io_uring_setup, SUBMISSIONS, &p)) < 0) die("io_uring_setup");
    errno = 0;
    if (!(p.features & IORING_FEAT_SINGLE_MMAP) || !(p.features & IORING_FEAT_NODROP)) die("the kernel is too old");
    char *rings = map(p.sq_off.array + p.sq_entries * sizeof(int), ring, IORING_OFF_SQ_RING); /* the array is its last part */
    sqes = map(p.sq_entries * sizeof *sqes, ring, IORING_OFF_SQES);
    cqes = (struct io_uring_cqe *)(rings + p.cq_off.cqes);
    sq_khead = (unsigned int *)(rings + p.sq_off.head), sq_ktail = (unsigned int *)(rings + p.sq_off.tail);
    sq_kflags = (unsigned int *)(rings + p.sq_off.flags);
    cq_khead = (unsigned int *)(rings + p.cq_off.head), cq_ktail = (unsigned int *)(rings + p.cq_off.tail);
    for (unsigned int i = 0; i < SUBMISSIONS; i++) ((unsigned int *)(rings + p.sq_off.array))[i] = i;
}

static void register_all(void) {
    if (multishot) {
        buffers = map(sizeof *buffers * BUFFERS, -1, 0);
        buffer_ring = map(sizeof(struct io_uring_buf) * BUFFERS, -1, 0);
        struct io_uring_buf_reg r = {.ring_addr = (uintptr_t)buffer_ring, .ring_entries = BUFFERS};
        if (ring_register(IORING_REGISTER_PBUF_RING, &r, 1)) die("IORING_REGISTER_PBUF_RING");
        for (unsigned int i = 0; i < BUFFERS; i++) give_back(i);
    }
    if (direct) {
        struct rlimit most;
        if (getrlimit(RLIMIT_NOFILE, &most)) die("getrlimit");
        struct io_uring_rsrc_register files = {.nr = most.rlim_cur < FILES ? (unsigned int)most.rlim_cur : FILES};
        files.flags = IORING_RSRC_REGISTER_SPARSE;
        if (ring_register(IORING_REGISTER_FILES2, &files, sizeof files)) die("IORING_REGISTER_FILES2");
        struct io_uring_rsrc_update own = {.offset = ~0U, .data = (unsigned int)ring};
        if (ring_register(IORING_REGISTER_RING_FDS, &own, 1) != 1) die("IORING_REGISTER_RING_FDS");
        ring = (int)own.offset;
        enter_flags = IORING_ENTER_REGISTERED_RING;
    }
}

int main(int argc, char **argv) {
    const char *answer = NULL;
    unsigned int flags = 0, cpu = 0;
    int port = 0, one = 1;
    for (int o; (o = getopt(argc, argv, "p:a:wmrcds:f")) != -1;) {
        if (o == 'p') port = atoi(optarg);
        else if (o == 'a') answer = optarg;
        else if (o == 'w') wait_first = 1;
        else if (o == 'm') multishot = 1;
        else if (o == 'r') readiness = 1;
        else if (o == 'c') flags |= IORING_SETUP_COOP_TASKRUN;
        else if (o == 'd') flags |= IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
        else if (o == 's') sqpoll = 1, cpu = (unsigned int)atoi(optarg), flags |= IORING_SETUP_SQPOLL | IORING_SETUP_SQ_AFF;
        else if (o == 'f') direct = 1;
        else return 2;
    }
    errno = 0;
    if (wait_first + multishot + readiness > 1 || (readiness && direct)) die("these options exclude each other");
    signal(SIGPIPE, SIG_IGN);
    load_answer(answer);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if ((listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) < 0) die("socket");
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* what it accepts inherits it */
    if (bind(listener, (struct sockaddr *)&address, sizeof address)) die("bind");
    if (listen(listener, 4096)) die("listen");
    open_ring(flags, cpu);
    register_all();
    push_accept();
    for (;;) {
        enter(1);
        unsigned int head = *cq_khead, tail = __atomic_load_n(cq_ktail, __ATOMIC_ACQUIRE);
        for (; head != tail; head++) {
            struct io_uring_cqe e = cqes[head % COMPLETIONS];
            Conn *c = (Conn *)(uintptr_t)(e.user_data & ~(uint64_t)KIND);
            unsigned int kind = e.user_data & KIND;
            if (kind == RECV) on_recv(c, &e);
            else if (kind == SEND) on_send(c, e.res);
            else if (kind == READABLE || kind == WRITABLE) turn(c, kind, &e);
            else if (kind == ACCEPT) on_accept(&e);
            else if (kind == CLOSE) errno = -e.res, die("close"); /* it tells of failures only */
        }
        __atomic_store_n(cq_khead, head, __ATOMIC_RELEASE);
    }
}
