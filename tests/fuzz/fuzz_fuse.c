/* The decoder of FUSE requests: what it accepts keeps the promises of wire/fuse.h. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <wire/fuse.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool ok)
{
	if (!ok)
		abort();
}

static void
check_component(const char *s, const uint8_t *data, size_t size)
{
	require((const uint8_t *)s >= data && (const uint8_t *)s < data + size);
	require(strlen(s) > 0 && strlen(s) <= FUSE_WIRE_NAME_MAX);
}

static void
check_accepted(const struct fuse_request *r, const uint8_t *data, size_t size)
{
	bool xattr = r->head.opcode == FUSE_SETXATTR || r->head.opcode == FUSE_GETXATTR ||
		     r->head.opcode == FUSE_REMOVEXATTR;

	require(r->head.len == size && size <= FUSE_WIRE_MSG_MAX);
	if (r->name != NULL) {
		check_component(r->name, data, size);
		require(xattr || (strchr(r->name, '/') == NULL && strcmp(r->name, ".") != 0 &&
					 strcmp(r->name, "..") != 0));
	}
	if (r->name2 != NULL && r->head.opcode != FUSE_SYMLINK)
		check_component(r->name2, data, size);
	if (r->name2 != NULL && r->head.opcode == FUSE_SYMLINK)
		require(strlen(r->name2) <= FUSE_WIRE_LINK_MAX);
	if (r->data != NULL)
		require(r->data >= data && r->data + r->ndata == data + size);
	if (r->head.opcode == FUSE_READ)
		require(r->in.read.size <= FUSE_WIRE_IO_MAX &&
			r->in.read.offset + r->in.read.size <= INT64_MAX);
	if (r->head.opcode == FUSE_WRITE)
		require(r->in.write.size == r->ndata && r->in.write.offset + r->ndata <= INT64_MAX);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuse_request r;
	struct buf b = {.data = (uint8_t *)data, .len = size};
	uint32_t len = (uint32_t)size;
	uint8_t *p;

	fuse_wire_peek(&b, sizeof(struct fuse_in_header));
	if (fuse_request_decode(data, size, &r) == 0)
		check_accepted(&r, data, size);
	/* And with a length that is right, so that the rest is reached. */
	if (size < sizeof(struct fuse_in_header))
		return 0;
	p = malloc(size);
	memcpy(p, data, size);
	memcpy(p, &len, sizeof(len));
	if (fuse_request_decode(p, size, &r) == 0)
		check_accepted(&r, p, size);
	fuse_opcode_name(r.head.opcode);
	free(p);
	return 0;
}
