/* Whom the kernel lets go first on a processor. */
#ifndef RUNNERD_SLICE_H
#define RUNNERD_SLICE_H

/* Give the calling thread, and what it starts from now on, slices of so many nanoseconds: a thread that wakes takes the
 * processor at once from one with longer slices. Its niceness stays; realtime priority is given up. 0, or -1 with errno.
 * Kernels before 6.12 take it and do nothing. Makes raw system calls only. */
int runnerd_slice(unsigned long nanoseconds);

#endif
