/* What tells one state of a file from every other, whatever the platform calls the fields of struct stat.
 *
 * Compiles without Python's headers. Nothing here keeps state, and nothing here opens or closes anything.
 */
#ifndef WEB_FILE_HELPERS_H
#define WEB_FILE_HELPERS_H

#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1
#endif

#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* What lstat and fstat find; negative where that is neither a regular file nor a folder, or nothing (errno). */
enum { WEB_IS_FILE = 1, WEB_IS_FOLDER = 2, WEB_IS_OTHER = -1 };

#if defined(__APPLE__)
#define WEB_STAT_TIME(about, which) ((about)->st_##which##timespec)
#else
#define WEB_STAT_TIME(about, which) ((about)->st_##which##tim)
#endif

/* Which file it is, and when it changed last. ctime cannot be set by who owns the file: a change of its bytes, its
 * owner, its permissions or its name sets it to now. Eight bytes each: no padding, so marks are compared as bytes. */
typedef struct web_file_mark {
    uint64_t device;
    uint64_t inode;
    int64_t size;
    int64_t modified_ns;
    int64_t changed_ns;
} web_file_mark;

static inline int64_t web_timespec_ns(const struct timespec *t) {
    return (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
}

static inline int web_mark_of(const struct stat *about, web_file_mark *mark) {
    mark->device = (uint64_t)about->st_dev;
    mark->inode = (uint64_t)about->st_ino;
    mark->size = (int64_t)about->st_size;
    mark->modified_ns = web_timespec_ns(&WEB_STAT_TIME(about, m));
    mark->changed_ns = web_timespec_ns(&WEB_STAT_TIME(about, c));
    if (S_ISREG(about->st_mode)) return WEB_IS_FILE;
    return S_ISDIR(about->st_mode) ? WEB_IS_FOLDER : WEB_IS_OTHER;
}

/* A symbolic link is not followed: it is WEB_IS_OTHER. */
static inline int web_mark_path(const char *path, web_file_mark *mark) {
    struct stat about;
    return lstat(path, &about) == 0 ? web_mark_of(&about, mark) : WEB_IS_OTHER;
}

/* What a path leads to: symbolic links are followed, as opening it does. */
static inline int web_mark_target(const char *path, web_file_mark *mark) {
    struct stat about;
    return stat(path, &about) == 0 ? web_mark_of(&about, mark) : WEB_IS_OTHER;
}

static inline int web_mark_fd(int fd, web_file_mark *mark) {
    struct stat about;
    return fstat(fd, &about) == 0 ? web_mark_of(&about, mark) : WEB_IS_OTHER;
}

/* Predicate. */
static inline int web_same_mark(const web_file_mark *a, const web_file_mark *b) {
    return memcmp(a, b, sizeof *a) == 0;
}

/* How long ago the last change was, by the clock that files are dated with; negative when that stands in the future. */
static inline int64_t web_mark_age_ns(const web_file_mark *mark) {
    struct timespec now;
    int64_t last = mark->modified_ns > mark->changed_ns ? mark->modified_ns : mark->changed_ns;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return web_timespec_ns(&now) - last;
}

#endif
