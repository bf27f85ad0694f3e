/* What the reference servers share: fixed bytes as the answer, and counting the requests that come.
 *
 * Because all answers are equal, what a connection is owed is a number: the next byte to send is at (-owed mod length) of a
 * block of repeated answers. The block is made once and never changed or freed.
 */
#ifndef FIXED_H
#define FIXED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES = 16384 };

typedef struct {
    unsigned int matched; /* how many characters of "\r\n\r\n" the bytes so far end with */
    size_t body;          /* bytes still to come of the body that is being received */
} Asked;

static const char DEFAULT_ANSWER[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 13\r\n"
    "Date: Mon, 23 Nov 2026 12:00:00 GMT\r\nServer: reference\r\n\r\nHello, World!";
static char *block; /* whole answers, repeated to about BLOCK_BYTES */
static size_t block_len, answer_len;
static size_t body_len; /* of each request */

static void die(const char *what);

static void load_answer(const char *path) {
    static char file[BLOCK_BYTES];
    const char *answer = DEFAULT_ANSWER;
    answer_len = sizeof DEFAULT_ANSWER - 1;
    if (path) {
        FILE *f = fopen(path, "rb");
        if (!f) die(path);
        answer_len = fread(file, 1, sizeof file, f);
        if (!answer_len || answer_len == sizeof file) die("the answer must have 1 to 16383 bytes");
        fclose(f);
        answer = file;
    }
    size_t copies = BLOCK_BYTES / answer_len;
    block_len = copies * answer_len;
    if (!(block = malloc(block_len))) die("malloc");
    for (size_t i = 0; i < copies; i++) memcpy(block + i * answer_len, answer, answer_len);
}

/* The next bytes of what is owed, and how many lie there in one piece. */
static const char *next_bytes(size_t owed, size_t *len) {
    size_t at = (answer_len - owed % answer_len) % answer_len;
    *len = owed < block_len - at ? owed : block_len - at;
    return block + at;
}

/* Requests that end within p[0:n]. */
static size_t count_requests(Asked *asked, const char *p, size_t n) {
    static const char end[] = "\r\n\r\n";
    const char *stop = p + n;
    size_t found = 0;
    while (p < stop) {
        size_t left = (size_t)(stop - p);
        if (asked->body) { /* its last byte ends the request */
            size_t some = asked->body < left ? asked->body : left;
            p += some, asked->body -= some;
            found += !asked->body;
            continue;
        }
        if (asked->matched) { /* a head's end may be split between two reads */
            if (*p != end[asked->matched]) asked->matched = *p == '\r';
            else asked->matched++;
            p++;
            if (asked->matched < 4) continue;
            asked->matched = 0;
        } else {
            const char *hit = memmem(p, left, end, 4);
            if (!hit) {
                for (asked->matched = left < 3 ? (unsigned int)left : 3; asked->matched; asked->matched--)
                    if (!memcmp(stop - asked->matched, end, asked->matched)) break;
                return found;
            }
            p = hit + 4;
        }
        asked->body = body_len;
        found += !body_len;
    }
    return found;
}

#endif
