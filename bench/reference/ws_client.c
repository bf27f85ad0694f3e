/* The load for WebSockets: connections that each keep DEPTH messages of SIZE bytes in flight, and count what comes back.
 *
 * One thread, epoll. Echo: every message that comes back whole is answered with another one. Broadcast (-b): all
 * connections listen, and the first one says one message; when all have it, the next. The frames are masked with one key,
 * made once; what comes back is parsed as far as its headers and counted by bytes. Text messages of the letter x.
 *
 *   ws_client -p PORT [-n CONNECTIONS] [-m SIZE] [-k DEPTH] [-d SECONDS] [-b] [-u PATH]     prints one line of JSON
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256, READ_BYTES = 1 << 18 };

typedef struct {
    int fd, open, writing;
    size_t owed;      /* bytes of frames that are to be sent */
    size_t sent;      /* of the frame that is under way */
    unsigned char head[16];
    size_t head_got;
    uint64_t payload; /* bytes of the frame's payload still to come */
    int in_payload, counts;
} Client;

static unsigned char *frame; /* several masked frames, one behind the other */
static size_t frame_size, frames;
static int ep, broadcast;
static unsigned long done;
static unsigned char buffer[READ_BYTES];

static void die(const char *what) {
    fprintf(stderr, "ws_client: %s: %s\n", what, errno ? strerror(errno) : "failed");
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void make_frames(size_t size, size_t depth) {
    static const unsigned char mask[4] = {0x12, 0x34, 0x56, 0x78};
    size_t head = size < 126 ? 6 : size < 65536 ? 8 : 14;
    frame_size = head + size;
    frames = depth;
    frame = malloc(frame_size * depth);
    if (!frame) die("malloc");
    for (size_t n = 0; n < depth; n++) {
        unsigned char *p = frame + n * frame_size;
        *p++ = 0x81;
        if (size < 126) {
            *p++ = (unsigned char)(0x80 | size);
        } else if (size < 65536) {
            *p++ = 0x80 | 126;
            *p++ = (unsigned char)(size >> 8);
            *p++ = (unsigned char)size;
        } else {
            *p++ = 0x80 | 127;
            for (int shift = 56; shift >= 0; shift -= 8) *p++ = (unsigned char)((uint64_t)size >> shift);
        }
        memcpy(p, mask, 4);
        p += 4;
        for (size_t i = 0; i < size; i++) p[i] = (unsigned char)('x' ^ mask[i & 3]);
    }
}

static void watch(Client *c, int writing) {
    struct epoll_event event = {.events = EPOLLIN | (writing ? (uint32_t)EPOLLOUT : 0), .data.ptr = c};
    if (c->writing == writing) return;
    c->writing = writing;
    if (epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &event) < 0) die("epoll_ctl");
}

static void push(Client *c) {
    while (c->owed > 0) {
        size_t most = frame_size * frames - c->sent, n = c->owed < most ? c->owed : most;
        ssize_t done_now = send(c->fd, frame + c->sent, n, MSG_NOSIGNAL);
        if (done_now < 0 && errno == EAGAIN) {
            watch(c, 1);
            return;
        }
        if (done_now <= 0) die("send");
        c->owed -= (size_t)done_now;
        c->sent = (c->sent + (size_t)done_now) % frame_size;
    }
    watch(c, 0);
}

static size_t header_length(const Client *c) {
    unsigned char length = c->head[1] & 127;
    return c->head_got < 2 ? 2 : length < 126 ? 2 : length == 126 ? 4 : 10;
}

/* What came; the number of messages that are whole. */
static size_t take(Client *c, const unsigned char *p, size_t n) {
    size_t whole = 0;
    while (n > 0) {
        if (c->in_payload) {
            size_t part = c->payload < n ? (size_t)c->payload : n;
            c->payload -= part;
            p += part;
            n -= part;
        } else {
            c->head[c->head_got++] = *p++;
            n--;
            if (c->head_got < header_length(c)) continue;
            size_t wide = header_length(c) - 2;
            c->payload = wide ? 0 : c->head[1] & 127;
            for (size_t i = 0; i < wide; i++) c->payload = c->payload << 8 | c->head[2 + i];
            c->in_payload = 1;
            c->counts = (c->head[0] & 15) < 8;
            if ((c->head[0] & 15) == 8) {
                errno = 0;
                die("the server closed");
            }
        }
        if (c->in_payload && c->payload == 0) {
            c->in_payload = 0;
            c->head_got = 0;
            if (c->counts && c->head[0] & 0x80) whole++;
        }
    }
    return whole;
}

static int connect_to(int port, const char *path) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    char text[512];
    size_t got = 0;
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof at) < 0) die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    int n = snprintf(text, sizeof text,
                     "GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
                     path);
    if (send(fd, text, (size_t)n, MSG_NOSIGNAL) != n) die("send");
    while (got < 4 || memcmp(text + got - 4, "\r\n\r\n", 4) != 0) { /* byte by byte: nothing of a frame is taken */
        if (got == sizeof text || recv(fd, text + got, 1, 0) != 1) die("handshake");
        got++;
    }
    errno = 0;
    if (memcmp(text, "HTTP/1.1 101", 12) != 0) die("no 101");
    return fd;
}

int main(int argc, char **argv) {
    int port = 0, count = 64, option;
    size_t size = 125, depth = 1;
    double seconds = 3, end, began;
    const char *path = "/";
    struct epoll_event events[EVENTS];
    while ((option = getopt(argc, argv, "p:n:m:k:d:bu:")) != -1) {
        if (option == 'p') port = atoi(optarg);
        else if (option == 'n') count = atoi(optarg);
        else if (option == 'm') size = (size_t)atol(optarg);
        else if (option == 'k') depth = (size_t)atol(optarg);
        else if (option == 'd') seconds = atof(optarg);
        else if (option == 'b') broadcast = 1;
        else if (option == 'u') path = optarg;
        else return 2;
    }
    make_frames(size, depth);
    Client *clients = calloc((size_t)count, sizeof *clients);
    ep = epoll_create1(0);
    if (!clients || ep < 0) die("start");
    for (int i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &clients[i]};
        clients[i].fd = connect_to(port, path);
        clients[i].open = 1;
        if (epoll_ctl(ep, EPOLL_CTL_ADD, clients[i].fd, &event) < 0) die("epoll_ctl");
    }
    size_t missing = (size_t)count;
    began = now();
    end = began + seconds;
    for (int i = 0; i < (broadcast ? 1 : count); i++) {
        clients[i].owed = frame_size * depth;
        push(&clients[i]);
    }
    while (now() < end) {
        int found = epoll_wait(ep, events, EVENTS, 100);
        if (found < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < found; i++) {
            Client *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT) push(c);
            if (!(events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) continue;
            ssize_t n = recv(c->fd, buffer, sizeof buffer, MSG_DONTWAIT);
            if (n < 0 && errno == EAGAIN) continue;
            if (n <= 0) die("recv");
            size_t whole = take(c, buffer, (size_t)n);
            done += whole;
            if (!broadcast) {
                c->owed += whole * frame_size;
                push(c);
                continue;
            }
            missing -= whole;
            if (missing == 0) {
                missing = (size_t)count;
                clients[0].owed += frame_size;
                push(&clients[0]);
            }
        }
    }
    printf("{\"messages\": %lu, \"seconds\": %.3f}\n", done, now() - began);
    return 0;
}
