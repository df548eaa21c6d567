#define _GNU_SOURCE
#include "spawn.h"

#include "slice.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define STACK_SIZE (64 * 1024)

struct shared {
    struct runnerd_spawn *request;
    int error; /* the child's errno; it runs in our memory */
};

/* The child's whole life before execve. It shares our memory (CLONE_VM) while we stand still (CLONE_VFORK), so it must
 * change nothing but `shared`. System calls are made raw: glibc's setuid and friends would tell our other threads. */
static int child(void *argument) {
    struct shared *shared = argument;
    struct runnerd_spawn *request = shared->request;
    int moved[RUNNERD_SPAWN_FDS];

#define STEP(name, call)                                                                                               \
    do {                                                                                                               \
        if ((call) < 0) {                                                                                              \
            request->failed = name;                                                                                    \
            shared->error = errno;                                                                                     \
            _exit(127);                                                                                                \
        }                                                                                                              \
    } while (0)

    /* Targets may be sources of others: first move all out of the way. F_DUPFD clears close-on-exec. */
    for (int i = 0; i < request->nfds; i++)
        STEP("fcntl(F_DUPFD)", moved[i] = fcntl(request->fds[i], F_DUPFD, RUNNERD_SPAWN_FDS));
    for (int i = 0; i < request->nfds; i++)
        STEP("dup2", dup2(moved[i], i));
    STEP("close_range", syscall(SYS_close_range, (unsigned)request->nfds, ~0U, 0U));
    /* Boxes go first when the host runs out of memory, and none is spared: a manager may protect the daemon, whose
     * score they would inherit. It cannot fail but where there is no /proc, or the score is higher already. */
    int score = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (score >= 0) {
        syscall(SYS_write, score, "500", 3UL);
        syscall(SYS_close, score);
    }
    runnerd_slice(request->slice); /* where it is refused, boxes are only less yielding */
    if (request->uid >= 0) {
        STEP("setgroups", syscall(SYS_setgroups, 0, NULL));
        STEP("setresgid", syscall(SYS_setresgid, request->uid, request->uid, request->uid));
        STEP("setresuid", syscall(SYS_setresuid, request->uid, request->uid, request->uid));
    }
    struct rlimit no_core = {0, 0};
    STEP("setrlimit(RLIMIT_CORE)", setrlimit(RLIMIT_CORE, &no_core));
    /* Python ignores SIGPIPE, and ignored signals survive execve; handlers do not. */
    for (int number = 1; number < NSIG; number++) {
        struct sigaction action = {.sa_handler = SIG_DFL};
        if (number != SIGKILL && number != SIGSTOP)
            syscall(SYS_rt_sigaction, number, &action, NULL, (size_t)8);
    }
    /* Set last: a change of uid clears it. What builds a box goes with the daemon, and takes init with it. */
    STEP("prctl(PR_SET_PDEATHSIG)", syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0L, 0L, 0L));
    uint64_t none = 0;
    STEP("rt_sigprocmask", syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof none));
    execve(request->path, request->argv, request->envp);
    STEP("execve", -1);
    return 127;
}

/* clone3 returns twice, and the child's time on a stack of its own: no C function can do that. */
static long clone3_on_stack(struct clone_args *arguments, int (*function)(void *), void *argument) {
    long result;
#if defined(__x86_64__)
    register long r12 __asm__("r12") = (long)function;
    register long r13 __asm__("r13") = (long)argument;
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "mov %%r13, %%rdi\n\t"
                     "call *%%r12\n\t"
                     "hlt\n"
                     "1:"
                     : "=a"(result)
                     : "a"((long)SYS_clone3), "D"(arguments), "S"(sizeof *arguments), "r"(r12), "r"(r13)
                     : "rcx", "r11", "memory");
#elif defined(__aarch64__)
    register long x0 __asm__("x0") = (long)arguments;
    register long x1 __asm__("x1") = (long)sizeof *arguments;
    register long x8 __asm__("x8") = SYS_clone3;
    register long x9 __asm__("x9") = (long)function;
    register long x10 __asm__("x10") = (long)argument;
    __asm__ volatile("svc #0\n\t"
                     "cbnz x0, 1f\n\t"
                     "mov x29, #0\n\t"
                     "mov x0, x10\n\t"
                     "blr x9\n\t"
                     "brk #0\n"
                     "1:"
                     : "+r"(x0)
                     : "r"(x1), "r"(x8), "r"(x9), "r"(x10)
                     : "x30", "memory", "cc");
    result = x0;
#else
#error "runnerd runs on x86_64 and aarch64"
#endif
    if (result < 0) {
        errno = (int)-result;
        return -1;
    }
    return result;
}

int runnerd_spawn(struct runnerd_spawn *request) {
    struct shared shared = {.request = request};
    request->failed = NULL;
    request->pidfd = -1;
    if (request->nfds < 0 || request->nfds > RUNNERD_SPAWN_FDS) {
        request->failed = "descriptors";
        errno = EINVAL;
        return -1;
    }
    char *stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED) {
        request->failed = "mmap";
        return -1;
    }
    struct clone_args arguments = {
        .flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD,
        .pidfd = (uint64_t)(uintptr_t)&request->pidfd,
        .exit_signal = SIGCHLD,
        .stack = (uint64_t)(uintptr_t)stack,
        .stack_size = STACK_SIZE,
    };
    if (request->cgroup >= 0) {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = (uint64_t)request->cgroup;
    }
    /* A handler of ours must not run in the child, which has our memory. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    long pid = clone3_on_stack(&arguments, child, &shared);
    int error = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    munmap(stack, STACK_SIZE);
    if (pid < 0) {
        request->failed = "clone3";
        errno = error;
        return -1;
    }
    if (request->failed != NULL) {
        while (waitpid((pid_t)pid, NULL, 0) < 0 && errno == EINTR)
            continue;
        close(request->pidfd);
        errno = shared.error;
        return -1;
    }
    return (int)pid;
}
