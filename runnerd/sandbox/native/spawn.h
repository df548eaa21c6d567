/* Starting a process without forking the daemon's memory. */
#ifndef RUNNERD_SPAWN_H
#define RUNNERD_SPAWN_H

#define RUNNERD_SPAWN_FDS 16

struct runnerd_spawn {
    const char *path;         /* absolute */
    char *const *argv;
    char *const *envp;
    const int *fds;           /* fds[i] becomes descriptor i, at most RUNNERD_SPAWN_FDS; all others are closed */
    int nfds;
    long uid;                 /* uid and gid to take, without supplementary groups; -1 keeps the caller's */
    int cgroup;               /* descriptor of the cgroup to start in; -1 stays in the caller's */
    unsigned long slice;      /* nanoseconds: runnerd_slice */
    int pidfd;                /* out: the child's pidfd, closed on exec */
    const char *failed;       /* out: the name of the call that failed, NULL when none did */
};

/* The child's pid, or -1 with errno and `failed`. Only from the thread whose death should end the child. */
int runnerd_spawn(struct runnerd_spawn *request);

#endif
