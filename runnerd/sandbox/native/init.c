/* init: PID 1 of every box. Its protocol is init.h; it allocates no memory after its start.
 *
 * Sources: init.c parse.c files.c leader.c security.c dial.c devpts.c
 * Build:   musl-gcc -std=c11 -D_GNU_SOURCE -Os -static -no-pie -Wall -Wextra -Wshadow -Wconversion -Werror
 *          -fstack-protector-strong -ffunction-sections -fdata-sections -Wl,--gc-sections -Wl,-z,noexecstack -s
 *          -isystem INCLUDE, a folder with links to the kernel's headers: linux, asm-generic and asm
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <signal.h>
#include <stdalign.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"

#define NETLINK_SOCK_DIAG_PROTOCOL 4
#define REAP_AT_ONCE 256
#define SIGNALS 64

struct program {
    bool used, released;
    bool answered, told; /* START, EXIT */
    uint32_t tag, mode;
    pid_t leader;
    int fds[3], count; /* the daemon's side, until START is answered */
};

static struct program programs[INIT_PROGRAMS_MAX];
static struct shared *shared; /* one for each of `programs` */
static struct request request;
static alignas(8) char message[INIT_MESSAGE_MAX];
static int proc_folder, trees[INIT_TMP + 1], child_signals;

static void complain(const char *text) {
    (void)!write(STDERR_FILENO, text, strlen(text));
}

int need(int result, const char *step, const char *path) {
    if (result >= 0)
        return result;
    const char *const words[] = {"init: ", step, " ", path, ": ", strerror(errno), "\n"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        complain(words[i]);
    _exit(1);
}

/* -errno when it could not be sent. */
static int tell(const struct init_reply *reply, const void *payload, size_t size, const int *fds, size_t count) {
    struct iovec parts[] = {{(void *)reply, sizeof *reply}, {(void *)payload, size}};
    alignas(struct cmsghdr) char control[CMSG_SPACE(8 * sizeof(int))] = {0};
    struct msghdr header = {.msg_iov = parts, .msg_iovlen = size ? 2 : 1};
    if (count) {
        header.msg_control = control;
        header.msg_controllen = (socklen_t)CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = (socklen_t)CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(rights), fds, count * sizeof(int));
    }
    return sendmsg(INIT_SOCKET, &header, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int answer(const struct init_request *head, int result, uint32_t a, const void *payload, size_t size, const int *fds,
           size_t count) {
    struct init_reply reply = {head->op, head->tag, result, a};
    const int refused = tell(&reply, payload, size, fds, count);
    reply.result = refused;
    if (refused < 0 && (!count || tell(&reply, NULL, 0, NULL, 0) < 0))
        _exit(0); /* the daemon is gone, and so is the box */
    return refused;
}

static void answer_result(int result) {
    answer(&request.head, result, 0, NULL, 0, NULL, 0);
}

static struct program *find_program(uint32_t tag) {
    for (struct program *program = programs; program < programs + INIT_PROGRAMS_MAX; program++)
        if (program->used && !program->released && program->tag == tag)
            return program;
    return NULL;
}

static void answer_start(struct program *program, int result, int32_t pid) {
    const struct init_request head = {.op = INIT_START, .tag = program->tag};
    program->answered = true;
    program->told = result < 0;
    if (answer(&head, result, (uint32_t)pid, NULL, 0, program->fds, result < 0 ? 0 : (size_t)program->count) < 0) {
        program->told = true;
        kill(pid, SIGKILL);
        kill(program->leader, SIGKILL);
    }
    close_all(program->fds, program->count);
}

static void tell_exit(struct program *program, int status, const struct init_exit *usage) {
    const struct init_request head = {.op = INIT_EXIT, .tag = program->tag};
    program->told = true;
    answer(&head, status, 0, usage, sizeof *usage, NULL, 0);
}

/* Tell what a program's leader has written since. */
static void pass_on(struct program *program) {
    const struct shared *news = &shared[program - programs];
    const uint32_t progress = atomic_load(&news->progress);
    if (progress != STARTING && !program->answered)
        answer_start(program, progress == FAILED ? news->problem : 0, progress == FAILED ? 0 : news->pid);
    if (progress == ENDED && !program->told && !program->released)
        tell_exit(program, news->status, &news->usage);
}

/* `fd` becomes the program's INIT_ALONG, -1 = none. */
static int start_program(int fd) {
    struct program *program = programs;
    while (program < programs + INIT_PROGRAMS_MAX && program->used)
        program++;
    if (find_program(request.head.tag))
        return -EEXIST;
    if (program == programs + INIT_PROGRAMS_MAX)
        return -EAGAIN;
    int stdio[4];
    stdio[3] = fd; /* stays the caller's */
    *program = (struct program){.used = true, .tag = request.head.tag, .mode = request.start.mode};
    program->count = open_stdio(&request.start, stdio, program->fds);
    if (program->count < 0) {
        program->used = false;
        return program->count;
    }
    struct shared *mine = &shared[program - programs];
    memset(mine, 0, sizeof *mine);
    program->leader = (pid_t)syscall(SYS_clone, (unsigned long)SIGCHLD, 0UL, 0UL, 0UL, 0UL);
    if (program->leader == 0)
        lead(&request, stdio, mine);
    const int problem = program->leader < 0 ? -errno : 0;
    close_all(stdio, 3);
    if (problem < 0) {
        close_all(program->fds, program->count);
        program->used = false;
    }
    return problem;
}

static int signal_programs(void) {
    const int signum = (int)request.head.b;
    if (request.head.c == INIT_BOX)
        return kill(-1, signum) < 0 ? -errno : 0;
    const struct program *program = find_program(request.head.a);
    if (!program || !program->answered)
        return -ESRCH;
    if (request.head.c == INIT_TREE)
        return signal_tree(proc_folder, program->leader, signum);
    const pid_t pid = shared[program - programs].pid;
    return signal_foreground(proc_folder, program->leader, pid, program->mode, signum);
}

static int release_program(void) {
    struct program *program = find_program(request.head.a);
    if (!program)
        return -ESRCH;
    if (!program->answered)
        return -EBUSY;
    program->released = true; /* its place is free once the leader, which may still write there, is reaped */
    return kill(program->leader, SIGKILL) < 0 ? -errno : 0;
}

static void serve(int fd) {
    int result;
    switch (request.head.op) {
    case INIT_FILTER:
    case INIT_LANDLOCK:
    case INIT_START:
    case INIT_RELEASE:
        result = request.head.op == INIT_FILTER     ? load_filter(&request)
                 : request.head.op == INIT_LANDLOCK ? restrict_writing(&request)
                 : request.head.op == INIT_START    ? start_program(fd)
                                                    : release_program();
        if (result < 0)
            answer_result(result);
        break;
    case INIT_SIGNAL:
        answer_result(signal_programs());
        break;
    case INIT_DIAL:
    case INIT_DIAL_UNIX:
        result = request.head.op == INIT_DIAL ? dial_tcp(request.path, (uint16_t)request.head.a)
                                              : dial_unix(request.path);
        answer(&request.head, result < 0 ? result : 0, 0, NULL, 0, &result, result >= 0);
        if (result >= 0)
            close(result);
        break;
    default:
        serve_files(trees[request.head.b], &request, fd);
    }
}

/* Work through what has come; false when there is nothing more for now. Ends when the daemon is gone. */
static bool receive(void) {
    alignas(struct cmsghdr) char control[CMSG_LEN(sizeof(int))]; /* one descriptor; CMSG_SPACE has room for two */
    struct iovec part = {message, sizeof message};
    struct msghdr header = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    const ssize_t length = recvmsg(INIT_SOCKET, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (length <= 0)
        _exit(0);

    int fd = -1;
    const struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
    if (rights && rights->cmsg_level == SOL_SOCKET && rights->cmsg_type == SCM_RIGHTS)
        memcpy(&fd, CMSG_DATA(rights), sizeof fd);
    int result = parse_request(message, (size_t)length, fd >= 0, &request);
    if (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
        result = -EINVAL;
    if (result < 0)
        answer_result(result);
    else
        serve(fd);
    if (fd >= 0)
        close(fd);
    return true;
}

/* A leader is gone; should it have been killed, what it has not written is told in its place. */
static void bury(struct program *program, int status, const struct rusage *usage) {
    const struct init_exit its_own = usage_of(usage);
    const pid_t pid = shared[program - programs].pid;
    pass_on(program);
    if (!program->answered)
        answer_start(program, pid ? 0 : -ECANCELED, pid);
    if (!program->told && !program->released)
        tell_exit(program, status, &its_own);
    program->used = false;
}

/* Pass on the leaders' news, and reap. True when there may be more to reap. */
static bool look_after(void) {
    struct signalfd_siginfo ignored;
    (void)!read(child_signals, &ignored, sizeof ignored);
    for (struct program *program = programs; program < programs + INIT_PROGRAMS_MAX; program++)
        if (program->used)
            pass_on(program);
    for (int count = 0; count < REAP_AT_ONCE; count++) {
        int status;
        struct rusage usage;
        const pid_t pid = wait4(-1, &status, WNOHANG | WUNTRACED, &usage);
        if (pid <= 0)
            return false;
        for (struct program *program = programs; program < programs + INIT_PROGRAMS_MAX; program++) {
            if (!program->used || program->leader != pid)
                continue;
            if (WIFSTOPPED(status))
                kill(pid, SIGCONT); /* nothing in a box may keep a leader from its work */
            else
                bury(program, status, &usage);
        }
    }
    return true;
}

static void make_work(const char *path) {
    char prefix[PATH_MAX];
    const size_t length = strlen(path);
    if (*path != '/' || length >= sizeof prefix)
        errno = EINVAL, need(-1, "the work tree's path", path);
    for (size_t i = 1; i <= length; i++)
        if (path[i] == '/' || !path[i]) {
            memcpy(prefix, path, i);
            prefix[i] = 0;
            struct stat status;
            if (stat(prefix, &status) < 0)
                need(mkdir(prefix, 0700), "mkdir", prefix);
        }
}

static void reset_signals(void) {
    struct {
        void (*handler)(int);
        unsigned long flags;
        void (*restorer)(void);
        uint64_t mask;
    } by_default = {0};
    uint64_t blocked = 1ULL << (SIGCHLD - 1);
    sigset_t children;
    for (int signum = 1; signum <= SIGNALS; signum++)
        syscall(SYS_rt_sigaction, signum, &by_default, NULL, sizeof blocked);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &blocked, NULL, sizeof blocked);
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    child_signals = need(signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK), "signalfd", "SIGCHLD");
}

/* The daemon's descriptors need more room than a box's programs, which share a count of those in flight, may use. */
static void raise_files(void) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

static void set_up(const char *work) {
    need(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl", "PR_SET_DUMPABLE");
    syscall(SYS_close_range, INIT_SOCKET + 1U, ~0U, 0U);
    need(fcntl(INIT_SOCKET, F_SETFD, FD_CLOEXEC), "descriptor", "3");
    need(fcntl(INIT_SOCKET, F_SETFL, 0), "descriptor", "3");
    reset_signals();
    raise_files();
    umask(0);
    shared = mmap(NULL, sizeof *shared * INIT_PROGRAMS_MAX, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(shared == MAP_FAILED ? -1 : 0, "mmap", "the programs' table");
    make_work(work);
    need(chdir("/"), "chdir", "/");

    const int null = need(open("/dev/null", O_RDWR | O_CLOEXEC), "open", "/dev/null");
    const char *const folders[] = {"/proc", work, "/tmp", "/dev/shm"};
    int fds[5];
    for (int i = 0; i < 4; i++)
        fds[i] = need(open(folders[i], O_PATH | O_DIRECTORY | O_CLOEXEC), "open", folders[i]);
    fds[4] = need(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG_PROTOCOL), "socket",
                  "NETLINK_SOCK_DIAG");
    const struct init_reply hello = {INIT_HELLO, 0, 0, (uint32_t)landlock_abi()};
    const int problem = tell(&hello, NULL, 0, fds, 5);
    errno = -problem;
    need(problem, "sendmsg", "HELLO");
    proc_folder = fds[0];
    trees[INIT_WORK] = fds[1];
    trees[INIT_TMP] = fds[2];
    for (int i = 3; i < 5; i++)
        close(fds[i]);
    for (int fd = 0; fd < 3; fd++)
        dup2(null, fd);
    close(null);
}

int main(int argc, char **argv) {
    if (argc == 4) {
        limit_terminals(argv[1], argv[2]);
        argv[2] = argv[0]; /* anew: the kernel goes by the namespace in which a program was started */
        need(execv(argv[0], argv + 2), "execve", argv[0]);
    }
    if (argc != 2)
        errno = EINVAL, need(-1, "usage: init", "[DEVPTS ID] WORK");
    set_up(argv[1]);
    struct pollfd events[] = {{INIT_SOCKET, POLLIN, 0}, {child_signals, POLLIN, 0}};
    for (bool more = false;;) {
        if (poll(events, 2, more ? 0 : -1) < 0 && errno != EINTR)
            return 1;
        more = (more || events[1].revents) && look_after();
        if (events[0].revents)
            while (receive())
                ;
    }
}
