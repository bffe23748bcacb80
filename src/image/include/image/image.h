#pragma once
/*
 * The machine image: a Debian root file system made by mmdebstrap (in user namespaces when the
 * user is not root), its kernel as an uncompressed vmlinux, and the initramfs with paddock-guest.
 * Recipe -> plan (command lines and hook scripts as data, which a test prints) -> execution.
 * Kept below the data folder, re-made only when the recipe changes:
 *   templates/NAME-DIGEST/{disk.ext4,template.json,ca-certificates.crt}
 * A kit's layer is a disk on such a one, made by whoever ran its install steps in a sandbox:
 *   templates/KIT-DIGEST/{disk.qcow2,template.json}
 *   kernels/VERSION/{vmlinux,initramfs-DIGEST,modules/...}
 */
#include <stdbool.h>
#include <stdint.h>

#include <base/err.h>
#include <base/progress.h>
#include <base/str.h>

struct image {
	char *id;        /* "shell-0f3a9c1d22ab": the folder's name */
	char *name;      /* "shell" */
	char *base;      /* a layer: the id of the image that it stands on; else NULL */
	char *disk;      /* absolute paths; of the base where this is a layer */
	char *layer;     /* its own disk (qcow2), or NULL */
	char *kernel;    /* uncompressed vmlinux */
	char *initramfs; /* made for this very paddock-guest */
	char *ca_bundle; /* the certificates that the image itself trusts */
	char *kernel_version;
	uint64_t disk_bytes; /* virtual size of the root file system */
	uint64_t used_bytes; /* on the host's disk */
	int64_t created;     /* seconds since the epoch */
};
void image_release(struct image *i);

struct image_request {
	const char *data_dir;  /* $XDG_DATA_HOME/paddock */
	const char *name;      /* "shell" */
	const char *guest_bin; /* the static paddock-guest to put into the initramfs */
	uid_t uid;             /* of the user agent in the image */
	gid_t gid;
	bool rebuild; /* even when there is one */
};

/* Finds the image for this recipe, or builds it (one builder at a time; others wait and see). */
int image_ensure(
	const struct image_request *q, const struct progress *p, struct image *ret, struct err *e);
/* The image of an existing sandbox, by id, whatever today's recipe says; its initramfs is renewed
 * when paddock-guest changed. -ENOENT with a next step when it is gone. */
int image_open(const char *data_dir, const char *id, const char *guest_bin, struct image *ret,
	struct err *e);

struct image_layer {
	const char *data_dir;
	const char *kit;    /* its name */
	const char *digest; /* of what is in the layer, the base's id included */
	const char *base;   /* id */
};
/* The newest layer of this digest. Caller frees; NULL when there is none. */
char *image_layer_find(const struct image_layer *l);
/* Held by whoever builds a layer; waits, having told so. A descriptor. */
int image_layers_lock(const char *data_dir, const struct progress *p, struct err *e);
/*
 * With that lock held: takes the disk, an overlay on the base's that nobody uses, as a new layer's
 * in one step. Caller frees *ret_id.
 */
int image_layer_add(const struct image_layer *l, const char *disk, char **ret_id, struct err *e);

struct image_list {
	struct image *v;
	size_t n;
};
int image_list(const char *data_dir, struct image_list *ret, struct err *e);
void image_list_release(struct image_list *l);
int image_remove(const char *data_dir, const char *id, struct err *e);
