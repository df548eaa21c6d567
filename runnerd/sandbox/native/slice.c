#define _GNU_SOURCE
#include "slice.h"

#include <linux/sched.h>
#include <linux/sched/types.h>
#include <sys/syscall.h>
#include <unistd.h>

int runnerd_slice(unsigned long nanoseconds) {
    struct sched_attr attributes = {.size = sizeof attributes};
    if (syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0U) < 0)
        return -1;
    if (attributes.sched_policy != SCHED_BATCH && attributes.sched_policy != SCHED_IDLE)
        attributes.sched_policy = SCHED_NORMAL;
    attributes.sched_priority = 0;
    attributes.sched_runtime = nanoseconds;
    return (int)syscall(SYS_sched_setattr, 0, &attributes, 0U);
}
