/* Mounts that a root daemon makes for its boxes. Each returns 0, or -1 with errno. */
#ifndef RUNNERD_MOUNTS_H
#define RUNNERD_MOUNTS_H

/* Give the calling thread a mount namespace of its own that still follows the host's mounts but never shows it any. */
int runnerd_private_mounts(void);
/* A small tmpfs, readable by all, on an existing folder. */
int runnerd_mount_tmpfs(const char *target);
/* Show folders as one that can only be read; options as "lowerdir=A:B", at least two. */
int runnerd_overlay(const char *options, const char *target);
/* Show a folder (with what is mounted in it) or a file at another existing path. */
int runnerd_bind(const char *source, const char *target);

#endif
