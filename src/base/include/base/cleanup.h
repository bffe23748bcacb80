#pragma once
/*
 * Ownership by scope: every owned local carries its cleanup and is initialised at its declaration
 * (fd -1, pointer NULL); TAKE_FD and TAKE_PTR hand it over.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void
cleanup_free_p(void *p)
{
	free(*(void **)p);
}

static inline void
cleanup_close_p(int *fd)
{
	/* close() is never retried: on Linux the descriptor is gone even after EINTR. */
	if (*fd >= 0)
		close(*fd);
}

static inline void
cleanup_fclose_p(FILE **f)
{
	if (*f != NULL)
		fclose(*f);
}

static inline void
cleanup_closedir_p(DIR **d)
{
	if (*d != NULL)
		closedir(*d);
}

#define CLEANUP(f)     __attribute__((cleanup(f)))
#define CLEAN_FREE     CLEANUP(cleanup_free_p)
#define CLEAN_CLOSE    CLEANUP(cleanup_close_p)
#define CLEAN_FCLOSE   CLEANUP(cleanup_fclose_p)
#define CLEAN_CLOSEDIR CLEANUP(cleanup_closedir_p)

#define TAKE_PTR(p)                                                                                \
	({                                                                                         \
		__typeof__(p) take_ = (p);                                                         \
		(p) = NULL;                                                                        \
		take_;                                                                             \
	})
#define TAKE_FD(fd)                                                                                \
	({                                                                                         \
		int take_ = (fd);                                                                  \
		(fd) = -1;                                                                         \
		take_;                                                                             \
	})

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
