/* What costs something for each byte of a WebSocket: the mask (RFC 6455 5.3) and whether text is UTF-8 (RFC 3629).
 *
 * Compiles without Python's headers. Nothing here allocates or fails; nothing before or behind the bytes given is touched.
 * The wide loops work on blocks of 16 bytes (vectors of GCC and Clang, SSE2 and NEON at their base level; elsewhere, or
 * with WEB_WS_WORDS, words of 8 bytes). Beside each stands its scalar twin, which says what it means: tests hold one
 * against the other.
 */
#ifndef WEB_WS_HELPERS_H
#define WEB_WS_HELPERS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__) && !defined(WEB_WS_WORDS)
typedef uint64_t web_block __attribute__((vector_size(16)));
#else
typedef uint64_t web_block;
#endif

enum { WEB_BLOCK = sizeof(web_block), WEB_STRIDE = 4 * WEB_BLOCK };

/* ---- the mask ---- */

/* data[i] ^= mask[(at + i) % 4]; `at`: where in the frame's payload data begins. */
static inline void web_mask_scalar(unsigned char *data, size_t n, const unsigned char *mask, size_t at) {
    for (size_t i = 0; i < n; i++) data[i] ^= mask[(at + i) & 3];
}

static inline void web_mask(unsigned char *data, size_t n, const unsigned char *mask, size_t at) {
    unsigned char pattern[WEB_BLOCK];
    web_block key, a, b, c, d;
    size_t i = 0;
    for (; i < WEB_BLOCK; i++) pattern[i] = mask[(at + i) & 3];
    memcpy(&key, pattern, WEB_BLOCK);
    /* Blocks are multiples of four bytes, so the key stays in step. */
    for (i = 0; n - i >= WEB_STRIDE; i += WEB_STRIDE) {
        memcpy(&a, data + i, WEB_BLOCK);
        memcpy(&b, data + i + WEB_BLOCK, WEB_BLOCK);
        memcpy(&c, data + i + 2 * WEB_BLOCK, WEB_BLOCK);
        memcpy(&d, data + i + 3 * WEB_BLOCK, WEB_BLOCK);
        a ^= key;
        b ^= key;
        c ^= key;
        d ^= key;
        memcpy(data + i, &a, WEB_BLOCK);
        memcpy(data + i + WEB_BLOCK, &b, WEB_BLOCK);
        memcpy(data + i + 2 * WEB_BLOCK, &c, WEB_BLOCK);
        memcpy(data + i + 3 * WEB_BLOCK, &d, WEB_BLOCK);
    }
    for (; n - i >= WEB_BLOCK; i += WEB_BLOCK) {
        memcpy(&a, data + i, WEB_BLOCK);
        a ^= key;
        memcpy(data + i, &a, WEB_BLOCK);
    }
    web_mask_scalar(data + i, n - i, pattern, i);
}

/* ---- UTF-8 ---- */

/* Where in a character the text stands. All zero: between two characters. */
typedef struct web_utf8 {
    unsigned char left;      /* bytes of the character still to come */
    unsigned char low, high; /* what the next of them may be */
} web_utf8;

/* One byte (RFC 3629 4): 1, or 0 when no text goes on like this; the state is then as before. */
static inline int web_utf8_step(web_utf8 *state, unsigned char c) {
    if (state->left > 0) {
        if (c < state->low || c > state->high) return 0;
        state->left--;
        state->low = 0x80;
        state->high = 0xBF;
        return 1;
    }
    if (c < 0x80) return 1;
    if (c < 0xC2 || c > 0xF4) return 0; /* a continuation; an overlong form; beyond U+10FFFF */
    state->left = c < 0xE0 ? 1 : c < 0xF0 ? 2 : 3;
    state->low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80;  /* no overlong forms */
    state->high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF; /* no surrogates; not beyond U+10FFFF */
    return 1;
}

/* How many of the bytes go on with a text in UTF-8: n, or the place of the first that does not. A text is whole only
 * when state->left is 0 at its end. */
static inline size_t web_utf8_scalar(web_utf8 *state, const unsigned char *data, size_t n) {
    size_t i = 0;
    while (i < n && web_utf8_step(state, data[i])) i++;
    return i;
}

/* How many bytes at the start are ASCII, in whole words of eight. */
static inline size_t web_ascii_blocks(const unsigned char *data, size_t n) {
    web_block a, b, c, d;
    uint64_t words[WEB_BLOCK / 8];
    uint64_t any;
    size_t i = 0;
    for (; n - i >= WEB_STRIDE; i += WEB_STRIDE) {
        memcpy(&a, data + i, WEB_BLOCK);
        memcpy(&b, data + i + WEB_BLOCK, WEB_BLOCK);
        memcpy(&c, data + i + 2 * WEB_BLOCK, WEB_BLOCK);
        memcpy(&d, data + i + 3 * WEB_BLOCK, WEB_BLOCK);
        a |= b | c | d;
        memcpy(words, &a, WEB_BLOCK);
        any = words[0] | words[WEB_BLOCK / 8 - 1];
        if (any & 0x8080808080808080u) break;
    }
    for (; n - i >= 8; i += 8) {
        memcpy(&any, data + i, 8);
        if (any & 0x8080808080808080u) break;
    }
    return i;
}

static inline int web_is_tail(unsigned char c) { return (c & 0xC0) == 0x80; }

/* How many bytes at the start are whole characters. It stops before the last four bytes, at what is wrong, and when a
 * longer stretch of ASCII seems to begin. The bounds are those of web_utf8_step. */
static inline size_t web_utf8_run(const unsigned char *data, size_t n) {
    size_t i = 0;
    unsigned ascii = 0;
    while (n - i >= 4 && ascii < 16) {
        unsigned char c = data[i], second = data[i + 1];
        if (c < 0x80) {
            ascii++;
            i++;
            continue;
        }
        ascii = 0;
        if (c < 0xC2 || !web_is_tail(second)) break;
        if (c < 0xE0) {
            i += 2;
        } else if (c < 0xF0) {
            if (!web_is_tail(data[i + 2]) || (c == 0xE0 && second < 0xA0) || (c == 0xED && second > 0x9F)) break;
            i += 3;
        } else {
            if (c > 0xF4 || !web_is_tail(data[i + 2]) || !web_is_tail(data[i + 3]) || (c == 0xF0 && second < 0x90) ||
                (c == 0xF4 && second > 0x8F))
                break;
            i += 4;
        }
    }
    return i;
}

static inline size_t web_utf8_feed(web_utf8 *state, const unsigned char *data, size_t n) {
    size_t i = 0;
    while (i < n) {
        if (state->left == 0) {
            i += web_ascii_blocks(data + i, n - i);
            i += web_utf8_run(data + i, n - i);
            if (i == n) break;
        }
        /* The middle of a character, the last few bytes, or what is wrong. */
        if (!web_utf8_step(state, data[i])) break;
        i++;
    }
    return i;
}

#endif
