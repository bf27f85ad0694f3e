/* The load for full and resumed TLS 1.3 handshakes: connection, handshake, one request, its answer, close; and again.
 *
 * One thread, epoll, CONNECTIONS at a time. A slot is one connection at a time: connecting -> exchanging -> closed -> the next.
 * The certificate is not verified (its signature over the handshake always is): this is a load, not a client. Source addresses
 * go through 127.0.2.1 to .32, so that ports in TIME_WAIT do not run out.
 *
 *   tls_client -p PORT [-n CONNECTIONS] [-d SECONDS] [-s (resume sessions)]      prints one line of JSON
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256, HEAD_BYTES = 8192 };

typedef struct {
    int fd, asked;
    unsigned int interest;
    size_t got; /* bytes of the answer so far */
    SSL *ssl;
    SSL_SESSION *session; /* the newest ticket of this slot */
    char head[HEAD_BYTES];
} Slot;

static const char REQUEST[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
static SSL_CTX *tls;
static struct sockaddr_in server;
static int ep, resume;
static unsigned int source;
static unsigned long done, failed, resumed;

static void die(const char *what) {
    fprintf(stderr, "tls_client: %s: %s\n", what, errno ? strerror(errno) : "failed");
    ERR_print_errors_fp(stderr);
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int keep_session(SSL *ssl, SSL_SESSION *session) {
    Slot *s = SSL_get_app_data(ssl);
    SSL_SESSION_free(s->session);
    s->session = session;
    return 1;
}

static void watch(Slot *s, unsigned int events) {
    struct epoll_event e = {.events = events, .data.ptr = s};
    if (s->interest == events) return;
    if (epoll_ctl(ep, s->interest ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, s->fd, &e)) die("epoll_ctl");
    s->interest = events;
}

static void open_slot(Slot *s) {
    struct sockaddr_in from = {.sin_family = AF_INET};
    int one = 1;
    from.sin_addr.s_addr = htonl(0x7f000201 + source++ % 32);
    s->asked = 0, s->interest = 0, s->got = 0;
    if ((s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) < 0) die("socket");
    setsockopt(s->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (bind(s->fd, (struct sockaddr *)&from, sizeof from)) die("bind");
    if (connect(s->fd, (struct sockaddr *)&server, sizeof server) && errno != EINPROGRESS) die("connect");
    if (!(s->ssl = SSL_new(tls)) || SSL_set_fd(s->ssl, s->fd) != 1) die("SSL_new");
    SSL_set_app_data(s->ssl, s);
    SSL_set_connect_state(s->ssl);
    if (resume && s->session && SSL_set_session(s->ssl, s->session) != 1) die("SSL_set_session");
    watch(s, EPOLLOUT);
}

static void close_slot(Slot *s, int success) {
    if (success) {
        done++;
        resumed += (unsigned long)SSL_session_reused(s->ssl);
        SSL_shutdown(s->ssl);
    } else failed++;
    SSL_free(s->ssl);
    ERR_clear_error();
    close(s->fd);
    open_slot(s);
}

/* Bytes of the whole answer, 0: its head is not complete, -1: no Content-Length. */
static long answer_bytes(const Slot *s) {
    const char *end = memmem(s->head, s->got, "\r\n\r\n", 4), *field = strcasestr(s->head, "\r\ncontent-length:");
    if (!end) return 0;
    return field && field < end ? end + 4 - s->head + atol(field + 17) : -1;
}

static void turn(Slot *s) {
    ERR_clear_error();
    int n = s->asked ? 1 : SSL_write(s->ssl, REQUEST, sizeof REQUEST - 1); /* drives the handshake first */
    if (n > 0) {
        s->asked = 1;
        watch(s, EPOLLIN);
        while ((n = SSL_read(s->ssl, s->head + s->got, (int)(HEAD_BYTES - 1 - s->got))) > 0) {
            s->got += (size_t)n;
            s->head[s->got] = 0;
            long whole = answer_bytes(s);
            if (whole < 0 || whole >= HEAD_BYTES) die("an answer that is too long or has no Content-Length");
            if (whole && (long)s->got >= whole) {
                close_slot(s, 1);
                return;
            }
        }
    }
    switch (SSL_get_error(s->ssl, n)) {
    case SSL_ERROR_WANT_READ: watch(s, EPOLLIN); return;
    case SSL_ERROR_WANT_WRITE: watch(s, EPOLLOUT); return;
    default: close_slot(s, 0);
    }
}

int main(int argc, char **argv) {
    int port = 0, connections = 64;
    double seconds = 3;
    for (int o; (o = getopt(argc, argv, "p:n:d:s")) != -1;) {
        if (o == 'p') port = atoi(optarg);
        else if (o == 'n') connections = atoi(optarg);
        else if (o == 'd') seconds = atof(optarg);
        else if (o == 's') resume = 1;
        else return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    server.sin_family = AF_INET;
    server.sin_port = htons((unsigned short)port);
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (!(tls = SSL_CTX_new(TLS_client_method()))) die("SSL_CTX_new");
    SSL_CTX_set_min_proto_version(tls, TLS1_3_VERSION);
    SSL_CTX_set_verify(tls, SSL_VERIFY_NONE, NULL);
    if (resume) {
        SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(tls, keep_session);
    }
    if ((ep = epoll_create1(EPOLL_CLOEXEC)) < 0) die("epoll_create1");
    Slot *slots = calloc((size_t)connections, sizeof *slots);
    if (!slots) die("calloc");
    double start = now(), end = start + seconds;
    for (int i = 0; i < connections; i++) open_slot(&slots[i]);
    while (now() < end) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(ep, events, EVENTS, 100);
        if (n < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < n; i++) turn(events[i].data.ptr);
        if (failed > 1000 && !done) die("nothing but failures");
    }
    printf("{\"done\": %lu, \"failed\": %lu, \"resumed\": %lu, \"seconds\": %.3f}\n", done, failed, resumed, now() - start);
    return 0;
}
