/*
 * The sandbox's credentials, on their way from a command to net. They are kept for a net that is
 * started again, in memory of a file of the kernel's (memfd_create(2)) and not of this process,
 * which has them before its eyes only while it puts new ones to the old.
 */
#include <unistd.h>

#include <base/io.h>
#include <cred/set.h>

#include "sup.h"

static int
read_set(int fd, struct cred_set *ret, struct err *e)
{
	CLEAN_CRED_BUF struct buf b = BUF_INIT;
	int r = io_read_at_once(fd, CRED_SET_BYTES_MAX, &b, e);

	return r == 0 ? cred_set_decode(b.data, b.len, ret, e) : r;
}

static int
write_set(const struct cred_set *set, struct err *e)
{
	CLEAN_CRED_BUF struct buf b = BUF_INIT;

	(void)buf_reserve(&b, CRED_SET_BYTES_MAX);
	cred_set_encode(set, &b);
	return io_memfd("paddock-credentials", b.data, b.len, e);
}

int
sup_credentials_take(struct sup *s, int memory, uint64_t *ret_number, struct err *e)
{
	CLEAN_CRED_SET struct cred_set all = {0}, more = {0};
	CLEAN_CLOSE int fd = -1;
	int r = s->credentials_fd >= 0 ? read_set(s->credentials_fd, &all, e) : 0;

	if (r == 0)
		r = read_set(memory, &more, e);
	if (r < 0)
		return r;
	cred_set_merge(&all, &more);
	r = cred_set_check(&all, e);
	if (r == 0)
		r = fd = write_set(&all, e);
	if (r < 0)
		return r;
	if (s->credentials_fd >= 0)
		close(s->credentials_fd);
	s->credentials_fd = TAKE_FD(fd);
	strv_release(&s->credential_names);
	for (size_t i = 0; i < all.n; i++)
		strv_add(&s->credential_names, all.v[i].name);
	*ret_number = sup_policy_hand_over(s);
	return 0;
}
