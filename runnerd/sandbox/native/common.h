/* What init's parts share. Functions that return int give 0 (or a descriptor) or -errno. */
#ifndef RUNNERD_COMMON_H
#define RUNNERD_COMMON_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "parse.h"

/* init.c: a message to the daemon, whose absence ends init. -errno when the kernel refused to pass the descriptors on, and
 * the daemon was told that errno as the result instead. */
int answer(const struct init_request *head, int result, uint32_t a, const void *payload, size_t size, const int *fds,
           size_t count);

/* init.c: pass a result on, or end with words about errno: a box that cannot be set up whole is not set up at all. */
int need(int result, const char *step, const char *path);

/* devpts.c: as root of the box's user namespace, with CAP_SYS_ADMIN and CAP_SETFCAP there, give /dev/pts these options and
 * become user and group `id`, with no capabilities, in a user namespace below it. */
void limit_terminals(const char *options, const char *id);

/* security.c */
int landlock_abi(void);     /* 0 = this kernel has none */
int restrict_writing(const struct request *request);
int load_filter(const struct request *request);

/* files.c: WRITE, MKDIR, RENAME, DELETE, LIST and OPEN, answered. `fd` came with the request, -1 = none. */
void serve_files(int tree, const struct request *request, int fd);

/* dial.c: a connected or connecting socket. */
int dial_tcp(const char *host, uint16_t port);
int dial_unix(const char *path);

/* How far a program has come: its leader writes this to a page that init shares with it, and pokes init with SIGCHLD. Only
 * init speaks to the daemon, so whatever kills a leader, and whenever, each thing is told once. `progress` goes last. */
enum progress { STARTING, FAILED, RUNNING, ENDED };

struct shared {
    _Atomic uint32_t progress;
    int32_t pid;        /* of the program, from just before it runs */
    int32_t problem;    /* FAILED: -errno */
    int32_t status;     /* ENDED, as wait4 gives it */
    struct init_exit usage;
};

/* leader.c: open both sides of a program's terminals or pipes. The number of `ours`, or -errno with nothing left open.
 * stdio[3] is for what comes along as the program's INIT_ALONG, and left alone. */
int open_stdio(const struct init_start *start, int stdio[4], int ours[3]);
void close_all(const int *fds, int count);

/* leader.c: the life of a leader, in a process of its own (see init.h). */
_Noreturn void lead(const struct request *request, const int stdio[4], struct shared *shared);
struct init_exit usage_of(const struct rusage *usage);

/* leader.c: two scopes of SIGNAL (the third is kill(-1)). */
int signal_foreground(int proc, pid_t leader, pid_t program, uint32_t mode, int signum);
int signal_tree(int proc, pid_t leader, int signum);

#endif
