#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>

#include "pipes.h"

/*
 * A user's pipes share one allowance (pipe-user-pages-soft in pipe(7): 64 MiB), and so do all
 * sandboxes of that user. A few large pipes serve a few busy connections well: fewer wake-ups per
 * megabyte. A crowd of stalled ones, which a hostile guest makes at will, gets little each. Where
 * the kernel refuses a size, the pipe keeps the one it has.
 */
static const struct {
	size_t lent; /* up to this many at a time ... */
	int size;    /* ... this large */
} sizes[] = {{PIPES_SPARE_MAX, 256 * 1024}, {256, 64 * 1024}, {SIZE_MAX, 8 * 1024}};

static int
size_for(size_t nlent)
{
	size_t i = 0;

	while (nlent >= sizes[i].lent)
		i++;
	return sizes[i].size;
}

int
pipes_take(struct pipes *p, struct pipe_pair *ret)
{
	int fd[2];

	if (p->nspare > 0) {
		*ret = p->spare[--p->nspare];
		p->nlent++;
		return 0;
	}
	if (pipe2(fd, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	(void)fcntl(fd[1], F_SETPIPE_SZ, size_for(p->nlent++));
	*ret = (struct pipe_pair){
		.read_fd = fd[0], .write_fd = fd[1], .large = p->nlent <= PIPES_SPARE_MAX};
	return 0;
}

static void
close_pair(struct pipe_pair *pair)
{
	close(pair->read_fd);
	close(pair->write_fd);
}

void
pipes_give(struct pipes *p, struct pipe_pair *pair, bool empty)
{
	p->nlent--;
	if (empty && pair->large && p->nspare < PIPES_SPARE_MAX)
		p->spare[p->nspare++] = *pair;
	else
		close_pair(pair);
	*pair = (struct pipe_pair){.read_fd = -1, .write_fd = -1};
}

void
pipes_release(struct pipes *p)
{
	while (p->nspare > 0)
		close_pair(&p->spare[--p->nspare]);
}
