/* The limit: what one epoll loop in C costs per request, plain or TLS, on one thread.
 *
 * It answers every "...\r\n\r\n" that it receives with the same bytes and checks nothing else: no routes, no limits, no
 * deadlines. It exists to be compared with, never to be used.
 *
 * A connection is: the end-of-head characters seen so far, the bytes still owed, and the SSL. Because all answers are equal,
 * what is owed is a number, not a buffer: the next byte to send is at (-owed mod length) of a block of repeated answers.
 *
 *   epoll_server -p PORT [-a ANSWER_FILE] [-b BODY_BYTES] [-c CERT -k KEY [-t TICKETS] [-r]]     cc -O2 [-DWITH_TLS ... -lssl -lcrypto]
 *     -b: that many bytes of body follow each head; they are read and dropped.
 *     -r: SSL_MODE_RELEASE_BUFFERS (costs time, saves memory). SIGUSR1 prints "heap BYTES", what malloc has handed out.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "fixed.h"
#ifdef WITH_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
static SSL_CTX *tls;
#endif

enum { EVENTS = 256, READ_BYTES = 65536, END = 0, WAIT = -1 };

typedef struct {
    int fd;
    Asked asked;
    unsigned int interest;
    size_t owed;
#ifdef WITH_TLS
    SSL *ssl;
    int ended; /* the peer said close_notify: only then is it answered by ours */
#endif
} Conn;

static char in[READ_BYTES];
static int ep, listener;
static volatile sig_atomic_t heap_asked;

static void die(const char *what) {
    fprintf(stderr, "epoll_server: %s: %s\n", what, errno ? strerror(errno) : "failed");
#ifdef WITH_TLS
    ERR_print_errors_fp(stderr);
#endif
    exit(1);
}

static void on_usr1(int number) {
    (void)number;
    heap_asked = 1;
}

static void watch(Conn *c, unsigned int events) {
    struct epoll_event e = {.events = events, .data.ptr = c};
    if (c->interest == events) return;
    if (epoll_ctl(ep, c->interest ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->fd, &e)) die("epoll_ctl");
    c->interest = events;
}

static void drop(Conn *c) {
#ifdef WITH_TLS
    if (c->ssl) {
        if (c->ended) SSL_shutdown(c->ssl);
        SSL_free(c->ssl);
        ERR_clear_error();
    }
#endif
    close(c->fd);
    free(c);
}

/* n > 0 bytes, END: the connection is over, WAIT: nothing now (the wanted event is being watched). */
static ssize_t conn_recv(Conn *c) {
    ssize_t n;
#ifdef WITH_TLS
    if (c->ssl) {
        ERR_clear_error();
        n = SSL_read(c->ssl, in, READ_BYTES);
        if (n > 0) return n;
        switch (SSL_get_error(c->ssl, (int)n)) {
        case SSL_ERROR_WANT_READ: watch(c, EPOLLIN); return WAIT;
        case SSL_ERROR_WANT_WRITE: watch(c, EPOLLIN | EPOLLOUT); return WAIT;
        case SSL_ERROR_ZERO_RETURN: c->ended = 1; return END;
        default: return END;
        }
    }
#endif
    n = recv(c->fd, in, READ_BYTES, 0);
    if (n > 0) return n;
    return n < 0 && (errno == EAGAIN || errno == EINTR) ? WAIT : END;
}

static ssize_t conn_send(Conn *c, const char *data, size_t len) {
    ssize_t n;
#ifdef WITH_TLS
    if (c->ssl) {
        ERR_clear_error();
        n = SSL_write(c->ssl, data, (int)len);
        if (n > 0) return n;
        n = SSL_get_error(c->ssl, (int)n);
        return n == SSL_ERROR_WANT_READ || n == SSL_ERROR_WANT_WRITE ? WAIT : END;
    }
#endif
    n = send(c->fd, data, len, MSG_NOSIGNAL);
    if (n >= 0) return n;
    return errno == EAGAIN || errno == EINTR ? WAIT : END;
}

/* 1: the connection lives, END: it was over. */
static int flush(Conn *c) {
    while (c->owed) {
        size_t len;
        const char *bytes = next_bytes(c->owed, &len);
        ssize_t n = conn_send(c, bytes, len);
        if (n == END) return END;
        if (n == WAIT) {
            watch(c, EPOLLIN | EPOLLOUT);
            return 1;
        }
        c->owed -= (size_t)n;
    }
    watch(c, EPOLLIN);
    return 1;
}

static void turn(Conn *c) {
    do {
        if (c->owed && flush(c) == END) {
            drop(c);
            return;
        }
        if (c->owed) return; /* a peer that does not read gets nothing more read */
        ssize_t n = conn_recv(c);
        if (n == WAIT) return;
        if (n > 0) {
            c->owed += answer_len * count_requests(&c->asked, in, (size_t)n);
            if (flush(c) != END) continue;
        }
        drop(c);
        return;
    }
#ifdef WITH_TLS
    while (c->ssl && SSL_has_pending(c->ssl)); /* what waits inside OpenSSL, epoll cannot see */
#else
    while (0);
#endif
}

static void accept_some(void) {
    int one = 1;
    for (int i = 0; i < 64; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        Conn *c = calloc(1, sizeof *c);
        if (!c) die("calloc");
        c->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
#ifdef WITH_TLS
        if (tls) {
            if (!(c->ssl = SSL_new(tls)) || SSL_set_fd(c->ssl, fd) != 1) die("SSL_new");
            SSL_set_accept_state(c->ssl);
        }
#endif
        watch(c, EPOLLIN);
    }
}

static void load_tls(const char *cert, const char *key, int tickets, int release) {
#ifdef WITH_TLS
    if (!(tls = SSL_CTX_new(TLS_server_method()))) die("SSL_CTX_new");
    if (SSL_CTX_use_certificate_chain_file(tls, cert) != 1) die(cert);
    if (SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1) die(key);
    SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION);
    SSL_CTX_set_options(tls, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (release) SSL_CTX_set_mode(tls, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_read_ahead(tls, 1);
    if (tickets >= 0) SSL_CTX_set_num_tickets(tls, (size_t)tickets);
#else
    (void)cert, (void)key, (void)tickets, (void)release;
    errno = 0;
    die("this build has no TLS (compile with -DWITH_TLS)");
#endif
}

int main(int argc, char **argv) {
    const char *cert = NULL, *key = NULL, *answer = NULL;
    int port = 0, tickets = -1, release = 0, one = 1;
    for (int o; (o = getopt(argc, argv, "p:a:b:c:k:t:r")) != -1;) {
        if (o == 'p') port = atoi(optarg);
        else if (o == 'a') answer = optarg;
        else if (o == 'b') body_len = strtoul(optarg, NULL, 10);
        else if (o == 'c') cert = optarg;
        else if (o == 'k') key = optarg;
        else if (o == 't') tickets = atoi(optarg);
        else if (o == 'r') release = 1;
        else return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    struct sigaction usr1 = {.sa_handler = on_usr1};
    sigaction(SIGUSR1, &usr1, NULL);
    load_answer(answer);
    if (cert && key) load_tls(cert, key, tickets, release);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if ((listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) < 0) die("socket");
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address)) die("bind");
    if (listen(listener, 4096)) die("listen");
    if ((ep = epoll_create1(EPOLL_CLOEXEC)) < 0) die("epoll_create1");
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL}, events[EVENTS];
    if (epoll_ctl(ep, EPOLL_CTL_ADD, listener, &e)) die("epoll_ctl");
    for (;;) {
        int n = epoll_wait(ep, events, EVENTS, -1);
        if (n < 0 && errno != EINTR) die("epoll_wait");
        if (heap_asked) {
            struct mallinfo2 m = mallinfo2();
            heap_asked = 0;
            printf("heap %zu\n", m.uordblks + m.hblkhd);
            fflush(stdout);
        }
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr) turn(events[i].data.ptr);
            else accept_some();
        }
    }
}
