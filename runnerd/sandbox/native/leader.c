/* A program in its terminal: the leader, which starts and outlives it, and signals to what they leave behind. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdalign.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "common.h"

#define SIGNAL_SET_SIZE 8 /* the kernel's */
#define PROCESSES_MAX 4096
#define PASSES_MAX 100

static const char DEFAULT_PATH[] = "/usr/local/bin:/usr/bin:/bin";

/* What the leader and the program's first moments share: they run in the same memory until execve. */
struct launch {
    const struct request *request;
    struct shared *shared;
    int problem; /* errno of the step that failed */
};

static int set_blocked(uint64_t mask) {
    /* Not by libc, which keeps some signals for itself. */
    return (int)syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, SIGNAL_SET_SIZE);
}

/* execvpe, but by the PATH of the program's own environment. Returns errno. */
static int execute(const struct request *request) {
    static char candidate[PATH_MAX];
    char *const name = request->argv[0];
    if (strchr(name, '/') || !*name) {
        execve(name, request->argv, request->env);
        return errno;
    }
    const char *path = DEFAULT_PATH;
    for (char **variable = request->env; *variable; variable++)
        if (strncmp(*variable, "PATH=", 5) == 0)
            path = *variable + 5;
    const size_t length = strlen(name);
    int problem = ENOENT;
    for (;;) {
        const size_t folder = strcspn(path, ":");
        if (folder + 1 + length < sizeof candidate) {
            memcpy(candidate, path, folder);
            candidate[folder] = '/';
            memcpy(candidate + (folder ? folder + 1 : 0), name, length + 1); /* an empty entry is the current folder */
            execve(candidate, request->argv, request->env);
            if (errno == EACCES)
                problem = EACCES;
            else if (errno != ENOENT && errno != ENOTDIR)
                return errno;
        }
        if (!path[folder])
            return problem;
        path += folder + 1;
    }
}

static int limit(const struct init_start *start) {
    for (int resource = 0; resource < INIT_RLIMITS; resource++) {
        const uint64_t value = start->rlimits[resource];
        const struct rlimit both = {value, value};
        if (value != INIT_RLIMIT_KEEP && setrlimit(resource, &both) < 0)
            return -1;
    }
    return 0;
}

/* A daemon that was started with a higher niceness keeps it for its programs: going below is refused. */
static int yield_at_least(int niceness) {
    return getpriority(PRIO_PROCESS, 0) >= niceness ? 0 : setpriority(PRIO_PROCESS, 0, niceness);
}

/* The program's process, until it becomes the program. All signals are blocked until just before. */
static int become_program(void *argument) {
    struct launch *launch = argument;
    const struct init_start *start = &launch->request->start;
    umask(022);
    if (setpgid(0, 0) == 0 && (start->mode == INIT_PIPES || tcsetpgrp(STDIN_FILENO, getpid()) == 0) &&
        chdir(launch->request->path) == 0 && yield_at_least((int)start->nice) == 0 &&
        limit(start) == 0 && set_blocked(0) == 0) {
        launch->shared->pid = getpid(); /* from here on it may kill its leader before that has said a word */
        launch->problem = execute(launch->request);
    } else {
        launch->problem = errno;
    }
    _exit(127);
}

/* A PTY of the box's own devpts, like a fresh login's; in split mode it neither echoes nor changes what passes. */
static int open_terminal(const struct init_start *start, int *master, int *slave) {
    *master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (*master < 0)
        return -1;
    const int locked = 0;
    const struct winsize window = {.ws_row = (unsigned short)start->rows, .ws_col = (unsigned short)start->cols};
    struct termios modes;
    if (ioctl(*master, TIOCSPTLCK, &locked) < 0 ||
        (*slave = ioctl(*master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC)) < 0 || tcgetattr(*slave, &modes) < 0)
        return -1;
    modes.c_iflag |= IUTF8;
    if (start->mode == INIT_SPLIT) {
        modes.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE);
        modes.c_oflag &= ~(tcflag_t)OPOST;
    }
    if (tcsetattr(*slave, TCSANOW, &modes) < 0)
        return -1;
    return ioctl(*master, TIOCSWINSZ, &window);
}

static int open_pipe(int direction, int *stdio, int *ours) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    *stdio = ends[direction];
    *ours = ends[!direction];
    return fcntl(*ours, F_SETFL, O_NONBLOCK);
}

void close_all(const int *fds, int count) {
    for (int i = 0; i < count; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

int open_stdio(const struct init_start *start, int stdio[4], int ours[3]) {
    int opened = 0;
    for (int fd = 0; fd < 3; fd++)
        stdio[fd] = ours[fd] = -1;
    switch (start->mode) {
    case INIT_PIPES:
        for (int fd = 0; fd < 3 && opened == 0; fd++)
            opened = open_pipe(fd != 0, &stdio[fd], &ours[fd]);
        break;
    case INIT_SPLIT:
        opened = open_terminal(start, &ours[1], &stdio[2]);
        /* fall through */
    default:
        if (opened == 0)
            opened = open_terminal(start, &ours[0], &stdio[0]);
    }
    if (opened < 0) {
        const int problem = errno;
        close_all(stdio, 3);
        close_all(ours, 3);
        return -problem;
    }
    return start->mode == INIT_PIPES ? 3 : start->mode == INIT_SPLIT ? 2 : 1;
}

/* Make the program's stdio, and what came along for it, this process's only descriptors, and the first terminal its
 * controlling one. */
static int take_stdio(const struct init_start *start, const int stdio[4]) {
    for (int fd = 0; fd < 3; fd++)
        if (dup2(stdio[fd] < 0 ? stdio[0] : stdio[fd], fd) < 0)
            return -1;
    const bool along = stdio[3] >= 0;
    if (along && (dup2(stdio[3], INIT_ALONG) < 0 || fcntl(INIT_ALONG, F_SETFD, 0) < 0))
        return -1;
    if (syscall(SYS_close_range, 3U, along ? INIT_ALONG - 1U : ~0U, 0U) < 0 ||
        (along && syscall(SYS_close_range, INIT_ALONG + 1U, ~0U, 0U) < 0))
        return -1;
    return start->mode == INIT_PIPES ? 0 : ioctl(STDIN_FILENO, TIOCSCTTY, 1);
}

/* The program's pid, or -errno. */
static pid_t start_program(const struct request *request, const int stdio[4], struct shared *shared) {
    static alignas(16) char stack[32 * 1024];
    struct launch launch = {request, shared, 0};
    if (setsid() < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0 || take_stdio(&request->start, stdio) < 0)
        return -errno;
    /* As vfork: in this memory, and this process waits until the program runs or has failed to; on a stack of its own. */
    const pid_t pid = clone(become_program, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, &launch);
    if (pid < 0)
        return -errno;
    return launch.problem ? -launch.problem : pid;
}

static void say(struct shared *shared, enum progress progress) {
    atomic_store(&shared->progress, progress);
    kill(1, SIGCHLD);
}

struct init_exit usage_of(const struct rusage *usage) {
    return (struct init_exit){
        .cpu_us = (uint64_t)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * 1000000 +
                  (uint64_t)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec),
        .max_rss_kib = (uint64_t)usage->ru_maxrss,
    };
}

void lead(const struct request *request, const int stdio[4], struct shared *shared) {
    /* All of them: what is typed or sent reaches the program, never the leader. */
    set_blocked(~0ULL);
    const pid_t pid = start_program(request, stdio, shared);
    if (pid < 0) {
        shared->problem = pid;
        say(shared, FAILED);
        _exit(1);
    }
    /* The program's end is seen on the daemon's side only when nobody else holds the program's. */
    syscall(SYS_close_range, 0U, ~0U, 0U);
    say(shared, RUNNING);

    for (;;) {
        int status;
        struct rusage usage;
        const pid_t child = wait4(-1, &status, WUNTRACED, &usage);
        if (child < 0 && errno == ECHILD)
            pause(); /* nothing is left, and nothing can come: only a kill ends this */
        if (child != pid)
            continue;
        if (!WIFSTOPPED(status)) {
            shared->status = status;
            shared->usage = usage_of(&usage);
            say(shared, ENDED);
        } else if (WSTOPSIG(status) == SIGTSTP) {
            kill(-pid, SIGCONT); /* Ctrl+Z without a shell: nobody else could ever continue it */
        }
    }
}

static bool read_stat(int folder, const char *name, struct process_stat *stat) {
    char text[512];
    const int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    const ssize_t length = read(fd, text, sizeof text);
    close(fd);
    return length > 0 && parse_stat(text, (size_t)length, stat);
}

/* "PID/stat", which is short. */
static const char *stat_name(pid_t pid, char name[32]) {
    memcpy(name + 20, "/stat", 6);
    char *at = name + 20;
    do
        *--at = (char)('0' + pid % 10);
    while (pid /= 10);
    return at;
}

int signal_foreground(int proc, pid_t leader, pid_t program, uint32_t mode, int signum) {
    char name[32];
    struct process_stat stat = {.foreground = program};
    if (mode != INIT_PIPES && !read_stat(proc, stat_name(leader, name), &stat))
        return -ESRCH;
    if (stat.foreground <= 1)
        return -ESRCH;
    return kill(-stat.foreground, signum) < 0 ? -errno : 0;
}

struct process {
    pid_t pid;
    struct process_stat stat;
};

/* Read the processes of the box into a table; their number. *moved: one was listed and gone when it was read. */
static int read_processes(int proc, struct process *table, bool *moved) {
    static alignas(8) char buffer[16 * 1024];
    int count = 0;
    const int folder = openat(proc, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return 0;
    long size;
    while ((size = syscall(SYS_getdents64, folder, buffer, sizeof buffer)) > 0)
        for (long at = 0; at < size;) {
            const struct dirent *entry = (const void *)(buffer + at);
            at += entry->d_reclen;
            pid_t pid = 0;
            for (const char *digit = entry->d_name; *digit >= '0' && *digit <= '9' && pid < 100000000; digit++)
                pid = pid * 10 + (*digit - '0');
            if (pid == 0 || count == PROCESSES_MAX)
                continue;
            char name[32];
            table[count] = (struct process){.pid = pid};
            if (read_stat(proc, stat_name(pid, name), &table[count].stat))
                count++;
            else
                *moved = true;
        }
    close(folder);
    return count;
}

/* Whether a process descends from `leader`. The table is sorted, as /proc is. */
static bool descends(const struct process *table, int count, const struct process *process, pid_t leader) {
    for (int steps = 0; process && steps < count; steps++) {
        const pid_t parent = process->stat.parent;
        if (parent == leader)
            return true;
        const struct process *found = NULL;
        for (int low = 0, high = count; low < high;) {
            const int middle = (low + high) / 2;
            if (table[middle].pid == parent)
                found = &table[middle];
            if (table[middle].pid < parent)
                low = middle + 1;
            else
                high = middle;
        }
        process = found;
    }
    return false;
}

/* Each process gets the signal once. Whoever was forked meanwhile is found by the next walk; only a walk that finds nobody
 * new, and nobody gone, is the last: what is gone or a zombie may have left a child behind the walker's back. */
int signal_tree(int proc, pid_t leader, int signum) {
    static struct process table[PROCESSES_MAX], done[PROCESSES_MAX];
    int done_count = 0, signalled = 0;
    for (int pass = 0; pass < PASSES_MAX; pass++) {
        bool moved = false;
        const int count = read_processes(proc, table, &moved);
        for (int i = 0; i < count; i++) {
            bool seen = !descends(table, count, &table[i], leader);
            for (int j = 0; !seen && j < done_count; j++)
                seen = done[j].pid == table[i].pid && done[j].stat.started == table[i].stat.started;
            if (seen)
                continue;
            if (done_count == PROCESSES_MAX)
                return -EAGAIN;
            done[done_count++] = table[i];
            moved = true;
            if (table[i].stat.state != 'Z' && kill(table[i].pid, signum) == 0)
                signalled++;
        }
        if (!moved)
            return signalled ? 0 : -ESRCH;
    }
    return -EAGAIN;
}
