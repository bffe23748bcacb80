#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "pipes.h"

int
pipes_take(struct pipes *p, struct pipe_pair *ret)
{
	int fd[2];

	if (p->nspare > 0) {
		*ret = p->spare[--p->nspare];
		return 0;
	}
	if (pipe2(fd, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	/*
	 * Fewer wake-ups per megabyte. Beyond the user's share (pipe-user-pages-soft, pipe(7)) the
	 * kernel refuses, and the pipe stays small but works.
	 */
	(void)fcntl(fd[1], F_SETPIPE_SZ, PIPES_SIZE);
	*ret = (struct pipe_pair){.read_fd = fd[0], .write_fd = fd[1]};
	return 0;
}

static void
close_pair(struct pipe_pair *pair)
{
	close(pair->read_fd);
	close(pair->write_fd);
}

void
pipes_give(struct pipes *p, struct pipe_pair *pair, int empty)
{
	if (empty && p->nspare < PIPES_SPARE_MAX)
		p->spare[p->nspare++] = *pair;
	else
		close_pair(pair);
	*pair = (struct pipe_pair){-1, -1};
}

void
pipes_release(struct pipes *p)
{
	while (p->nspare > 0)
		close_pair(&p->spare[--p->nspare]);
}
