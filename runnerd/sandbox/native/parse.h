/* Reading what init is sent. Pure: no I/O, no globals, nothing beyond the given bytes is touched, so that it can be fuzzed. */
#ifndef RUNNERD_PARSE_H
#define RUNNERD_PARSE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "init.h"

/* A checked request. Every pointer lies within the message it was parsed from, and every string ends within it. */
struct request {
    struct init_request head;
    char *path;             /* the path, or DIAL's host, or START's cwd */
    char *target;           /* RENAME's second path */
    const char *data;       /* WRITE's bytes, FILTER's program, LANDLOCK's folders */
    size_t size;            /* of data */
    struct init_start start;
    char **argv, **env;     /* START: NULL-terminated, within `strings` */
    char *strings[INIT_STRINGS_MAX + 2];
};

/* Fill `request` from a message. `descriptor`: one came along. 0, -EINVAL, or -E2BIG when START has too many strings.
 * `head` is filled whenever the message is long enough to have one, and zero otherwise. */
int parse_request(char *message, size_t length, bool descriptor, struct request *request);

struct split_path {
    char parent[PATH_MAX];
    char name[NAME_MAX + 1];
};

/* Split "a/b/c" into "a/b" and "c", a bare name into "." and itself. 0, or -EXDEV ("/"), -EINVAL (".", ".."), -ENOENT
 * (empty), -ENAMETOOLONG. Slashes at the end do not count. */
int split_path(const char *path, struct split_path *split);

struct process_stat {
    char state;
    int32_t parent, foreground;     /* foreground: process group of its terminal, -1 = none */
    uint64_t started;               /* clock ticks since boot: tells a pid from its next use */
};

/* Read /proc/PID/stat. A process may call itself ") R 1 1 1 (", so what counts follows the last ')'. */
bool parse_stat(const char *text, size_t length, struct process_stat *stat);

#endif
